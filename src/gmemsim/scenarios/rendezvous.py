"""Where the tasks of a workload meet: barriers, and the count of background tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.observed import announces, whole
from ..engine.op import ALL, Op

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..engine.task import Task


@announces(
    parties=lambda barrier: (barrier.label, 0, ALL),
    waiting=whole(lambda barrier: (barrier.label, 0, ALL)),
)
class Rendezvous:
    """A reusable barrier. A task that ends early drops out, and the others no longer wait for it."""

    __slots__ = ("_op", "_wait", "label", "parties", "waiting")

    def __init__(self, name: str, parties: int) -> None:
        self.label = f"barrier.{name}"
        self.parties = parties
        self.waiting: list[Task] = []
        self._op = Op("rmw", self.label)
        self._wait = Op("wait", self.label)

    def holders(self) -> Iterable[str]:
        return ()

    async def wait(self, t: Task) -> None:
        """Block until all parties are here."""
        if t.traps:
            await t.point(self._op)
        if len(self.waiting) + 1 >= self.parties:
            self._release(t)
            return
        self.waiting.append(t)
        await t.park(self, self._wait)

    async def drop(self, t: Task) -> None:
        """`t` will not come any more."""
        if t.traps:
            await t.point(self._op)
        self.parties -= 1
        if self.waiting and len(self.waiting) >= self.parties:
            self._release(t)

    def _release(self, t: Task) -> None:
        waiting, self.waiting = self.waiting, []
        for task in waiting:
            t.engine.wake(task)
