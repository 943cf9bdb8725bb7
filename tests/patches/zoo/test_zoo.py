"""The zoo's bugs show under their scenario, and the versions that they are seeded into are clean there."""

from __future__ import annotations

import pytest

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.registry import load_patch
from gmemsim.patches.zoo.registry import BUGS
from gmemsim.scenarios.catalogue import load_named

#: Seeded, but no schedule of its scenario has shown it yet.
NOT_FOUND = {"hwpoison-path-leaks-folio"}
FOUND = [bug.id for bug in BUGS.values() if bug.rules and bug.id not in NOT_FOUND]


def _rules(bug_id: str, *, seeded: bool) -> set[str]:
    bug = BUGS[bug_id]
    patch = load_patch(bug.parents[0])
    if seeded and bug.make is not None:
        patch = bug.make(patch)
    program = ScenarioProgram(scenario=load_named(bug.scenario), patch=patch, arch=bug.arches[0])
    found = search(program, make_strategy("random", 1), Limits(schedules=200)).found
    return {one.failure.rule for one in found}


def test_every_entry_is_listed() -> None:
    """All 59, each with a variant or a reason."""
    assert len(BUGS) == 59
    assert all(bug.expressible != bool(bug.why_not) for bug in BUGS.values())


@pytest.mark.parametrize("bug_id", FOUND)
def test_found_by_an_expected_rule(bug_id: str) -> None:
    """The first violation is one that the entry names."""
    rules = _rules(bug_id, seeded=True)
    assert rules
    assert rules <= BUGS[bug_id].rules


@pytest.mark.parametrize("bug_id", [bug.id for bug in BUGS.values() if bug.make])
def test_parent_is_clean(bug_id: str) -> None:
    """The same budget on the version without the bug finds nothing; the benign entry is its own parent."""
    assert not _rules(bug_id, seeded=False)
