"""Branches of a `parallel` step: who waits for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...engine.op import Op

if TYPE_CHECKING:
    from ...engine.task import Task


class Branches:
    """The branches under way. A step that loops until it is disturbed waits here for others to move.

    Without that, a schedule that never leaves the loop would have no end; with it, every order of the loop's first
    accesses and the other branches' steps can still happen.
    """

    label = "parallel"
    turn = Op("rmw", "parallel")

    def __init__(self) -> None:
        self._running = 0
        self._loops: list[Task] = []
        self._joiner: Task | None = None
        self._cold = 0
        self._waiting: list[Task] = []

    def holders(self) -> tuple[str, ...]:
        """Nobody in particular."""
        return ()

    def begin(self, count: int, loops: int) -> None:
        """`count` branches start, `loops` of them with an operation that goes on until it is disturbed."""
        self._running += count
        self._cold += loops

    async def warm(self, t: Task) -> None:
        """Until every branch that starts with a loop has been round once: the guest is running by then."""
        if self._cold:
            self._waiting.append(t)
            await t.park(self, Op("wait", self.label))

    def went_round(self, t: Task) -> None:
        """A loop has been round once."""
        self._cold -= 1
        if self._cold <= 0:
            waiting, self._waiting = self._waiting, []
            for task in waiting:
                t.engine.wake(task)

    async def join(self, t: Task) -> None:
        """Until every branch is done."""
        if self._running:
            self._joiner = t
            await t.park(self, Op("wait", self.label))

    async def progress(self, t: Task) -> bool:
        """Until another branch finished a step; False if all others are done or wait here as well."""
        if self._running <= len(self._loops) + 1:
            return False
        self._loops.append(t)
        await t.park(self, Op("wait", self.label))
        return True

    def moved(self, t: Task) -> None:
        """A branch finished a step."""
        loops, self._loops = self._loops, []
        for task in loops:
            t.engine.wake(task)

    def done(self, t: Task) -> None:
        """A branch finished."""
        self._running -= 1
        self.moved(t)
        if not self._running and self._joiner is not None:
            t.engine.wake(self._joiner)
