"""Spinning locks: the queued spinlock and the queued rwlock (`kvm->mmu_lock` on x86).

Both are fair: contenders queue and are granted in order. A waiting reader of the queued rwlock blocks later
readers that are not in interrupt context as soon as a writer waits before them, as `queued_read_lock` does: the
reader fast path needs the writer byte (locked or waiting) to be clear. Waiters spin, so a grant costs no wake-up
latency, and holders must not sleep: `Task.held` lets an oracle check that. With `Engine.cpus` a lock operation moves
the line of the lock word, and a grant takes a hand-over (`Cpus.handover`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ...audit.events import Contended, Lock, Unlock
from ..cpus import Line
from ..errors import ModelError
from ..observed import reads
from ..op import ALL, Mode, Op
from .kinds import declare
from .stats import LockClass, LockStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task


class QueuedRwLock:
    """`rwlock_t` as queued rwlock: `read_lock`, `read_unlock`, `write_lock`, `write_unlock`."""

    __slots__ = ("_ops", "_queue", "_readers", "_write_since", "_writer", "cls", "label", "line_state")

    def __init__(self, label: str, cls: LockClass | None = None, perf: str = "rwlock") -> None:
        self.label = label
        self.cls = cls or LockClass(label)
        declare(label, cls.name if cls else "", sleeping=False, perf=perf, lock=self)
        self._readers: dict[Task, int] = {}
        self._writer: Task | None = None
        self._write_since = 0
        self._queue: deque[tuple[Task, Mode]] = deque()
        self.line_state = Line()
        self._ops = {
            "read_lock": Op("acquire", label, mode="r"),
            "read_unlock": Op("release", label, mode="r"),
            "write_lock": Op("acquire", label),
            "write_unlock": Op("release", label),
            "wait": Op("wait", label),
        }

    def holders(self) -> Iterable[str]:
        if self._writer is not None:
            return (self._writer.name,)
        return tuple(task.name for task in self._readers)

    @property
    def writer(self) -> Task | None:
        return self._writer

    def read_held(self, t: Task) -> bool:
        return t in self._readers

    @reads(lambda lock: (lock.label, 0, ALL))
    def contended(self) -> bool:
        """`rwlock_needbreak`: somebody spins on the lock."""
        return bool(self._queue)

    async def read_lock(self, t: Task) -> None:
        if t.traps:
            await t.point(self._ops["read_lock"])
        elif t.engine.cpus is not None:
            await self._move_line(t)
        if self._writer is None and not self._queue:
            self._grant(t, "r")
            return
        await self._spin(t, "r")

    async def write_lock(self, t: Task) -> None:
        if t.traps:
            await t.point(self._ops["write_lock"])
        elif t.engine.cpus is not None:
            await self._move_line(t)
        if self._writer is None and not self._queue and not self._readers:
            self._grant(t, "w")
            return
        await self._spin(t, "w")

    async def read_unlock(self, t: Task) -> None:
        if t.traps:
            await t.point(self._ops["read_unlock"])
        elif t.engine.cpus is not None:
            await self._move_line(t)
        since = self._readers.pop(t, None)
        if since is None:
            raise ModelError(f"{t.name} read-unlocks {self.label} without holding it")
        self.cls.read.held(t.engine.now - since)
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "r"))
        if self._queue:
            t.touch(self._ops["wait"])
            self._pass_on(t)

    async def write_unlock(self, t: Task) -> None:
        if t.traps:
            await t.point(self._ops["write_unlock"])
        elif t.engine.cpus is not None:
            await self._move_line(t)
        if self._writer is not t:
            raise ModelError(f"{t.name} write-unlocks {self.label}, held by {self._writer}")
        self._writer = None
        self.cls.write.held(t.engine.now - self._write_since)
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
        if self._queue:
            self._pass_on(t)

    async def _move_line(self, t: Task) -> None:
        cpus = t.engine.cpus
        assert cpus is not None
        await t.spend(cpus.reach(t, self.line_state, self.cls.name, cpus.costs.spinlock // 2))

    async def _spin(self, t: Task, mode: Mode) -> None:
        if self._writer is t or t in self._readers:
            raise ModelError(f"{t.name} takes {self.label} recursively while it is contended")
        if t.rec is not None:
            t.rec(t, Contended(self.label, mode))
        began = t.engine.now
        # Unlike a read lock that is granted, one that queues does not commute with others.
        t.touch(self._ops["wait"])
        self._queue.append((t, mode))
        await t.park(self, self._ops["wait"])
        now = t.engine.now
        if mode == "r":
            self._readers[t] = now
            self.cls.read.waited(now - began)
        else:
            self._write_since = now
            self.cls.write.waited(now - began)
        if t.rec is not None:
            t.rec(t, Lock(self.label, mode))

    def _grant(self, t: Task, mode: Mode, record: bool = True) -> None:
        if mode == "r":
            if t in self._readers:
                raise ModelError(f"{t.name} read-locks {self.label} twice")
            self._readers[t] = t.engine.now
            self.cls.read.acquisitions += 1
        else:
            self._writer = t
            self._write_since = t.engine.now
            self.cls.write.acquisitions += 1
        if record and t.rec is not None:
            t.rec(t, Lock(self.label, mode))

    def _pass_on(self, t: Task) -> None:
        queue = self._queue
        cpus = t.engine.cpus
        cpu, delay = t.cpu, 0
        while queue and self._writer is None:
            task, mode = queue[0]
            if mode == "w" and self._readers:
                return
            queue.popleft()
            self._grant(task, mode, record=False)
            if cpus is not None:
                # Each lets the one behind it in the queue come to the lock word.
                delay += cpus.handover(cpu, task.cpu)
                cpu = self.line_state.cpu = task.cpu
            t.engine.wake(task, delay=delay)

    def statistics(self) -> LockStatistics:
        """Frozen counters, holders and queue."""
        return LockStatistics(
            self.label,
            self.cls.read.snapshot(),
            self.cls.write.snapshot(),
            tuple(self.holders()),
            tuple(task.name for task, _ in self._queue),
        )


class SpinLock:
    """`spinlock_t`: a queued spinlock.

    Args:
        host: it is the host kernel's; what firmware or a guest spins on, the host's perf does not see.
    """

    __slots__ = ("_lock",)

    def __init__(self, label: str, cls: LockClass | None = None, *, host: bool = True) -> None:
        self._lock = QueuedRwLock(label, cls, "spinlock" if host else "")

    @property
    def label(self) -> str:
        return self._lock.label

    @property
    def cls(self) -> LockClass:
        return self._lock.cls

    def holders(self) -> Iterable[str]:
        return self._lock.holders()

    async def lock(self, t: Task) -> None:
        await self._lock.write_lock(t)

    async def unlock(self, t: Task) -> None:
        await self._lock.write_unlock(t)

    def statistics(self) -> LockStatistics:
        return self._lock.statistics()
