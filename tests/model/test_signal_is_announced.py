"""`handle_ept_violation` looks at its task's signal before it tries a fault again: a step that signals it races."""

from __future__ import annotations

from typing import Any

from gmemsim.actors.fault import RetPf
from gmemsim.engine.op import Op
from gmemsim.engine.strategy import FirstRunnable
from gmemsim.explore.program import ScenarioProgram
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named


class RetriesOnce(V3):
    """The first fault of the run comes back at once."""

    retried = ""

    async def kvm_mmu_do_page_fault(self, t: Any, *args: Any, **options: Any) -> int:
        if not self.retried:
            self.retried = t.name
            return RetPf.RETRY
        return await super().kvm_mmu_do_page_fault(t, *args, **options)


def test_who_retries_looks_at_its_signal() -> None:
    program = ScenarioProgram(scenario=load_named("same"), patch=RetriesOnce, arch="tdx", rules=frozenset())
    run = program.build(FirstRunnable())
    kernel: Any = run.session.machine.kernel
    touched: list[Op] = []
    told: list[bool] = []

    def look(task: Any) -> None:
        if kernel.retried and not told:
            told.append(Op("load", kernel.retried, mode="r") in touched)
        touched.clear()

    run.engine.ask_touched(touched)
    run.engine.watch_steps(look)
    run.run()
    assert told == [True]
