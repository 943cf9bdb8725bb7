"""A campaign of many cells: its options, its state file, who works on it, and what ends it before all are finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from .errors import InputError, Interrupted
from .params import COUNT, FILE, options
from .progress import counted

if TYPE_CHECKING:
    from ..jobs.share import Place
    from ..jobs.state_file import StateFile

_C = TypeVar("_C")
Document = dict[str, Any]

campaign_options = options(
    click.option("--state", type=FILE, help="Keep finished cells here, and go on from there."),
    click.option("--jobs", type=COUNT, default=1, show_default=True, help="Processes."),
    click.option(
        "--cluster", help="Address of a dask scheduler, in place of --jobs (needs the `cluster` extra)."
    ),
)


@attrs.frozen
class Ways:
    """How a campaign is run: the values of `campaign_options`."""

    state: Path | None = None
    jobs: int = 1
    cluster: str | None = None


def finish_cells(
    title: str,
    cells: Sequence[_C],
    ways: Ways,
    *,
    open_state: Callable[[Path], AbstractContextManager[StateFile[_C]]],
    work: Callable[[Sequence[_C], Place], Iterable[Document]],
    cell_of: Callable[[Document], _C],
    valid: Callable[[Document], bool] = lambda document: True,
    doing: Callable[[dict[_C, Document]], str] = lambda found: "",
) -> tuple[dict[_C, Document], click.ClickException | None]:
    """Documents of the cells that are finished, and what ended the campaign before all were.

    Args:
        work: documents as they come, of the cells that are not in the state file.
        valid: whether a document of the state file is still one of what is asked.
        doing: what the line of progress says of those that there are.

    Raises:
        BadInput: the state file or the cluster cannot be used.
    """
    from ..jobs.share import place
    from ..jobs.workers import WorkerKilled

    found: dict[_C, Document] = {}
    with ExitStack() as stack:
        kept = stack.enter_context(open_state(ways.state)) if ways.state is not None else None
        where = stack.enter_context(place(ways.jobs, ways.cluster))
        if kept is not None:
            there = ((cell, kept.results.get(cell)) for cell in cells)
            found = {cell: document for cell, document in there if document is not None and valid(document)}
        show = stack.enter_context(counted(title, len(cells)))
        show(len(found))
        try:
            for document in work([cell for cell in cells if cell not in found], where):
                if kept is not None:
                    kept.add(document)
                found[cell_of(document)] = document
                show(len(found), doing(found))
        except KeyboardInterrupt:
            return found, Interrupted()
        except WorkerKilled as error:
            text = f"{error}; {len(found):,} of {len(cells):,} cells were finished before that"
            return found, InputError(text)
    return found, None
