"""Running the cells of a sweep: here, by processes or by a cluster, kept in a state file if one is given."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import attrs
import click

from .errors import InputError, Interrupted
from .progress import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ..contention.campaign import Cell, Done
    from ..contention.trace import TraceBook
    from ..jobs.share import Place


@attrs.frozen
class Ways:
    """How a campaign is run: the values of `campaign_options`."""

    state: Path | None = None
    jobs: int = 1
    cluster: str | None = None


def campaign_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--state, --jobs and --cluster, as `stress` has them."""
    from pathlib import Path as Name

    for option in reversed(
        (
            click.option(
                "--state",
                type=click.Path(dir_okay=False, path_type=Name),
                help="Keep finished cells here, and go on from there.",
            ),
            click.option(
                "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes."
            ),
            click.option("--cluster", help="Address of a dask scheduler, in place of --jobs."),
        )
    ):
        command = option(command)
    return command


def run_cells(
    cells: Sequence[Cell], ways: Ways, trace: TraceBook | None = None
) -> tuple[list[Done], Exception | None]:
    """Those that are finished, in the order of `cells`, and what ended the campaign before all were.

    Raises:
        InputError: the state file or the cluster cannot be used, or a user's patch failed.
    """
    from ..contention.campaign import done_of
    from ..jobs.workers import WorkerKilled

    found: dict[Cell, Done] = {}
    ended: Exception | None = None
    with ExitStack() as stack:
        kept, where = _open(stack, cells, ways)
        if kept is not None:
            found = {cell: done_of(kept.results[cell]) for cell in cells if cell in kept.results}
        missing = [cell for cell in cells if cell not in found]
        say = stack.enter_context(counted("bench", len(cells)))
        try:
            for done in _done(missing, where, trace):
                found[done.cell] = done
                if kept is not None:
                    kept.add(done.document())
                point = done.cell.point
                say(len(found), f"{point.storm} {point.background} {point.vcpus} vCPUs {point.label}")
        except KeyboardInterrupt:
            ended = Interrupted()
        except WorkerKilled as error:
            ended = InputError(f"{error}; {len(found):,} of {len(cells):,} cells were finished before that")
    _tell(found.values())
    return [found[cell] for cell in cells if cell in found], ended


def _done(cells: Sequence[Cell], where: Place, trace: TraceBook | None) -> Iterable[Done]:
    from functools import partial

    from ..jobs.share import share
    from .running import user_error

    if where.executor is not None:
        yield from share(_in_worker, cells, where)
        return
    with user_error(*dict.fromkeys(cell.point.patch for cell in cells)):
        yield from share(partial(_run, trace=trace), cells, where)


def _run(cell: Cell, trace: TraceBook | None = None) -> Done:
    from ..contention.campaign import run_cell

    return run_cell(cell, trace)


def _in_worker(cell: Cell) -> Done:
    """What a user's patch does wrong is told where its traceback is."""
    from .running import user_error

    with user_error(cell.point.patch):
        return _run(cell)


def _open(stack: ExitStack, cells: Sequence[Cell], ways: Ways) -> Any:
    from ..contention.campaign import open_state
    from ..jobs.share import place

    kept = stack.enter_context(open_state(ways.state, cells)) if ways.state is not None else None
    return kept, stack.enter_context(place(ways.jobs, ways.cluster))


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
