"""docs/findings/tdx-removal-failure-in-place.md: without KVM's reference a page that TDX kept is freed, since 6.19."""

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


@pytest.mark.parametrize("patch", ["v3", "mainline-7.3", "inplace", "inplace-off"])
def test_a_frame_that_the_module_kept_is_freed(patch: str) -> None:
    assert searched(patch) == {"I31"}


def test_a_reference_of_its_own_keeps_it() -> None:
    """6.18 and before."""
    assert not searched("baseline")
