"""docs/findings/memory-failure-fault-conversion.md: the in-place versions have it, the others do not."""

from __future__ import annotations

import pytest

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.scenarios.catalogue import load_named


def searched(patch: str) -> set[str]:
    program = ScenarioProgram(scenario=load_named("zoo-poison_convert"), patch=patch, arch="sw-protected")
    result = search(program, make_strategy("pos", 0), Limits(schedules=400))
    assert all(found.failure.kind == "folio invalidate_lock" for found in result.found)
    return {found.failure.rule for found in result.found}


@pytest.mark.parametrize("patch", ["inplace-v8", "inplace"])
def test_fault_memory_failure_and_conversion_deadlock(patch: str) -> None:
    assert searched(patch) == {"deadlock"}


@pytest.mark.parametrize("patch", ["baseline", "v3", "mainline-7.3"])
def test_not_where_faults_take_no_invalidate_lock(patch: str) -> None:
    assert not searched(patch)


@pytest.mark.parametrize("patch", ["baseline", "v3", "mainline-7.3", "inplace"])
def test_an_allocation_in_the_place_of_the_fault_does_it_on_every_version(patch: str) -> None:
    program = ScenarioProgram(scenario=load_named("zoo-poison_allocate"), patch=patch, arch="sw-protected")
    result = search(program, make_strategy("pos", 0), Limits(schedules=400))
    assert {found.failure.kind for found in result.found} == {"folio invalidate_lock"}
