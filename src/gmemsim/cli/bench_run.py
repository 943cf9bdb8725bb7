"""The cells of a sweep, and what is told of a user's patch in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .campaign import Document, Ways, finish_cells
from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..contention.campaign import Cell, Done
    from ..contention.trace import TraceBook
    from ..jobs.share import Place


def run_cells(
    cells: Sequence[Cell], ways: Ways, trace: TraceBook | None = None
) -> tuple[list[Done], click.ClickException | None]:
    """Those that are finished, in the order of `cells`, and what ended the campaign before all were.

    Raises:
        BadInput: the state file or the cluster cannot be used.
        InputError: a user's patch failed.
    """
    from ..contention.campaign import done_of, open_state

    def doing(found: dict[Cell, Document]) -> str:
        point = next(reversed(found)).point
        return f"{point.storm} {point.background} {point.vcpus} vCPUs {point.label}"

    found, ended = finish_cells(
        "bench",
        cells,
        ways,
        open_state=lambda path: open_state(path, cells),
        work=lambda missing, where: (done.document() for done in _done(missing, where, trace)),
        cell_of=lambda document: done_of(document).cell,
        doing=doing,
    )
    done = [done_of(found[cell]) for cell in cells if cell in found]
    _tell(done)
    return done, ended


def _done(cells: Sequence[Cell], where: Place, trace: TraceBook | None) -> Iterable[Done]:
    from functools import partial

    from ..jobs.share import share

    yield from share(partial(_told, trace=trace if where.executor is None else None), cells, where)


def _run(cell: Cell, trace: TraceBook | None = None) -> Done:
    from ..contention.campaign import run_cell
    from ..engine.blame import blame, said
    from ..engine.errors import EngineError
    from ..patches.registry import named
    from .running import with_place

    try:
        return run_cell(cell, trace)
    except EngineError as error:
        # Nothing looks on in a storm: that a user's patch deadlocks, or keeps a lock, shows in somebody else's code.
        if named(cell.point.patch):
            raise
        found = blame(error)
        text = f"{cell.point.patch}: {said(error)}" if found is None else with_place(error, found)
        raise InputError(text) from error


def _told(cell: Cell, trace: TraceBook | None = None) -> Done:
    """What a user's patch does wrong is told where its traceback is, of that patch and of no other of the sweep."""
    from .running import user_error

    with user_error(cell.point.patch):
        return _run(cell, trace)


def _tell(done: Iterable[Done]) -> None:
    """What ran in no cell of a user's patch, and which errnos are its own, on stderr."""
    from ..patches.entered import never_ran

    never: dict[str, list[str]] = {}
    errnos: dict[str, set[str]] = {}
    for each in done:
        patch = each.cell.point.patch
        never[patch] = [name for name in never.get(patch, each.never_ran) if name in each.never_ran]
        errnos.setdefault(patch, set()).update(each.errnos)
    for patch, names in never.items():
        lines = [never_ran(tuple(names), "these storms")] if names else []
        for line in (*lines, *sorted(errnos[patch])):
            click.echo(f"{patch}: {line}", err=True)
