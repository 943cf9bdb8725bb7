"""Branches of a `parallel` step: who waits for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...engine.op import Op

if TYPE_CHECKING:
    from ...engine.task import Task

__all__ = ["Branches"]


class Branches:
    """The branches under way. A step that loops until it is disturbed waits here for others to move.

    Without that, a schedule that never leaves the loop would have no end; with it, every order of the loop's first
    accesses and the other branches' steps can still happen.
    """

    label = "parallel"

    def __init__(self) -> None:
        self._running = 0
        self._loops: list[Task] = []
        self._joiner: Task | None = None

    def holders(self) -> tuple[str, ...]:
        """Nobody in particular."""
        return ()

    def begin(self, count: int) -> None:
        """`count` branches start."""
        self._running += count

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
