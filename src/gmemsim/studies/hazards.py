"""Asking each hazard of each patch version: it holds in what was searched, breaks a rule, or does not apply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from ..audit.vocabulary import name_of
from ..explore.judges.livelock import judge
from ..explore.program import ScenarioProgram, ScenarioRun
from ..explore.search import Limits, search, watch_events
from ..explore.strategies import make_strategy
from ..explore.token import TokenError, encode
from ..oracles.rules import RULES
from ..patches.hazards.entry import HUGE_PAGES, SMALL
from ..patches.registry import load_patch, named, registered_name
from ..scenarios.catalogue import load_named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..audit.recorder import Actor
    from ..explore.failure import Failure
    from ..explore.runs import Run
    from ..patches.hazards.entry import Case, Hazard

__all__ = ["Asked", "Verdict", "as_dict", "ask", "program_of", "survey", "versions"]

Verdict = Literal["holds", "violated", "does not apply"]


@attrs.frozen(kw_only=True)
class Asked:
    """One case, asked of one version on one VM type.

    Attributes:
        patch: the version.
        arch: the VM type; empty if it does not apply.
        verdict: `holds` says no more than that the search found nothing.
        rule, summary: of what was found; or, in `summary`, why it does not apply.
        replay: token of the run that broke the rule; empty if none.
        at: schedule that broke it.
        schedules, seconds: of the search.
        complete: the search covered every schedule within its bounds.
        counts: what the case counts, over all schedules.
        as_expected: the verdict is that of the entry, and the rule one of it.
    """

    hazard: Hazard
    case: Case
    patch: str
    arch: str = ""
    verdict: Verdict
    rule: str = ""
    summary: str = ""
    replay: str = ""
    at: int | None = None
    schedules: int = 0
    seconds: float = 0.0
    complete: bool = False
    counts: dict[str, int] = attrs.field(factory=dict)
    as_expected: bool = True


def version_of(patch: str) -> str:
    """The version that a user's patch derives from; a version is itself."""
    return patch if named(patch) else registered_name(load_patch(patch))


def versions() -> list[str]:
    """The versions that hazards are asked of: those of the series, in place with the mode on, and with huge folios."""
    return [*SMALL, *HUGE_PAGES]


def survey(
    hazard: Hazard, *, strategy: str, schedules: int, seconds: float | None, base: str = ""
) -> Iterator[Asked]:
    """Every case of a hazard, for every version.

    Args:
        base: a user's patch to ask of in place of the versions; what is expected is what the version that it derives
            from does.

    Raises:
        PatchError: no such patch.
    """
    for case in hazard.cases:
        for patch in [base] if base else versions():
            if version_of(patch) not in case.versions:
                yield Asked(
                    hazard=hazard,
                    case=case,
                    patch=patch,
                    verdict="does not apply",
                    summary=case.reason(version_of(patch)),
                )
                continue
            for arch in case.arches:
                yield ask(hazard, case, patch, arch, strategy=strategy, schedules=schedules, seconds=seconds)


def program_of(case: Case, patch: str, arch: str) -> ScenarioProgram:
    """What is searched."""
    rules = frozenset(RULES) - case.without if case.without else None
    return ScenarioProgram(
        scenario=load_named(case.scenario), patch=case.patch(patch), arch=arch, rules=rules
    )


def ask(
    hazard: Hazard,
    case: Case,
    patch: str,
    arch: str,
    *,
    strategy: str,
    schedules: int,
    seconds: float | None = None,
    seed: int = 0,
    steps: int = 5_000,
) -> Asked:
    """Search one.

    Raises:
        KeyboardInterrupt: it was interrupted, and what was found so far says nothing.
    """
    program = program_of(case, patch, arch)
    counter = _Counter(case)
    result = search(
        program,
        make_strategy(strategy, seed),
        Limits(schedules=schedules, seconds=seconds, steps=steps),
        judge=judge,
        observers=(counter,) if case.counts else (),
    )
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    found = result.found[0] if result.found else None
    expected = case.expected(version_of(patch))
    token = ""
    if found is not None:
        try:
            token = encode(program, found.tape, max_steps=steps)
        except TokenError:
            token = ""
    return Asked(
        hazard=hazard,
        case=case,
        patch=patch,
        arch=arch,
        verdict="holds" if found is None else "violated",
        rule="" if found is None else found.failure.rule,
        summary="" if found is None else found.failure.summary,
        replay=token,
        at=None if found is None else found.schedule,
        schedules=result.schedules,
        seconds=result.seconds,
        complete=result.complete,
        counts=counter.counts,
        as_expected=not expected if found is None else found.failure.rule in expected,
    )


class _Counter:
    """Counts what a case asks for, in every run of a search."""

    def __init__(self, case: Case) -> None:
        self.counts = dict.fromkeys(case.counts, 0)
        self._events: dict[str, list[tuple[str, str, str]]] = {}
        self._operations: list[tuple[str, str, str]] = []
        for label, what in case.counts.items():
            name, _, rest = what.partition(":")
            field, _, value = rest.partition("=")
            if name == "operation":
                self._operations.append((label, field, value))
            else:
                self._events.setdefault(name, []).append((label, field, value))

    def attach(self, run: Run) -> None:
        """Before the run."""
        watch_events(run.engine, self._event)

    def _event(self, t: Actor, event: Any) -> None:
        for label, field, value in self._events.get(name_of(event.__class__), ()):
            seen = getattr(event, field) if field else True
            self.counts[label] += str(seen) == value if value else bool(seen)

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """After it."""
        if isinstance(run, ScenarioRun):
            for results in run.session.results.values():
                for label, op, outcome in self._operations:
                    self.counts[label] += results.outcomes[op][outcome] if op in results.outcomes else 0


def as_dict(asked: Asked) -> dict[str, Any]:
    """For JSON."""
    case = asked.case
    return {
        "hazard": asked.hazard.number,
        "title": asked.hazard.title,
        "case": case.says,
        "seed": case.seed or None,
        "scenario": case.scenario,
        "patch": asked.patch,
        "run_as": case.patch(asked.patch),
        "arch": asked.arch or None,
        "verdict": asked.verdict,
        "rule": asked.rule or None,
        "summary": asked.summary or None,
        "replay": asked.replay or None,
        "found_at_schedule": asked.at,
        "schedules": asked.schedules,
        "seconds": round(asked.seconds, 3),
        "complete": asked.complete,
        "not_looked_at": sorted(case.without),
        "counts": asked.counts,
        "as_expected": asked.as_expected,
    }
