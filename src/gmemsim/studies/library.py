"""Every library scenario on every version as it is, on every VM type: what shows must be a finding that is known.

A search of a cell looks at every run that failed, not only at the first of its kind, so that a known failure does not
hide another one like it.
"""

from __future__ import annotations

from collections import Counter
from time import process_time
from typing import TYPE_CHECKING

from ..arch.registry import ARCHES
from ..explore.findings.table import FINDINGS, known
from ..explore.program import ScenarioProgram
from ..explore.search import Limits
from ..explore.strategies import make_strategy
from ..patches.entry import Entry
from ..patches.registry import versions
from ..scenarios.catalogue import load_named, names
from .study import Asked, Plan, Result, Study, look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..explore.failure import Failure
    from ..explore.findings.finding import Finding
    from ..explore.runs import Run


class Library(Study):
    """No scenario shows a violation that is no known finding, and each of these shows where it has to."""

    name = "library"
    unknown = "no scenario {!r} in the library"
    listed = "gmemsim list scenarios"

    def entries(self) -> dict[str, Entry]:
        return {name: _entry(name) for name in names()}

    def asked(
        self, entry: Entry, patches: Sequence[str], vm_types: Sequence[str], plan: Plan
    ) -> Iterator[Asked]:
        for patch in patches or entry.versions:
            for arch in entry.vm_types:
                if not vm_types or arch in vm_types:
                    expected = must_show(entry.name, patch, arch)
                    yield Asked(entry=entry, patch=patch, arch=arch, expected=expected)

    def ask(self, asked: Asked, plan: Plan, which: Callable[[Failure], Finding | None] = known) -> Result:
        """Search with all oracles, in the scenario's small size; to the end, whatever is found.

        Args:
            which: tells the finding that a failure is.
        """
        began = process_time()
        sorter = _Sorter(which)
        program = ScenarioProgram(scenario=load_named(asked.entry.name), patch=asked.patch, arch=asked.arch)
        limits = Limits(
            schedules=max(plan.known, plan.schedules) if asked.expected else plan.schedules,
            seconds=plan.seconds,
        )
        done = look(
            program, make_strategy(plan.strategies[0], 0), limits, observers=[sorter], keep_going=True
        )
        return Result(
            asked=asked,
            row={
                "patch": asked.patch,
                "scenario": asked.entry.name,
                "arch": asked.arch,
                "schedules": done.schedules,
                "known": dict(sorter.known),
                "unknown": dict(sorter.unknown),
                "cpu_seconds": round(process_time() - began, 2),
            },
            verdict=f"{done.schedules:,} schedules",
            says="; ".join([*sorter.unknown, *(f"known: {ident}" for ident in sorter.known)]),
            as_expected=not sorter.unknown,
            known=tuple(sorter.known),
        )

    def wrong(self, results: Sequence[Result], *, whole: bool) -> list[Result]:
        """Those with something else than known findings, and those of findings that had to show and did not."""
        gone = {(patch, scenario) for _, patch, scenario in missing(results)} if whole else set()
        return [
            result
            for result in results
            if not result.as_expected
            or (result.asked.expected and (result.asked.patch, result.asked.entry.name) in gone)
        ]


def _entry(name: str) -> Entry:
    head = load_named(name).head
    vm_types = tuple(arch for arch in head.vm_types or ARCHES if arch in ARCHES)
    return Entry(
        name=name, title=head.summary, question=head.question, versions=tuple(versions()), vm_types=vm_types
    )


class _Sorter:
    """An `Observer` that counts runs by the finding that their failure is, or by what it says."""

    def __init__(self, which: Callable[[Failure], Finding | None]) -> None:
        self._which = which
        self.known: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    def attach(self, run: Run) -> None:
        """A run is about to start."""

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """It ended; `failure` is what is left of it after fair turns."""
        if failure is None:
            return
        finding = self._which(failure)
        if finding is not None:
            self.known[finding.ident] += 1
        else:
            self.unknown[f"{failure.rule}: {failure.summary}"] += 1


def must_show(scenario: str, patch: str, arch: str) -> tuple[str, ...]:
    """Findings that a search of this scenario and version has to meet, on one VM type at least."""
    return tuple(
        one.ident
        for one in FINDINGS.values()
        if scenario in one.library and one.is_of(patch, vm_types=(arch,))
    )


def missing(results: Sequence[Result]) -> list[tuple[str, str, str]]:
    """Findings that did not show where they have to, on no VM type: id, version, scenario."""

    def places(result: Result, findings: Sequence[str]) -> set[tuple[str, str, str]]:
        return {(ident, result.asked.patch, result.asked.entry.name) for ident in findings}

    wanted = set().union(*(places(result, result.asked.expected) for result in results))
    shown = set().union(*(places(result, list(result.row["known"])) for result in results))
    return sorted(wanted - shown)
