"""A sleeping mutex (`struct mutex`): FIFO waiters, and the lock is free between release and the next owner.

The kernel's mutex hands off only to a waiter that was overtaken; before that a running task may take the
lock in the window between the wake-up and the waiter's next attempt. That window is kept: a woken waiter tries
again, and queues at the head if it lost. After one lost attempt the release hands the lock over.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ...audit.events import Contended, Lock, Unlock
from ..errors import ModelError
from ..op import Op
from .kinds import declare
from .stats import LockClass, LockStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task

__all__ = ["Mutex"]


class Mutex:
    """Exclusive sleeping lock with `lock`, `trylock`, `unlock`."""

    __slots__ = (
        "_acquire",
        "_handoff_to",
        "_release",
        "_since",
        "_try",
        "_wait",
        "_waiters",
        "cls",
        "label",
        "owner",
    )

    def __init__(self, label: str, cls: LockClass | None = None) -> None:
        self.label = label
        declare(label, sleeping=True)
        self.cls = cls or LockClass(label)
        self.owner: Task | None = None
        self._handoff_to: Task | None = None
        self._since = 0
        self._waiters: deque[Task] = deque()
        self._acquire = Op("acquire", label)
        self._try = Op("try", label)
        self._wait = Op("wait", label)
        self._release = Op("release", label)

    def holders(self) -> Iterable[str]:
        return () if self.owner is None else (self.owner.name,)

    async def lock(self, t: Task) -> None:
        """`mutex_lock`: wait until the lock is ours.

        Raises:
            ModelError: `t` owns it already (in the kernel: a hang).
        """
        if t.traps:
            await t.point(self._acquire)
        if self.owner is t:
            raise ModelError(f"{t.name} locks {self.label} twice")
        if self.owner is None and self._handoff_to is None:
            self._take(t)
            return
        if t.rec is not None:
            t.rec(t, Contended(self.label, "w"))
        began = t.engine.now
        self._waiters.append(t)
        while True:
            await t.park(self, self._wait)
            if self.owner is None and self._handoff_to in (None, t):
                break
            # Overtaken: back to the head, and the next release is for us, unless another was overtaken before.
            self._waiters.appendleft(t)
            if self._handoff_to is None:
                self._handoff_to = t
        self._handoff_to = None
        self.cls.write.waited(t.engine.now - began)
        self._take(t)

    async def trylock(self, t: Task) -> bool:
        """`mutex_trylock`: take the lock if it is free, never wait."""
        if t.traps:
            await t.point(self._try)
        if self.owner is not None or self._handoff_to is not None:
            return False
        self._take(t)
        return True

    async def unlock(self, t: Task) -> None:
        """`mutex_unlock`.

        Raises:
            ModelError: `t` is not the owner.
        """
        if t.traps:
            await t.point(self._release)
        if self.owner is not t:
            raise ModelError(f"{t.name} unlocks {self.label}, owned by {self.owner}")
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
        self.cls.write.held(t.engine.now - self._since)
        self.owner = None
        if self._waiters:
            waiter = self._handoff_to
            if waiter is None:
                waiter = self._waiters.popleft()
            else:
                self._waiters.remove(waiter)
            t.engine.wake(waiter, delay=t.engine.wake_ns)

    def _take(self, t: Task) -> None:
        self.owner = t
        self._since = t.engine.now
        self.cls.write.acquisitions += 1
        if t.rec is not None:
            t.rec(t, Lock(self.label, "w"))

    def statistics(self) -> LockStatistics:
        """Frozen counters, owner and queue."""
        return LockStatistics(
            self.label,
            self.cls.read.snapshot(),
            self.cls.write.snapshot(),
            tuple(self.holders()),
            tuple(task.name for task in self._waiters),
        )
