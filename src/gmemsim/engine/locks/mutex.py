"""A sleeping mutex (`struct mutex`): FIFO waiters, and the lock is free between release and the next owner.

In timed runs a task that finds the owner on a CPU spins (`mutex_optimistic_spin`): spinners queue (`osq`), the first of
them watches the owner and takes the lock at its release, without a wake-up. When the owner goes to sleep they stop and
queue. Exploring runs do without, as the outcome is that of a waiter that came at the release.

The kernel's mutex hands off only to a waiter that was overtaken; before that a running task may take the
lock in the window between the wake-up and the waiter's next attempt. That window is kept: a woken waiter tries
again, and queues at the head if it lost. After one lost attempt the release hands the lock over.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ...audit.events import Contended, Lock, Unlock
from ..cpus import Line
from ..errors import ModelError
from ..op import Op
from .kinds import declare
from .rwsem_queue import on_cpu
from .stats import LockClass, LockStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task


class _Osq:
    """The spinners of one mutex, the first at the left."""

    __slots__ = ("_mutex", "tasks")

    #: Waiting here keeps a CPU busy (see `on_cpu`).
    spins = True

    def __init__(self, mutex: Mutex) -> None:
        self._mutex = mutex
        self.tasks: deque[Task] = deque()

    @property
    def label(self) -> str:
        return self._mutex.label

    def holders(self) -> Iterable[str]:
        return self._mutex.holders()

    def blocked(self, owner: Task) -> None:
        """`owner` parks: if it sleeps, the first spinner must learn."""
        if not on_cpu(owner):
            owner.on_block = tuple(call for call in owner.on_block if call != self.blocked)
            if self.tasks:
                owner.engine.wake(self.tasks[0])


class Mutex:
    """Exclusive sleeping lock with `lock`, `trylock`, `unlock`."""

    __slots__ = (
        "_acquire",
        "_handoff_to",
        "_release",
        "_since",
        "_spinners",
        "_try",
        "_wait",
        "_waiters",
        "cls",
        "label",
        "line_state",
        "owner",
    )

    def __init__(self, label: str, cls: LockClass | None = None) -> None:
        self.label = label
        self.cls = cls or LockClass(label)
        declare(label, cls.name if cls else "", sleeping=True, perf="mutex", lock=self)
        self.owner: Task | None = None
        self._handoff_to: Task | None = None
        self._since = 0
        self._waiters: deque[Task] = deque()
        self._spinners = _Osq(self)
        self.line_state = Line()
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
        elif t.engine.cpus is not None:
            await self._move_line(t)
        if self.owner is t:
            raise ModelError(f"{t.name} locks {self.label} twice")
        if self.owner is None and self._handoff_to is None:
            self._take(t)
            return
        if t.rec is not None:
            t.rec(t, Contended(self.label, "w"))
        began = t.engine.now
        if not t.traps and await self._spin(t):
            self.cls.write.waited(t.engine.now - began)
            if t.rec is not None:
                t.rec(t, Lock(self.label, "w"))
            return
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
        elif t.engine.cpus is not None:
            await self._move_line(t)
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
        elif t.engine.cpus is not None:
            await self._move_line(t)
        if self.owner is not t:
            raise ModelError(f"{t.name} unlocks {self.label}, owned by {self.owner}")
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
        self.cls.write.held(t.engine.now - self._since)
        self.owner = None
        if self._handoff_to is None and self._spinners.tasks:
            spinner = self._spinners.tasks[0]
            self._grant(spinner)
            cpus = t.engine.cpus
            t.engine.wake(spinner, delay=0 if cpus is None else cpus.distance(t.cpu, spinner.cpu))
        if self._waiters:
            waiter = self._handoff_to
            if waiter is None:
                waiter = self._waiters.popleft()
            else:
                self._waiters.remove(waiter)
            t.engine.wake(waiter, delay=t.engine.wake_ns)

    async def _move_line(self, t: Task) -> None:
        cpus = t.engine.cpus
        assert cpus is not None
        await t.spend(cpus.reach(t, self.line_state, self.cls.name, cpus.costs.mutex // 2))

    async def _spin(self, t: Task) -> bool:
        """`mutex_optimistic_spin`: whether `t` has the lock now."""
        osq = self._spinners
        tasks = osq.tasks
        if self.owner is not None and not on_cpu(self.owner):
            return False
        tasks.append(t)
        while self.owner is not t:
            if tasks[0] is t:
                owner = self.owner
                if owner is None and self._handoff_to is None:
                    self._grant(t)
                    break
                if owner is None or not on_cpu(owner):
                    # Handed over to a waiter that sleeps still, or the owner went to sleep.
                    break
                if osq.blocked not in owner.on_block:
                    owner.on_block += (osq.blocked,)
                self.line_state.cpu = t.cpu
            await t.park(osq, self._wait)
        tasks.remove(t)
        if tasks:
            t.engine.wake(tasks[0])
        return self.owner is t

    def _grant(self, t: Task) -> None:
        self.owner = t
        self._since = t.engine.now
        self.cls.write.acquisitions += 1

    def _take(self, t: Task) -> None:
        self._grant(t)
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
