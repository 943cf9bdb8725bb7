"""A scenario for VM types that are not modelled is refused with a line, not an index error."""

from __future__ import annotations

import pytest

from gmemsim.scenarios.errors import ScenarioError
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import build

SCENARIO = """
[scenario]
name = "mine"
summary = "s"
vm_types = ["pkvm"]

[[file]]
id = "g"
pages = 1

[[task]]
name = "t"
ops = [{ op = "punch" }]
"""


def test_no_actor_for_any_vm_type() -> None:
    with pytest.raises(ScenarioError, match="no VM type of pkvm here"):
        build(loads(SCENARIO, "mine.toml"))
