"""The table of operations: every pair makes a scenario that can be built, and a known one is found."""

from __future__ import annotations

import pytest

from gmemsim.engine.strategy import FirstRunnable
from gmemsim.explore.pairs import HUGE_OPERATIONS, OPERATIONS, Pair, explore_pair, known, pairs, scenario_text
from gmemsim.explore.program import ScenarioProgram
from gmemsim.patches.registry import load_patch
from gmemsim.scenarios.scenario import loads


@pytest.mark.parametrize("patch", ["baseline", "v3", "mainline-7.3", "inplace"])
def test_every_pair_can_be_built(patch: str) -> None:
    found = list(pairs(patch, in_place=load_patch(patch).in_place))
    assert {name for pair in found for name in (pair.first, pair.second)} == {one.name for one in OPERATIONS}
    assert len(found) == len({(pair.first, pair.second, pair.arch, pair.setup) for pair in found})
    assert {pair.setup for pair in found} >= {"untouched", "used"}
    for pair in found[::13]:
        scenario = loads(scenario_text(pair), "pair.toml")
        ScenarioProgram(scenario=scenario, patch=patch, arch=pair.arch, small=False).build(FirstRunnable())


def test_pairs_on_a_huge_page() -> None:
    found = list(pairs("hugepage-mutex", in_place=True, huge=True))
    assert {pair.arch for pair in found} == {"sw-protected", "snp", "tdx"}
    assert {name for pair in found for name in (pair.first, pair.second)} == {
        one.name for one in HUGE_OPERATIONS
    }
    row = explore_pair(Pair("split", "memory failure", "hugepage-mutex", "snp", huge=True), schedules=10)
    assert {known({"split", "memory failure"}, found) for found in row["violations"]} == {"F"}


def test_a_memory_failure_follows_its_page_into_the_merged_folio() -> None:
    """The page's piece of a split folio is a tail page once the hole has merged it: no lock of its own any more."""
    pair = Pair("punch", "memory failure", "hugepage", "snp", "shared", huge=True)
    row = explore_pair(pair, schedules=50, sampled=25)
    assert {known({pair.first, pair.second}, found) for found in row["violations"]} <= {"D", "F"}
    assert row["violations"]


def test_a_long_hole_is_no_livelock() -> None:
    """It takes more steps on an SNP guest's huge page than a fair continuation has at least."""
    pair = Pair("touch neighbour", "punch", "hugepage", "snp", "used", huge=True)
    assert not explore_pair(pair, schedules=2, sampled=10)["violations"]


def test_known_deadlock_is_found() -> None:
    row = explore_pair(Pair("punch", "memory failure", "v3", "sw-protected"), schedules=60)
    assert [known({"punch", "memory failure"}, found) for found in row["violations"]] == ["D"]


def test_an_eviction_needs_a_page_in_use() -> None:
    """The host fault on a page being poisoned, where the guest maps the page."""
    pair = Pair("host write", "memory failure", "v3", "default", "used")
    row = explore_pair(pair, schedules=20, sampled=150)
    assert {known({"host write", "memory failure"}, found) for found in row["violations"]} == {"E"}


def test_a_deadlock_over_other_locks_is_not_the_known_one() -> None:
    names = {"punch", "memory failure"}
    assert known(names, {"rule": "deadlock", "kind": "folio invalidate_lock"}) == "D"
    assert not known(names, {"rule": "deadlock", "kind": "folio mmu_lock"})
    assert not known({"punch", "touch"}, {"rule": "deadlock", "kind": "folio invalidate_lock"})


def test_what_was_covered_is_said() -> None:
    small = explore_pair(Pair("close", "close", "v3", "sw-protected"), schedules=200)
    assert small["scope"].startswith("complete")
    assert not small["violations"]
    capped = explore_pair(Pair("touch", "punch", "v3", "sw-protected"), schedules=3)
    assert not capped["scope"].startswith("complete:")
    assert capped["schedules"] == 3
