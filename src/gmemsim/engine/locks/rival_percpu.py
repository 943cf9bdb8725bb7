"""The per-CPU rw-semaphore (`struct percpu_rw_semaphore`): readers touch nothing shared, the writer pays for
it.

A reader counts itself on its own CPU, so any number of readers scale, and no cache line is charged here. The
first writer after a quiet time must wait for an RCU grace period, after which every reader looks at the
shared state; then it blocks new readers and waits until those inside have left. Writers in quick succession
share the grace period. Readers and writers that find the lock blocked wait in one queue, and a release lets
in the readers at its head and then one writer, which again waits for them (kernel/locking/percpu-rwsem.c,
kernel/rcu/sync.c).

Trade-off: the grace period is a timer of fixed length, not a wait for the sections that are open, because no
code of the model runs inside the few instructions that it waits for. Its length is a guess of the right order
(a grace period takes some scheduler ticks), so report how results depend on it. Waiting is not killable, as
in the kernel. The kernel has no downgrade; here it is there because the protocol asks for it, and does the
obvious.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final

from ...audit.events import Contended, Lock, LockRequest
from .one_step import OneStepRwLock
from .rivals_base import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task
    from .stats import LockClass

#: Length of a grace period, in virtual ns.
GRACE_NS: Final = 10_000_000


class PerCpuRwSem(OneStepRwLock):
    """Readers for free, writers after a grace period.

    Args:
        line_ns: accepted and ignored: there is no shared line.
        grace_ns: length of a grace period.
    """

    perf: ClassVar[str] = "pcpu-sem"

    __slots__ = ("_block", "_draining", "_fast_again_at", "_grace_ends", "_queue", "_writers", "grace_ns")

    def __init__(
        self, label: str, cls: LockClass | None = None, *, line_ns: int = 0, grace_ns: int = GRACE_NS
    ) -> None:
        super().__init__(label, cls, line_ns=0)
        self.grace_ns = grace_ns
        #: A writer has closed the lock to newcomers; it may still wait for readers.
        self._block = False
        self._draining: Task | None = None
        self._queue: deque[Entry] = deque()
        self._writers = 0
        self._grace_ends = 0
        self._fast_again_at = 0

    def _waiting(self) -> Iterable[Task]:
        queued = [entry.task for entry in self._queue]
        return queued if self._draining is None else [self._draining, *queued]

    def _may_read(self) -> bool:
        return not self._block

    def _may_write(self) -> bool:
        """No: a writer cannot know without a grace period (the kernel has no such trylock)."""
        return False

    async def _charge(self, t: Task, write: bool) -> None:
        """A reader moves the counters of its own CPU, as SRCU has them."""
        if not write and (cpus := t.engine.cpus) is not None:
            await t.spend(cpus.costs.srcu // 2)

    async def _down(self, t: Task, write: bool, killable: bool) -> int:
        await (self._down_write(t) if write else self._down_read(t))
        return 0

    async def _down_read(self, t: Task) -> None:
        """`percpu_down_read`: free unless a writer has closed the lock."""
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, "r"))
        if t.traps:
            await t.point(self._acquire_w)
        else:
            await self._charge(t, False)
        if self._block:
            if t.rec is not None:
                t.rec(t, Contended(self.label, "r"))
            began = t.engine.now
            await self._queued(t, False)
            self._restart_hold(t)
            self._read.waited(t.engine.now - began)
        else:
            self._hold_read(t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "r"))

    async def _down_write(self, t: Task) -> None:
        """`percpu_down_write`: the tracepoint sees every one as contended."""
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, "w"))
        if t.traps:
            await t.point(self._acquire_w)
        if t.rec is not None:
            t.rec(t, Contended(self.label, "w"))
        began = t.engine.now
        await self._grace_period(t)
        t.touch(self._acquire_w)
        if self._block:
            await self._queued(t, True)
        self._block = True
        if self._readers:
            self._draining = t
            while self._readers:
                await t.park(self, self._wait_w)
            self._draining = None
        self._hold_write(t)
        self._write.waited(t.engine.now - began)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "w"))

    def _left(self, t: Task, after_write: bool) -> None:
        if after_write:
            self._open(t)
        elif self._draining is not None and not self._readers:
            t.engine.wake(self._draining, delay=t.engine.wake_ns)

    def _open(self, t: Task) -> None:
        engine = t.engine
        self._block = False
        self._writers -= 1
        if not self._writers:
            self._fast_again_at = engine.now + self.grace_ns
        while self._queue and not self._block:
            entry = self._queue.popleft()
            entry.granted = True
            if entry.write:
                self._block = True
            else:
                self._hold_read(entry.task)
            engine.wake(entry.task, delay=engine.wake_ns)

    async def _queued(self, t: Task, write: bool) -> None:
        entry = Entry(t, write)
        self._queue.append(entry)
        while not entry.granted:
            await t.park(self, self._wait_w)

    async def _grace_period(self, t: Task) -> None:
        """`rcu_sync_enter`: pay only if readers may still be on their fast path."""
        now = t.engine.now
        if not self._writers and (t.traps or now >= self._fast_again_at):
            self._grace_ends = now + self.grace_ns
        self._writers += 1
        if t.traps or now < self._grace_ends:
            await t.sleep(self._grace_ends - now)
