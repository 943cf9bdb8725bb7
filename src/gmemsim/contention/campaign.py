"""A sweep as a campaign: cells that any process can work on, and a state file that a stopped one goes on from.

A cell is a point with changes of its cost table. Its result follows from the cell and the model's sources, so a state
file of other sources is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from ..arch.cost_file import load_costs
from ..arch.platform_costs import changed
from ..jobs.sources import of_files, of_model
from ..jobs.state_file import StateFile
from ..patches.entered import watch_overrides
from ..patches.registry import load_patch, named
from .point import Point
from .result import Result
from .storm import run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .trace import TraceBook

_SCHEMA: Final = 1
#: Whose sources a result follows from.
_ROOMS: Final = ("audit", "engine", "arch", "actors", "patches", "contention")


@attrs.frozen
class Cell:
    """One point, with these changes of its cost table: name and ns each."""

    point: Point
    changes: tuple[tuple[str, int], ...] = ()


@attrs.frozen
class Done:
    """A finished cell.

    Attributes:
        never_ran: functions of a user's patch that did not run.
        errnos: what a function of it returned that it returns in no version, a sentence each.
    """

    cell: Cell
    result: Result
    never_ran: tuple[str, ...] = ()
    errnos: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """A line of a state file."""
        changes = [list(change) for change in self.cell.changes]
        return {
            "changes": changes,
            "result": self.result.document(),
            "never_ran": list(self.never_ran),
            "errnos": list(self.errnos),
        }


class _Line(msgspec.Struct):
    changes: tuple[tuple[str, int], ...]
    result: Result
    never_ran: tuple[str, ...] = ()
    errnos: tuple[str, ...] = ()


def run_cell(cell: Cell, trace: TraceBook | None = None) -> Done:
    """Run one cell.

    Raises:
        PointError, PatchError: as `storm.run`; a run of the patch leaves something behind for the next cell.
    """
    costs = changed(load_costs(cell.point.costs).table(cell.point.arch), dict(cell.changes))
    if named(cell.point.patch):
        return Done(cell, run(cell.point, costs, trace))
    with watch_overrides(load_patch(cell.point.patch)) as entered:
        result = run(cell.point, costs, trace)
    entered.refuse_state()
    return Done(cell, result, entered.never, tuple(sorted(entered.errnos)))


def open_state(path: Path, cells: Iterable[Cell]) -> StateFile[Cell]:
    """The state file of a campaign with such cells.

    Raises:
        StateError: the file is of other sources, in use, or no state file at all.
    """
    names = sorted({name for cell in cells for name in (cell.point.patch, cell.point.costs)})
    header = {"schema": _SCHEMA, "sources": sources_digest(), "files": of_files(names)}
    return StateFile(path, "bench", header, _Line, lambda line: Cell(line.result.point, line.changes))


def done_of(document: dict[str, Any]) -> Done:
    """What a line of a state file says."""
    line = msgspec.convert(document, _Line)
    return Done(Cell(line.result.point, line.changes), line.result, line.never_ran, line.errnos)


def sources_digest() -> str:
    """Of the files that a result follows from."""
    return of_model(*_ROOMS)
