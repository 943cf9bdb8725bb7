"""Every library scenario on every version as it is, on every VM type: what shows must be a finding that is known.

A cell is a version, a scenario and a VM type. A search of a cell looks at every run that failed, not only at the first
of its kind, so that a known failure does not hide another one like it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ..arch.registry import ARCHES
from ..patches.registry import HUGE, HUGE_VARIANTS, IN_PLACE, PATCHES, VARIANTS
from ..scenarios.catalogue import load_named, names
from .oracles.livelock import judge
from .program import ScenarioProgram
from .search import Limits, search
from .strategies import make_strategy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .failure import Failure
    from .program import Run

__all__ = ["KNOWN", "VERSIONS", "CellResult", "Known", "LibraryCell", "cells", "explore_cell", "missing"]

#: Every version that comes with the package, none of them changed.
VERSIONS: Final = tuple(PATCHES | IN_PLACE | VARIANTS | HUGE | HUGE_VARIANTS)


@attrs.frozen(kw_only=True)
class Known:
    """A failure that versions are known for.

    Attributes:
        name: of the page under docs/findings, or a word for what `why` explains.
        rules: under which it shows.
        says: what its summary has in it, all of them.
        scenarios, patches: where it shows, and nowhere else.
        why: where it is explained.
    """

    name: str
    rules: frozenset[str]
    says: tuple[str, ...]
    scenarios: frozenset[str]
    patches: tuple[str, ...]
    why: str

    def is_at(self, cell: LibraryCell) -> bool:
        """Whether it may show in this cell."""
        return cell.scenario in self.scenarios and cell.patch in self.patches

    def explains(self, cell: LibraryCell, failure: Failure) -> bool:
        """Whether this failure is it."""
        says = all(part in failure.summary for part in self.says)
        return self.is_at(cell) and failure.rule in self.rules and says


KNOWN: Final = (
    Known(
        name="memory-failure-against-punch",
        # A livelock where a vCPU goes on, and tries again for ever since the invalidation never ends.
        rules=frozenset({"deadlock", "livelock"}),
        says=("mce waits for gmem0.invalidate_lock", "punch waits for gmem0.folio["),
        scenarios=frozenset({"memory_failure"}),
        patches=VERSIONS,
        why="docs/findings/memory-failure-against-punch.md",
    ),
    Known(
        name="v8-fault-keeps-reference",
        rules=frozenset({"unexpected_outcome"}),
        says=("convert came to EAGAIN, expected ok",),
        scenarios=frozenset({"conv1", "conv1_punch1", "conv1punch", "conv2", "inplace_competing"}),
        patches=("inplace-v8",),
        why="v8 as posted: get_pfn hands its page out with a reference, so a conversion that meets a fault between "
        "get_pfn and the map answers -EAGAIN (specification 4.7 step 8 and 4.14 step 5); the version as applied keeps "
        "none, and its conversions come to ok in the same scenarios",
    ),
)


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

    def __init__(self, cell: LibraryCell, known: tuple[Known, ...]) -> None:
        self._cell = cell
        self._table = known
        self.known: dict[str, int] = {}
        self.unknown: dict[str, int] = {}

    def attach(self, run: Run) -> None:
        """A run is about to start."""

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """It ended; `failure` is what is left of it after fair turns."""
        if failure is None:
            return
        for one in self._table:
            if one.explains(self._cell, failure):
                self.known[one.name] = self.known.get(one.name, 0) + 1
                return
        text = f"{failure.rule}: {failure.summary}"
        self.unknown[text] = self.unknown.get(text, 0) + 1


def explore_cell(
    cell: LibraryCell,
    schedules: int,
    *,
    seed: int = 0,
    strategy: str = "portfolio",
    known: tuple[Known, ...] = KNOWN,
) -> CellResult:
    """Search one cell with all oracles, in the scenario's small size; to the end, whatever is found."""
    sorter = _Sorter(cell, known)
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


def missing(results: Iterable[CellResult], known: tuple[Known, ...] = KNOWN) -> list[tuple[str, str, str]]:
    """Known findings that did not show where they should, on no VM type: name, version, scenario."""
    results = list(results)
    searched = {(result.cell.patch, result.cell.scenario) for result in results}
    shown = {(name, result.cell.patch, result.cell.scenario) for result in results for name in result.known}
    return [
        (one.name, patch, scenario)
        for one in known
        for patch in one.patches
        for scenario in sorted(one.scenarios)
        if (patch, scenario) in searched and (one.name, patch, scenario) not in shown
    ]
