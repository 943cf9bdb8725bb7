"""Hunting the zoo: is a seeded bug found, by what, and how soon, and is its parent clean under the same searches?"""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import attrs

from ..explore.judges.livelock import judge
from ..explore.program import ScenarioProgram, watched
from ..explore.search import Limits, search
from ..explore.strategies import make_strategy
from ..jobs.workers import tick
from ..patches.registry import load_patch, named, registered_name
from ..scenarios.catalogue import load_named
from .lock_lab import lock_lab
from .zoo_base import is_parent, not_seeded, taken_away

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..explore.runs import Program
    from ..explore.search import SearchResult
    from ..patches.zoo.entry import Bug

__all__ = ["Hunt", "Trial", "ZooRow", "as_dict", "hunt", "hunt_at", "places", "program_of", "shortfall"]


@attrs.frozen
class Trial:
    """One search.

    Attributes:
        rule: of the first failure; empty if there was none.
        schedules: runs until it, or all of them.
    """

    rule: str
    schedules: int
    seconds: float
    says: str = ""


@attrs.frozen(kw_only=True)
class Hunt:
    """How to look.

    Attributes:
        strategy: as on the command line.
        repetitions: searches with a seed of their own; a systematic strategy is run once.
        schedules: limit of each search.
        steps: limit of each run.
    """

    strategy: str = "portfolio"
    repetitions: int = 20
    schedules: int = 2_000
    steps: int = 5_000
    seconds: float | None = 60.0


@attrs.frozen(kw_only=True)
class ZooRow:
    """What came of it, for one bug, version, VM type and strategy.

    Attributes:
        found: searches that ended with a rule of the entry.
        others: rules that ended searches and are none of the entry's, with how often.
        rule: the rule that was found most often; empty if none.
        schedules, schedules_p90: median and 90th percentile of runs to the failure, over the searches that found it.
        seconds: median of those searches.
        control: rules that the parent broke under the first seed's search; empty if it was clean.
        known: the patch is or derives from a version of which the entry says what comes of the bug.
        inherited: those rules of `control` that the version which a user's patch derives from breaks there, too.
        says: of what was found beside the entry's rules, or without the bug, one sentence.
        replaced: functions of a user's patch that do not run when the bug is in.
        never: functions of a user's patch that ran in no search, with the bug and without.
    """

    bug: Bug
    patch: str
    arch: str
    strategy: str
    searches: int
    found: int
    others: dict[str, int]
    rule: str
    schedules: float | None
    schedules_p90: float | None
    seconds: float | None
    control: tuple[str, ...]
    known: bool = True
    inherited: tuple[str, ...] = ()
    says: str = ""
    replaced: tuple[str, ...] = ()
    never: tuple[str, ...] = ()

    @property
    def as_expected(self) -> bool:
        """Found at least once, nothing else, parent clean; a benign entry, and one known to hide: nothing at all.

        In a patch of which the entry does not speak it need not be a bug: then without it there has to be nothing.
        """
        if set(self.control) - set(self.inherited):
            return False
        if self.others or not self.known or self.inherited:
            return not self.known or bool(self.inherited)
        return bool(self.found) == bool(self.bug.rules and not self.bug.unfound)


def program_of(bug: Bug, patch: str, arch: str, *, seeded: bool = True) -> Program:
    """What is searched: the entry's scenario on the variant or on what must be clean; a lock's bug in the lock lab."""
    if bug.policy is not None:
        return lock_lab(bug.policy if seeded else bug.sound)
    cls = load_patch(patch)
    change = bug.make if seeded else bug.control
    if change is not None:
        cls = change(cls)
    return ScenarioProgram(scenario=load_named(bug.scenario), patch=cls, arch=arch, **bug.options)


def places(bug: Bug, base: str = "") -> list[tuple[str, str]]:
    """Versions and VM types that an entry is seeded into; of a lock's bug, the lock. Without a variant: none.

    Args:
        base: a patch to seed it into in place of the entry's versions; none if it cannot be (`zoo_base.not_seeded`).
    """
    if base:
        return [] if not_seeded(bug, base) else [(base, arch) for arch in bug.arches]
    if bug.policy is not None:
        return [(bug.policy.__name__, "-")]
    return [(patch, arch) for patch in bug.parents for arch in bug.arches] if bug.expressible else []


def hunt(bug: Bug, plan: Hunt) -> Iterator[ZooRow]:
    """Search every version and VM type of an entry that has a variant."""
    for patch, arch in places(bug):
        yield hunt_at(bug, patch, arch, plan)


def hunt_at(bug: Bug, patch: str, arch: str, plan: Hunt) -> ZooRow:
    """Search one of the entry's `places`; can be handed to another process.

    Raises:
        KeyboardInterrupt: it was interrupted, and what was found so far says nothing.
    """
    program = program_of(bug, patch, arch)
    systematic = getattr(make_strategy(plan.strategy, 0), "systematic", True)
    count = 1 if systematic else plan.repetitions
    without = program_of(bug, patch, arch, seeded=False)
    with watched(without) as entered:
        trials = [_trial(program, plan, seed) for seed in range(count)]
        control = _search(without, plan, 0)
    if bug.policy is None and not control.found:
        entered.refuse_state()
    row = _row(bug, patch, arch, plan, trials, control)
    if bug.policy is not None or named(patch):
        return row
    inherited: tuple[str, ...] = ()
    if control.found:
        version = program_of(bug, registered_name(load_patch(patch)), arch, seeded=False)
        rules = {found.failure.rule for found in _search(version, plan, 0).found}
        inherited = tuple(rule for rule in row.control if rule in rules)
    return attrs.evolve(
        row,
        known=is_parent(bug, patch),
        inherited=inherited,
        replaced=taken_away(bug, patch),
        never=tuple(entered.never),
    )


def shortfall(rows: Iterable[ZooRow]) -> list[ZooRow]:
    """Rows that are not as their entry says; a bug that one of several strategies finds in a place is found there."""
    rows = list(rows)
    found = {(row.bug.id, row.patch, row.arch) for row in rows if row.found}
    return [
        row
        for row in rows
        if not row.as_expected
        and (row.others or row.control or row.found or (row.bug.id, row.patch, row.arch) not in found)
    ]


def _search(program: Program, plan: Hunt, seed: int) -> SearchResult:
    limits = Limits(schedules=plan.schedules, seconds=plan.seconds, steps=plan.steps)
    result = search(program, make_strategy(plan.strategy, seed), limits, judge=judge, progress=tick)
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    return result


def _trial(program: Program, plan: Hunt, seed: int) -> Trial:
    result = _search(program, plan, seed)
    failure = result.found[0].failure if result.found else None
    rule, says = ("", "") if failure is None else (failure.rule, failure.summary)
    return Trial(rule, result.schedules, result.seconds, says)


def _row(bug: Bug, patch: str, arch: str, plan: Hunt, trials: list[Trial], control: SearchResult) -> ZooRow:
    hits = [trial for trial in trials if trial.rule in bug.rules]
    others: dict[str, int] = {}
    rules: dict[str, int] = {}
    for trial in trials:
        if trial.rule:
            table = rules if trial.rule in bug.rules else others
            table[trial.rule] = table.get(trial.rule, 0) + 1
    says = [found.failure.summary for found in control.found]
    says += [trial.says for trial in trials if trial.rule in others]
    return ZooRow(
        bug=bug,
        patch=patch,
        arch=arch,
        strategy=plan.strategy,
        searches=len(trials),
        found=len(hits),
        others=others,
        rule=max(rules, key=rules.__getitem__) if rules else "",
        schedules=median(trial.schedules for trial in hits) if hits else None,
        schedules_p90=_p90([trial.schedules for trial in hits]),
        seconds=median(trial.seconds for trial in hits) if hits else None,
        control=tuple(found.failure.rule for found in control.found),
        says=(*says, "")[0],
    )


def _p90(values: list[int]) -> float | None:
    if not values:
        return None
    if len(values) == 1:
        return float(values[0])
    return quantiles(values, n=10, method="inclusive")[-1]


def as_dict(row: ZooRow) -> dict[str, Any]:
    """For JSON."""
    return {
        "id": row.bug.id,
        "origin": row.bug.origin,
        "expected": sorted(row.bug.rules),
        "found": bool(row.found),
        "rule": row.rule or None,
        "strategy": row.strategy,
        "schedules": row.schedules,
        "seconds": row.seconds,
        "schedules_p90": row.schedules_p90,
        "searches": row.searches,
        "hits": row.found,
        "others": row.others,
        "patch": row.patch,
        "arch": row.arch,
        "control": list(row.control),
        "as_expected": row.as_expected,
        "known": row.known,
        "inherited": list(row.inherited),
        "says": row.says or None,
        "replaced": list(row.replaced),
        "never_ran": list(row.never),
        "title": row.bug.title,
    }
