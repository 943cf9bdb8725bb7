"""docs/findings/snp-launch-update-after-finish.md."""

from __future__ import annotations

import pytest

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.scenarios.catalogue import load_named


@pytest.mark.parametrize(
    ("patch", "arch", "rules"),
    [("v3", "snp", {"I35"}), ("v3", "tdx", set()), ("inplace", "snp", set())],
)
def test_launch_pages_after_the_launch(patch: str, arch: str, rules: set[str]) -> None:
    program = ScenarioProgram(scenario=load_named("zoo-launch_late"), patch=patch, arch=arch)
    result = search(program, make_strategy("pos", 0), Limits(schedules=300))
    assert {found.failure.rule for found in result.found} == rules
