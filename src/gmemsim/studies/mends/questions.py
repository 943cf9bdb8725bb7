"""Everything that is asked of a mend, one question at a time, so that a run of all can be stopped and go on."""

from __future__ import annotations

from functools import cache, partial
from time import process_time
from typing import TYPE_CHECKING, Any, Final

import attrs

from ...actors.release import RELEASES
from ...arch.registry import ARCHES
from ...contention.point import Point
from ...contention.storm import run
from ...contention.storms import STORMS
from ...explore.findings.table import FINDINGS
from ...explore.program import ScenarioProgram
from ...explore.search import Limits
from ...explore.strategies import make_strategy
from ...explore.strategies.complete_first import CompleteFirst
from ...patches.hazards.registry import HAZARDS
from ...patches.mends.registry import MENDS
from ...patches.mends.versions import versions_for
from ...patches.registry import load_patch
from ...scenarios.catalogue import load_named
from ...scenarios.conform import load_vectors
from ...scenarios.conform.known import explanation
from ...scenarios.conform.suite import EMBEDDED, judge
from ...scenarios.conform.suite import cases as cases_of
from ..hazards import Hazards
from ..matrix import cells, explore_cell
from ..operations import Cell
from ..study import Asked, Plan, look
from .ask import ask_scenario
from .same_code import same, touching
from .unjudged import shown_on, versions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ...actors.kernel import Kernel
    from ...patches.mends.entry import Mend
    from ...scenarios.conform.case import Case

PARTS: Final = ("findings", "pairs", "triples", "vectors", "hazards", "costs", "outcomes")
_FAILURE: Final = "memory failure"
#: They take the invalidate lock exclusively.
_WRITERS: Final = frozenset(
    {"punch", "delete slot", "make slot", "close", "to private", "to shared", "populate"}
)
#: They take it shared, or lock the folio without it.
_READERS: Final = frozenset({"touch", "host write", "allocate"})
#: Scenarios whose outcomes are compared for mends of memory failures; for others those of their findings are.
_OUTCOMES: Final = ("zoo-poison_punch", "zoo-poison_allocate", "zoo-poison_later", "zoo-poison_repair")
#: Vectors with parallel steps: states up to 200 times as many, else so many schedules.
_SCHEDULES: Final = 2
#: Schedules that are drawn where a search of states gave up.
_SAMPLED: Final = 60
_STORMS: Final = ("first-touch", "punch", "memory-failure")
#: Of a storm. The longer one lasts beyond the 4 ms after which a queued writer of a rw-semaphore is handed the lock.
_THREADS: Final = 8
_FOLIOS: Final = 512
_LONGER: Final = 8192


@attrs.frozen
class Question:
    """One.

    Attributes:
        part: which kind (`questions`).
        mend: empty: the version as it is.
        what: a scenario, operations with " + " between them and the state of the page, a hazard's case, a storm.
    """

    part: str
    version: str
    mend: str
    arch: str
    what: str

    @property
    def patch(self) -> str:
        """What to load."""
        return f"{self.version}+{self.mend}" if self.mend else self.version

    @property
    def key(self) -> tuple[str, ...]:
        """What an answer is kept under."""
        return (self.part, self.version, self.mend, self.arch, self.what)


def applies(mend: Mend, version: str) -> bool:
    """Whether the mend is for the version, which has a finding then that it is a candidate for."""
    return version in versions_for(mend)


def questions(part: str, version: str, mend: str, against: Iterable[str] = MENDS) -> Iterator[Question]:
    """All of a part for one version and mend (empty: none), as far as they apply.

    Pairs without a mend are recorded elsewhere, and not asked again; triples neither: what breaks without a mend is a
    finding.

    Args:
        against: without a mend, what is to be held against one of these is asked.
    """
    if not mend and part in ("pairs", "triples"):
        return
    names = [mend] if mend else list(against)
    chosen = [each for each in MENDS.values() if applies(each, version) and each.ident in names]
    seen: set[tuple[str, str]] = set()
    for each in chosen:
        for arch, what in _asked(part, version, each):
            if (arch, what) not in seen and (not each.arches or arch in each.arches or part == "costs"):
                seen.add((arch, what))
                yield Question(part, version, mend, arch, what)


def _asked(part: str, version: str, mend: Mend) -> Iterator[tuple[str, str]]:
    """VM types and questions."""
    if part == "findings":
        yield from _shown(version, mend)
        if "memory failure" in mend.meets:
            # Known to be the place where a file goes while its page fails.
            yield "sw-protected", "zoo-poison_close"
        # What changes for userspace may be what a rule forbids: outcomes are asked without rules.
        yield from _compared(version, mend)
        yield from mend.scenarios
    elif part == "pairs" or (part == "triples" and (mend.triples or mend.three)):
        for cell in _cells(version, mend, 2 if part == "pairs" else 3):
            yield cell.arch, " + ".join((*cell.names, cell.setup))
    elif part == "hazards":
        for hazard in HAZARDS.values():
            for number, case in enumerate(hazard.cases):
                if version in case.versions:
                    for arch in case.vm_types:
                        yield arch, f"{hazard.name}.{number}"
    elif part == "outcomes":
        yield from _compared(version, mend)
    elif part == "costs":
        for storm in _STORMS:
            for background in ("none", "punch"):
                yield "sw-protected", f"{storm} / {background}"
        if "memory failure" in mend.meets:
            yield "sw-protected", f"memory-failure / punch / {_LONGER}"
    elif part == "vectors":
        for arch in ARCHES:
            if _has_vectors(version, arch):
                yield arch, "selftests"


def _vectors_of(version: type[Kernel], arch: str) -> Iterator[Case]:
    return cases_of(load_vectors(*EMBEDDED), [version], [arch])


@cache
def _has_vectors(version: str, arch: str) -> bool:
    return any(_vectors_of(load_patch(version), arch))


def _shown(version: str, mend: Mend) -> Iterator[tuple[str, str]]:
    """Scenarios that show the mend's findings on the version."""
    for finding in (FINDINGS[name] for name in sorted(mend.findings)):
        if version in versions_of(finding):
            for shown in shown_on(finding, version):
                yield shown.vm_type, shown.scenario


def _compared(version: str, mend: Mend) -> Iterator[tuple[str, str]]:
    """Scenarios whose outcomes with the mend are held against those without."""
    for scenario in _OUTCOMES if "memory failure" in mend.meets else ():
        types = load_named(scenario).head.vm_types
        yield types[0] if types else "sw-protected", scenario
    if "memory failure" not in mend.meets:
        yield from _shown(version, mend)
    if "poisoned-mapping-survives-punch" in mend.findings:
        yield "default", "zoo-poison_repair"


def _cells(version: str, mend: Mend, together: int) -> Iterator[Cell]:
    for cell in cells(version, together):
        names = set(cell.names)
        if together == 2:
            wanted = not names.isdisjoint(mend.meets)
        else:
            wanted = any(sorted(cell.names) == sorted(three) for three in mend.three) or (
                mend.triples
                and len(names) == 3
                and _FAILURE in names
                and bool(names & _WRITERS and names & _READERS)
            )
        if wanted:
            yield cell


def answer(question: Question, states: int) -> dict[str, Any]:
    """The answer, as a JSON line: `key`, `cpu_seconds`, and what the part has.

    Raises:
        KeyboardInterrupt: the user's.
    """
    began = process_time()
    found = _ANSWERS[question.part](question, states)
    return {"key": list(question.key), **found, "cpu_seconds": round(process_time() - began, 2)}


def answers(
    asked: Sequence[Question], states: int, goes_on: Callable[[], bool] = lambda: True
) -> list[dict[str, Any]]:
    """Answers to one question about several versions and mends; what would run the same code is not asked again.

    Such an answer is that of the version that it names (`same_as`; with its mend, where that is another), and took no
    time. Only searches of a scenario or a cell are so shared, and only with a version on which each failure that they
    met is the same finding.

    Args:
        goes_on: asked before each version but the first.

    Raises:
        KeyboardInterrupt: the user's.
    """
    found: list[dict[str, Any]] = []
    left = list(asked)
    while left and (not found or goes_on()):
        one = left.pop(0)
        cls = load_patch(one.patch)
        with touching(cls) as touched:
            row = answer(one, states)
        found.append(row)
        if one.part not in ("pairs", "triples", "findings", "outcomes"):
            continue
        for other in list(left):
            releases = (_release(one), _release(other))
            if same(touched, cls, load_patch(other.patch), releases) and _failures_alike(row, one, other):
                left.remove(other)
                named = one.version if one.mend == other.mend else one.patch
                shared = {**row, "key": list(other.key), "cpu_seconds": 0, "same_as": named}
                found.append(shared | ({"patch": other.patch} if "patch" in row else {}))
    return found


def _failures_alike(row: dict[str, Any], one: Question, other: Question) -> bool:
    """Whether the failures of a search of `one` would be the same findings on the version of `other`.

    A failure is the first finding of the table that the version has and that it fits. One that is none has a token,
    which names the version.
    """
    here, there = (
        [finding.ident for finding in FINDINGS.values() if finding.is_of(each.version, *_scene(each))]
        for each in (one, other)
    )
    for each in row.get("violations", ()):
        ident = each["known"]
        if ident not in there or not set(there[: there.index(ident)]) <= set(here):
            return False
    return True


def _scene(question: Question) -> tuple[str, tuple[str, ...]]:
    """Release and VM types of its runs."""
    release = _release(question) or load_patch(question.patch).default_release
    return RELEASES[release].name, (question.arch,)


def _finding(question: Question, states: int) -> dict[str, Any]:
    return ask_scenario(
        question.what,
        question.patch,
        question.arch,
        release=_release(question),
        states=states,
        sampled=_SAMPLED,
    )


def _release(question: Question) -> str | None:
    """The first release on which the version has the finding of the scenario; None: it does not matter."""
    shown = (question.what, question.arch)
    return next(
        (
            finding.release_on(question.version)
            for finding in FINDINGS.values()
            if question.version in finding.releases
            and shown in [(one.scenario, one.vm_type) for one in finding.shown]
        ),
        None,
    )


def _cell(question: Question, states: int) -> dict[str, Any]:
    *names, setup = question.what.split(" + ")
    huge = load_patch(question.version).huge_pages
    row = explore_cell(
        Cell(tuple(names), question.patch, question.arch, setup, huge),
        states=states,
        schedules=0,
        sampled=_SAMPLED,
    )
    return {"bound": states, **{name: row[name] for name in ("scope", "states", "sampled", "violations")}}


def _hazard(question: Question, states: int) -> dict[str, Any]:
    name, number = question.what.split(".")
    hazard = HAZARDS[name]
    asked = Asked(entry=hazard, patch=question.patch, arch=question.arch, about=hazard.cases[int(number)])
    row = Hazards().ask(asked, Plan(schedules=100, seconds=60)).row
    return {"verdict": row["verdict"], "rule": row["rule"] or "", "schedules": row["schedules"]}


def _outcomes(question: Question, states: int) -> dict[str, Any]:
    program = ScenarioProgram(
        scenario=load_named(question.what),
        patch=question.patch,
        arch=question.arch,
        release=_release(question),
        rules=frozenset(),
        # What a call comes to is asked, and not what the scenario expects of it on the version as it is.
        without=frozenset({"unexpected_outcome"}),
        observed=frozenset({"results"}),
    )
    result = look(
        program,
        make_strategy("stateful", 0),
        Limits(schedules=None, states=states, steps=6_000),
        judge=None,
        keep_going=True,
        collect_outcomes=True,
    )
    return {"complete": result.complete, "states": result.states, "outcomes": sorted(result.outcomes)}


def _vectors(question: Question, states: int) -> dict[str, Any]:
    results = [
        judge(case, schedules=_SCHEDULES, search=partial(CompleteFirst, 0, states))
        for case in _vectors_of(load_patch(question.patch), question.arch)
    ]
    # What explains a failure names the version, which a mend does not change.
    unmet = [one.case.vector for one in results if one.verdict.result == "failed" and not one.why]
    failed = sorted(vector.id for vector in unmet if not explanation(vector, question.arch, question.version))
    explained = sum(one.verdict.result == "failed" for one in results) - len(failed)
    return {
        "passed": sum(one.verdict.result == "passed" for one in results),
        "explained": explained,
        "failed": failed,
    }


def _costs(question: Question, states: int) -> dict[str, Any]:
    storm, background, *folios = question.what.split(" / ")
    point = Point(
        patch=question.patch,
        arch=question.arch,
        storm=storm,
        background=background,
        vcpus=_THREADS,
        pages=int(folios[0]) if folios else _FOLIOS,
    )
    result = run(point)
    # Where nothing is charged a storm takes no time.
    beside = result.background_operations * 1e6 / result.span_ns if result.span_ns else 0
    return {
        "unit": STORMS[storm].unit,
        "per_ms": round(result.faults_per_ms, 2),
        "beside_per_ms": round(beside, 2),
    }


_ANSWERS: Final = {
    "findings": _finding,
    "pairs": _cell,
    "triples": _cell,
    "hazards": _hazard,
    "outcomes": _outcomes,
    "vectors": _vectors,
    "costs": _costs,
}
