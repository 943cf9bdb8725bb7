"""docs/findings/tdx-removal-failure-in-place.md: without KVM's reference a page that TDX kept is freed."""

from __future__ import annotations

import pytest

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.scenarios.catalogue import load_named


def searched(patch: str) -> set[str]:
    program = ScenarioProgram(scenario=load_named("zoo-tdx_fails"), patch=patch, arch="tdx")
    result = search(program, make_strategy("random", 0), Limits(schedules=100))
    return {found.failure.rule for found in result.found}


def test_a_frame_that_the_module_kept_is_freed_in_place() -> None:
    # Its last reference is a batch's on the way to an LRU list: the run ends before the drain that frees it.
    assert searched("inplace") == {"I31"}


@pytest.mark.parametrize("patch", ["baseline", "inplace-off"])
def test_a_reference_of_its_own_keeps_it(patch: str) -> None:
    assert not searched(patch)
