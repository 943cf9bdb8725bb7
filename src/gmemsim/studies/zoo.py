"""Hunting the zoo: is a seeded bug found, by what, and how soon, and is its parent clean under the same searches?"""

from __future__ import annotations

from collections import Counter
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from ..explore.program import ScenarioProgram
from ..explore.search import Limits
from ..explore.strategies import make_strategy
from ..patches.registry import load_patch, named, registered_name
from ..patches.zoo.entry import Bug
from ..patches.zoo.registry import BUGS
from ..scenarios.catalogue import load_named
from .lock_lab import lock_lab
from .study import NO_VM, Asked, Plan, Result, Study, look
from .zoo_base import is_parent, not_seeded, taken_away

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..explore.runs import Program
    from ..explore.search import SearchResult
    from ..patches.entry import Entry

#: Of a run.
_STEPS = 5_000


class Zoo(Study):
    """Each bug is seeded and looked for in its scenario; what has not got it must be clean."""

    name = "zoo"
    unknown = "no bug {!r} in the zoo"
    listed = "gmemsim list bugs"

    def entries(self) -> dict[str, Bug]:
        return BUGS

    def why_not(self, entry: Entry, patches: Sequence[str]) -> str:
        assert isinstance(entry, Bug)
        return (
            "; ".join(dict.fromkeys(filter(None, (not_seeded(entry, patch) for patch in patches))))
            or entry.why_not
        )

    def asked(
        self, entry: Entry, patches: Sequence[str], vm_types: Sequence[str], plan: Plan
    ) -> Iterator[Asked]:
        assert isinstance(entry, Bug)
        expected = tuple(sorted(entry.rules)) if not entry.unfound else ()
        for base in patches or ("",):
            for patch, arch in places(entry, base):
                if not vm_types or arch in vm_types:
                    for strategy in plan.strategies:
                        yield Asked(entry=entry, patch=patch, arch=arch, part=strategy, expected=expected)

    def ask(self, asked: Asked, plan: Plan) -> Result:
        bug, patch, arch = asked.entry, asked.patch, asked.arch
        assert isinstance(bug, Bug)
        program = program_of(bug, patch, arch)
        systematic = getattr(make_strategy(asked.part, 0), "systematic", True)
        seeds = range(1 if systematic else plan.repetitions)
        trials = [_search(program, asked.part, plan, seed) for seed in seeds]
        control = _search(program_of(bug, patch, arch, seeded=False), asked.part, plan, 0)
        row = _row(bug, asked, trials, control)
        if bug.policy is None and not named(patch):
            if control.found:
                version = program_of(bug, registered_name(load_patch(patch)), arch, seeded=False)
                below = {found.failure.rule for found in _search(version, asked.part, plan, 0).found}
                row["inherited"] = [rule for rule in row["control"] if rule in below]
            row["known"] = is_parent(bug, patch)
            row["replaced"] = list(taken_away(bug, patch))
        row["as_expected"] = _as_expected(asked, row)
        return Result(
            asked=asked,
            row=row,
            verdict=f"found in {row['hits']} of {row['searches']} searches",
            says=f"others: {', '.join(row['others']) or 'none'}; "
            f"without the bug: {', '.join(row['control']) or 'clean'}",
            as_expected=row["as_expected"],
        )

    def wrong(self, results: Sequence[Result], *, whole: bool) -> list[Result]:
        """A bug that one of several strategies finds in a place is found there; so all of them have to be through."""
        found = {result.asked.key[:3] for result in results if result.row["found"]}
        return [
            result
            for result in results
            if not result.as_expected
            and (
                any(result.row[name] for name in ("others", "control", "found"))
                or (whole and result.asked.key[:3] not in found)
            )
        ]


def _as_expected(asked: Asked, row: dict[str, Any]) -> bool:
    """Found at least once, nothing else, parent clean; a benign entry, and one known to hide: nothing at all.

    In a patch of which the entry does not speak it need not be a bug: then without it there has to be nothing.
    """
    if set(row["control"]) - set(row["inherited"]):
        return False
    if row["others"] or not row["known"] or row["inherited"]:
        return not row["known"] or bool(row["inherited"])
    return bool(row["found"]) == bool(asked.expected)


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
        return [] if not_seeded(bug, base) else [(base, arch) for arch in bug.vm_types]
    if bug.policy is not None:
        return [(bug.policy.__name__, NO_VM)]
    return [(patch, arch) for patch in bug.versions for arch in bug.vm_types] if bug.expressible else []


def _search(program: Program, strategy: str, plan: Plan, seed: int) -> SearchResult:
    limits = Limits(schedules=plan.schedules, seconds=plan.seconds, steps=_STEPS)
    return look(program, make_strategy(strategy, seed), limits)


def _row(bug: Bug, asked: Asked, trials: list[SearchResult], control: SearchResult) -> dict[str, Any]:
    """What the searches of a place came to.

    `hits` of the `searches` ended with a rule of the entry, `rule` being the one of most of them; `schedules` (and
    their 90th percentile) and `seconds` are medians over those. `others` are rules that ended searches and are none of
    the entry's, `control` those that are broken without the bug. Of a user's patch: `known` says that the entry speaks
    of its version, `inherited` which of `control` that version breaks as well, `replaced` which of its functions do not
    run with the bug.
    """
    ended = [(trial, trial.found[0].failure) for trial in trials if trial.found]
    hits = [trial for trial, failure in ended if failure.rule in bug.rules]
    others = Counter(failure.rule for _, failure in ended if failure.rule not in bug.rules)
    rules = Counter(failure.rule for _, failure in ended if failure.rule in bug.rules)
    says = [found.failure.summary for found in control.found]
    says += [failure.summary for _, failure in ended if failure.rule in others]
    return {
        "id": bug.name,
        "origin": bug.origin,
        "expected": sorted(bug.rules),
        "found": bool(hits),
        "rule": max(rules, key=rules.__getitem__) if rules else None,
        "strategy": asked.part,
        "schedules": median(trial.schedules for trial in hits) if hits else None,
        "seconds": median(trial.seconds for trial in hits) if hits else None,
        "schedules_p90": _p90([trial.schedules for trial in hits]),
        "searches": len(trials),
        "hits": len(hits),
        "others": dict(others),
        "patch": asked.patch,
        "arch": asked.arch,
        "control": [found.failure.rule for found in control.found],
        "as_expected": True,
        "known": True,
        "inherited": [],
        "says": (*says, "")[0] or None,
        "replaced": [],
        "never_ran": [],
        "title": bug.title,
    }


def _p90(values: list[int]) -> float | None:
    if len(values) < 2:
        return float(values[0]) if values else None
    return quantiles(values, n=10, method="inclusive")[-1]
