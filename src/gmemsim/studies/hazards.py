"""Asking each hazard of each patch version: it holds in what was searched, breaks a rule, or does not apply."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..audit.vocabulary import name_of
from ..explore.program import ScenarioProgram, ScenarioRun
from ..explore.search import Limits, watch_events
from ..explore.strategies import make_strategy
from ..explore.token import encode
from ..explore.token_names import TokenError
from ..oracles.rules import RULES
from ..patches.hazards.entry import HUGE_PAGES, SMALL, Case, Hazard
from ..patches.hazards.registry import HAZARDS
from ..patches.registry import load_patch, named, registered_name
from ..scenarios.catalogue import load_named
from .study import Asked, Plan, Result, Study, StudyError, look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..audit.recorder import Actor
    from ..explore.failure import Failure
    from ..explore.runs import Run
    from ..patches.entry import Entry

#: The versions that hazards are asked of: those of the series, in place with the mode on, and with huge folios.
VERSIONS = (*SMALL, *HUGE_PAGES)
#: Of a run.
_STEPS = 5_000


class Hazards(Study):
    """Each case of a hazard, on the version as it is or with a change, breaks the rules that are known or holds."""

    name = "hazards"
    listed = "gmemsim list hazards"

    def entries(self) -> dict[str, Hazard]:
        return HAZARDS

    def find(self, name: str) -> list[Entry]:
        if name not in HAZARDS:
            raise StudyError(f"no hazard {name}; there are 1 to {len(HAZARDS)} ({self.listed})")
        return [HAZARDS[name]]

    def asked(
        self, entry: Entry, patches: Sequence[str], vm_types: Sequence[str], plan: Plan
    ) -> Iterator[Asked]:
        """Of a user's patch is expected what the version that it derives from does."""
        assert isinstance(entry, Hazard)
        for patch in patches:
            if version_of(patch) not in VERSIONS:
                raise StudyError(f"{patch}: hazards are asked of what derives from {', '.join(VERSIONS)}")
        for number, case in enumerate(entry.cases):
            for patch in patches or VERSIONS:
                version, part = version_of(patch), str(number)
                if version not in case.versions:
                    why = case.reason(version)
                    yield Asked(entry=entry, patch=patch, part=part, about=case, why_not=why)
                    continue
                expected = tuple(sorted(case.expected(version)))
                for arch in case.vm_types:
                    if not vm_types or arch in vm_types:
                        yield Asked(
                            entry=entry, patch=patch, arch=arch, part=part, about=case, expected=expected
                        )

    def ask(self, asked: Asked, plan: Plan) -> Result:
        """A verdict `holds` says no more than that the search found nothing."""
        case: Case = asked.about
        row: dict[str, Any] = {
            "hazard": int(asked.entry.name),
            "title": asked.entry.title,
            "case": case.says,
            "seed": case.seed or None,
            "scenario": case.scenario,
            "patch": asked.patch,
            "run_as": case.patch(asked.patch),
            "arch": asked.arch or None,
            "verdict": "does not apply",
            "rule": None,
            "summary": asked.why_not or None,
            "replay": None,
            "found_at_schedule": None,
            "schedules": 0,
            "seconds": 0.0,
            "complete": False,
            "not_looked_at": sorted(case.without),
            "counts": {},
            "as_expected": True,
        }
        if asked.why_not:
            return Result(asked=asked, row=row, verdict="does not apply", says=asked.why_not)
        program = ScenarioProgram(
            scenario=load_named(case.scenario),
            patch=case.patch(asked.patch),
            arch=asked.arch,
            rules=frozenset(RULES) - case.without if case.without else None,
        )
        counter = _Counter(case)
        done = look(
            program,
            make_strategy(plan.strategies[0], 0),
            Limits(schedules=plan.schedules, seconds=plan.seconds, steps=_STEPS),
            observers=(counter,) if case.counts else (),
        )
        row |= {
            "verdict": "holds",
            "schedules": done.schedules,
            "seconds": round(done.seconds, 3),
            "complete": done.complete,
            "counts": counter.counts,
            "as_expected": not asked.expected,
        }
        for found in done.found[:1]:
            row |= {
                "verdict": "violated",
                "rule": found.failure.rule,
                "summary": found.failure.summary,
                "found_at_schedule": found.schedule,
                "as_expected": found.failure.rule in asked.expected,
            }
            with suppress(TokenError):
                row["replay"] = encode(program, found.tape, max_steps=_STEPS)
        counts = ", ".join(f"{label} {count:,}" for label, count in counter.counts.items())
        return Result(
            asked=asked,
            row=row,
            verdict=f"{row['verdict']}: {row['rule']}" if done.found else "holds",
            says=row["summary"] or counts,
            as_expected=row["as_expected"],
            complete=done.complete,
        )


def version_of(patch: str) -> str:
    """The version that a user's patch derives from; a version is itself."""
    return patch if named(patch) else registered_name(load_patch(patch))


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
