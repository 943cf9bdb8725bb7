"""Every library scenario on every version as it is, on every VM type: what shows must be a finding that is known.

A cell is a version, a scenario and a VM type. A search of a cell looks at every run that failed, not only at the first
of its kind, so that a known failure does not hide another one like it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ..arch.registry import ARCHES
from ..explore.findings.table import FINDINGS, known
from ..explore.judges.livelock import judge
from ..explore.program import ScenarioProgram
from ..explore.search import Limits, search
from ..explore.strategies import make_strategy
from ..patches.registry import HUGE, HUGE_VARIANTS, IN_PLACE, PATCHES, VARIANTS
from ..scenarios.catalogue import load_named, names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..explore.failure import Failure
    from ..explore.findings.finding import Finding
    from ..explore.runs import Run

__all__ = ["VERSIONS", "CellResult", "LibraryCell", "cells", "explore_cell", "missing", "must_show"]

#: Every version that comes with the package, none of them changed.
VERSIONS: Final = tuple(PATCHES | IN_PLACE | VARIANTS | HUGE | HUGE_VARIANTS)


@attrs.frozen
class LibraryCell:
    """What one search looks at."""

    patch: str
    scenario: str
    arch: str


def cells(patches: Iterable[str] = VERSIONS) -> Iterator[LibraryCell]:
    """All cells of these versions; a scenario says which VM types it is for."""
    for patch in patches:
        for scenario in names():
            for arch in load_named(scenario).head.vm_types or ARCHES:
                if arch in ARCHES:
                    yield LibraryCell(patch, scenario, arch)


@attrs.frozen
class CellResult:
    """What a search of a cell came to.

    Attributes:
        known: by name of the finding, how many runs showed it.
        unknown: summaries of all other failures, with their rule and how many runs.
        seconds: wall-clock.
    """

    cell: LibraryCell
    schedules: int
    known: dict[str, int]
    unknown: dict[str, int]
    seconds: float


class _Sorter:
    """An `Observer` that sorts every failure of a search."""

    def __init__(self, which: Callable[[Failure], Finding | None]) -> None:
        self._which = which
        self.known: dict[str, int] = {}
        self.unknown: dict[str, int] = {}

    def attach(self, run: Run) -> None:
        """A run is about to start."""

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """It ended; `failure` is what is left of it after fair turns."""
        if failure is None:
            return
        finding = self._which(failure)
        if finding is not None:
            self.known[finding.ident] = self.known.get(finding.ident, 0) + 1
            return
        text = f"{failure.rule}: {failure.summary}"
        self.unknown[text] = self.unknown.get(text, 0) + 1


def explore_cell(
    cell: LibraryCell,
    schedules: int,
    *,
    seed: int = 0,
    strategy: str = "portfolio",
    which: Callable[[Failure], Finding | None] = known,
) -> CellResult:
    """Search one cell with all oracles, in the scenario's small size; to the end, whatever is found.

    Args:
        which: tells the finding that a failure is.
    """
    sorter = _Sorter(which)
    program = ScenarioProgram(scenario=load_named(cell.scenario), patch=cell.patch, arch=cell.arch)
    result = search(
        program,
        make_strategy(strategy, seed),
        Limits(schedules=schedules),
        observers=[sorter],
        keep_going=True,
        judge=judge,
    )
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    return CellResult(cell, result.schedules, sorter.known, sorter.unknown, result.seconds)


def must_show(cell: LibraryCell) -> tuple[str, ...]:
    """Findings that a search of this cell's scenario and version has to meet, on one VM type at least."""
    return tuple(
        one.ident
        for one in FINDINGS.values()
        if cell.scenario in one.library and one.is_of(cell.patch, vm_types=(cell.arch,))
    )


def missing(results: Iterable[CellResult]) -> list[tuple[str, str, str]]:
    """Findings that did not show where they have to, on no VM type: id, version, scenario."""
    results = list(results)
    shown = {(ident, result.cell.patch, result.cell.scenario) for result in results for ident in result.known}
    wanted = {
        (ident, result.cell.patch, result.cell.scenario)
        for result in results
        for ident in must_show(result.cell)
    }
    return sorted(wanted - shown)
