"""What a finalized TD refuses, before anything else: an order that drawn workloads found wrong in the model."""

from __future__ import annotations

from gmemsim.engine.strategy import FirstRunnable
from gmemsim.explore.program import ScenarioProgram
from gmemsim.scenarios.scenario import loads

HEAD = """
[scenario]
name = "entry"
summary = "for tests of orders"
question = "in which order?"

[[vm]]
id = "vm0"
on_memory_fault = "reenter"

[[file]]
id = "gmem0"
pages = 1

[[slot]]
id = 0
file = "gmem0"
gfn = 0x100
"""

POPULATED = """
[[task]]
name = "vmm"
ops = [{ op = "launch_finish" }, { op = "populate", source = "image", expect = "EINVAL" }]

[[task]]
role = "vcpu"
ops = [{ op = "sleep", time = 0 }]
"""


def test_nothing_is_added_to_a_finalized_td() -> None:
    text = HEAD.replace('id = "vm0"', 'id = "vm0"\nchoices = { sept_ve_disable = false }')
    text = text + "[setup]\nfinalize = false\n" + POPULATED
    run = ScenarioProgram(scenario=loads(text), patch="v3", arch="tdx").build(FirstRunnable())
    run.run()
    assert run.found() is None
    assert not run.session.machine.inodes[0].folios
