"""The table of operations: every pair makes a scenario that can be built, and a known one is found."""

from __future__ import annotations

import pytest

from gmemsim.engine.strategy import FirstRunnable
from gmemsim.explore.pairs import OPERATIONS, Pair, explore_pair, pairs, scenario_text
from gmemsim.explore.program import ScenarioProgram
from gmemsim.patches.registry import load_patch
from gmemsim.scenarios.scenario import loads


@pytest.mark.parametrize("patch", ["baseline", "v3", "mainline-7.3", "inplace"])
def test_every_pair_can_be_built(patch: str) -> None:
    found = list(pairs(patch, in_place=load_patch(patch).in_place))
    assert {name for pair in found for name in (pair.first, pair.second)} == {one.name for one in OPERATIONS}
    assert len(found) == len({(pair.first, pair.second, pair.arch) for pair in found})
    for pair in found[::7]:
        scenario = loads(scenario_text(pair), "pair.toml")
        ScenarioProgram(scenario=scenario, patch=patch, arch=pair.arch, small=False).build(FirstRunnable())


def test_known_deadlock_is_found() -> None:
    row = explore_pair(Pair("punch", "memory failure", "v3", "sw-protected"), schedules=60)
    assert [found["rule"] for found in row["violations"]] == ["deadlock"]


def test_what_was_covered_is_said() -> None:
    small = explore_pair(Pair("close", "close", "v3", "sw-protected"), schedules=200)
    assert small["scope"].startswith("complete")
    assert not small["violations"]
    capped = explore_pair(Pair("touch", "punch", "v3", "sw-protected"), schedules=3)
    assert not capped["scope"].startswith("complete:")
    assert capped["schedules"] == 3
