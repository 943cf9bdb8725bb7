"""docs/findings/hugepage-*.md: what the series for huge folios does as posted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.explore.judges.livelock import judge
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.scenarios.catalogue import load_named

if TYPE_CHECKING:
    from gmemsim.actors.kernel import Kernel


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


@pytest.mark.parametrize(
    ("scenario", "patch", "schedules", "rules"),
    [
        ("zoo-rmp_fault_hole", "hugepage", 40, {"livelock"}),
        ("zoo-rmp_fault_hole", "hugepage-mutex", 40, {"livelock"}),
        ("zoo-rmp_fault_hole", "hugepage-tracked", 80, {"I31"}),
        ("zoo-rmp_fault_hole", "hugepage+rmp-fault-locks-folio", 40, set()),
        ("zoo-rmp_fault_reuse", "hugepage", 40, {"I46"}),
        ("zoo-rmp_fault_reuse", "hugepage+rmp-fault-locks-folio", 40, set()),
    ],
)
def test_an_rmp_fault_meets_a_hole(
    scenario: str, patch: str | type[Kernel], schedules: int, rules: set[str]
) -> None:
    program = ScenarioProgram(scenario=load_named(scenario), patch=patch, arch="snp")
    limits = Limits(schedules=schedules, steps=3_000)
    result = search(program, make_strategy("preemption:2", 0), limits, judge=judge)
    assert {found.failure.rule for found in result.found} == rules
