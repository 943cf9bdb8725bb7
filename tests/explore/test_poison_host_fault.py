"""A host fault on a page that is being poisoned: the page that a guest maps stays, except in place."""

from __future__ import annotations

import pytest

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.scenarios.catalogue import load_named


def rules(scenario: str, patch: str, schedules: int) -> list[str]:
    """What a search of the scenario finds first."""
    program = ScenarioProgram(scenario=load_named(scenario), patch=patch, arch="default")
    found = search(program, make_strategy("portfolio", 0), Limits(schedules=schedules)).found
    return [one.failure.rule for one in found]


@pytest.mark.parametrize("patch", ["baseline", "v3", "mainline-7.3"])
def test_a_mapped_page_is_dirty_and_stays(patch: str) -> None:
    """Measured on 6.18.15 and 7.3.4: never evicted."""
    assert rules("zoo-poison_host_fault", patch, 100) == []


def test_in_place_it_is_clean_and_goes() -> None:
    assert rules("zoo-poison_host_fault", "inplace", 200) == ["I19"]


@pytest.mark.parametrize("patch", ["v3", "mainline-7.3", "inplace"])
def test_a_hole_does_not_repair_a_mapping(patch: str) -> None:
    """SIGBUS until MADV_DONTNEED, as measured on 7.3.4; the scenario expects it."""
    assert rules("zoo-poison_repair", patch, 5) == []
