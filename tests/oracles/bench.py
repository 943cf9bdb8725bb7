"""Oracles over a world at rest, told events by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.explore.workloads import Machine, Plan

from gmemsim.audit.events import Lock
from gmemsim.engine.engine import Engine
from gmemsim.oracles import Oracles
from gmemsim.patches.registry import PATCHES

if TYPE_CHECKING:
    from gmemsim.actors.folio import Folio
    from gmemsim.audit.base import Event
    from gmemsim.engine.task import Task

__all__ = ["MMU", "Bench"]

MMU = Lock("vm0.mmu_lock", "w")


class Bench:
    """Oracles over a machine at rest, and two tasks that do nothing but appear in events."""

    def __init__(
        self,
        kind: str = "private",
        patch: str = "v3",
        plan: Plan | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.machine = Machine(PATCHES[patch], kind, pages=2) if machine is None else machine
        if plan is not None:
            self.machine.run(plan)
        self.oracles = Oracles(self.machine.world, self.machine.kernel, collect=True)
        engine = Engine()

        async def nothing(t: Task) -> None:
            pass

        self.a = engine.spawn("a", nothing)
        self.b = engine.spawn("b", nothing)
        for task in (self.a, self.b):
            task.handle.close()

    def __call__(self, *events: Event, by: Task | None = None) -> set[str]:
        """Rules broken after these events."""
        for event in events:
            self.oracles(by or self.a, event)
        return {violation.rule for violation in self.oracles.violations}

    @property
    def folio(self) -> Folio:
        """The one at index 0."""
        return self.machine.inode.folios[0]

    def rest(self) -> set[str]:
        """Rules broken when what was touched is looked at once nothing is in flight."""
        self.oracles.begin(self.b)
        self.oracles.end(self.b)
        return {violation.rule for violation in self.oracles.violations}
