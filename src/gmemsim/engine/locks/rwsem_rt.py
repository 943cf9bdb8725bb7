"""The rw-semaphore of PREEMPT_RT kernels: a reader count beside an rt-mutex (kernel/locking/rwbase_rt.c).

A different lock under the same name. A writer first owns the rt-mutex, then takes away the bias that lets
readers in without looking, then waits until the readers are gone. As long as one is left, more readers may
enter, so a stream of overlapping readers starves a writer for ever; in exchange there is no hand-off, no
spinning, no stealing. Readers that meet a writer which *has* the lock queue on the rt-mutex among the
writers, and each passes it on as soon as it has counted itself.

The grain is coarse: one step an operation, one a wake-up. Not modelled: priorities and their inheritance; all
tasks are equal, so the rt-mutex is FIFO.
"""

from __future__ import annotations

from collections import deque
from errno import EINTR
from typing import TYPE_CHECKING, Any, ClassVar

from ...audit.events import Contended, Lock, LockRequest
from .one_step import OneStepRwLock

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from ..task import Task
    from .stats import LockClass


class RtRwSem(OneStepRwLock):
    """`struct rw_semaphore` with CONFIG_PREEMPT_RT."""

    perf: ClassVar[str] = "rwlock-rt"

    __slots__ = ("_draining", "_mutex", "_queue")

    def __init__(self, label: str, cls: LockClass | None = None, *, line_ns: int = 0) -> None:
        super().__init__(label, cls, line_ns=line_ns)
        #: Owner and waiters of the rt-mutex.
        self._mutex: Task | None = None
        self._queue: deque[Task] = deque()
        #: The writer that has taken the readers' bias away and waits for those inside.
        self._draining: Task | None = None

    def _waiting(self) -> Iterable[Task]:
        return self._queue if self._draining is None else (self._draining, *self._queue)

    def _may_read(self) -> bool:
        return self._writer is None and self._draining is None

    def _may_write(self) -> bool:
        return self._mutex is None and not self._readers

    def _hold_write(self, t: Task) -> None:
        self._mutex = t
        super()._hold_write(t)

    def _left(self, t: Task, after_write: bool) -> None:
        if after_write:
            self._unlock_mutex(t)
        elif self._draining is not None and not self._readers:
            t.engine.wake(self._draining, delay=t.engine.wake_ns)

    def _down(self, t: Task, write: bool, killable: bool) -> Coroutine[Any, Any, int]:
        return self._down_write(t, killable) if write else self._down_read(t, killable)

    async def _down_read(self, t: Task, killable: bool) -> int:
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, "r"))
        if t.traps:
            await t.point(self._acquire_w)
        else:
            await self._charge(t, False)
        if self._writer is None:
            self._hold_read(t)
        else:
            began = t.engine.now
            if await self._lock_mutex(t, "r", killable):
                return -EINTR
            self._hold_read(t)
            self._unlock_mutex(t)
            self._read.waited(t.engine.now - began)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "r"))
        return 0

    async def _down_write(self, t: Task, killable: bool) -> int:
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, "w"))
        if t.traps:
            await t.point(self._acquire_w)
        else:
            await self._charge(t, True)
        began = t.engine.now
        queued = self._mutex is not None
        if await self._lock_mutex(t, "w", killable):
            return -EINTR
        waited = queued or bool(self._readers)
        if self._readers:
            if not queued and t.rec is not None:
                t.rec(t, Contended(self.label, "w"))
            self._draining = t
            while self._readers:
                if killable and t.signalled():
                    self._draining = None
                    self._unlock_mutex(t)
                    return -EINTR
                await t.park(self, self._wait_w, interruptible=killable)
            self._draining = None
        self._hold_write(t)
        if waited:
            self._write.waited(t.engine.now - began)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "w"))
        return 0

    # -- the rt-mutex --------------------------------------------------------------------------

    async def _lock_mutex(self, t: Task, mode: str, killable: bool) -> int:
        if self._mutex is None:
            self._mutex = t
            return 0
        if t.rec is not None:
            t.rec(t, Contended(self.label, mode))
        self._queue.append(t)
        while self._mutex is not t or t in self._queue:
            if killable and t.signalled():
                self._queue.remove(t)
                return -EINTR
            await t.park(self, self._wait_w, interruptible=killable)
        return 0

    def _unlock_mutex(self, t: Task) -> None:
        self._mutex = None
        if self._queue:
            self._mutex = self._queue.popleft()
            t.engine.wake(self._mutex, delay=t.engine.wake_ns)
