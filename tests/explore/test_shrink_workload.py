"""Edits of a workload, one by one."""

from __future__ import annotations

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.shrink_workload import _unrolled
from gmemsim.explore.workload_tables import explicit
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.thread import CALLS

TWICE = """
[scenario]
name = "twice"
summary = "Two operations, three times"
vm_types = ["sw-protected"]

[[file]]
id = "gmem0"
pages = 2

[[slot]]
file = "gmem0"

[[task]]
name = "host"
repeat = 3
ops = [{ op = "allocate" }, { op = "punch" }]

[[task]]
name = "once"
ops = [{ op = "allocate" }]
"""


def test_rounds_become_operations_that_can_go_one_by_one() -> None:
    program = ScenarioProgram(scenario=loads(TWICE), arch="sw-protected")
    values = explicit(program)
    [edit] = _unrolled(program, values)
    host, once = edit.values["task"]
    assert "repeat" not in host
    assert [op["op"] for op in host["ops"]] == ["allocate", "punch"] * 3
    assert [op["id"] for op in host["ops"]] == [1, 2, 3, 4, 5, 6]
    assert once == values["task"][1]
    # Every call keeps its choices: call `id` of a round is one of six now.
    assert edit.calls == {
        ("host", number * CALLS + op): number * 2 + op for number in range(3) for op in (1, 2)
    }
    assert values["task"][0]["repeat"] == 3
