"""docs/findings/hugepage-*.md: what the series for huge folios does as posted."""

from __future__ import annotations

import pytest

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.scenarios.catalogue import load_named


def searched(scenario: str, patch: str, arch: str, schedules: int = 40) -> set[str]:
    program = ScenarioProgram(scenario=load_named(scenario), patch=patch, arch=arch)
    result = search(program, make_strategy("random", 0), Limits(schedules=schedules))
    return {found.failure.rule for found in result.found}


@pytest.mark.parametrize("patch", ["hugepage", "hugepage-mutex"])
def test_a_conversion_waits_for_ever_for_the_reference_of_a_memory_failure(patch: str) -> None:
    assert searched("zoo-huge_poison", patch, "sw-protected", 1) == {"deadlock"}


def test_a_small_hole_zeroes_pages_of_an_snp_guest() -> None:
    assert searched("zoo-huge_hole", "hugepage", "snp") == {"I35"}


@pytest.mark.parametrize(("patch", "arch"), [("hugepage", "tdx"), ("hugepage-mutex", "snp")])
def test_not_where_the_zap_takes_the_page_back_or_such_holes_are_refused(patch: str, arch: str) -> None:
    assert not searched("zoo-huge_hole", patch, arch)
