"""The coarse rw-semaphore's queue: who is woken, granted, promised the lock, or taken out by a signal.

Sections 4 to 6 of the specification without the operations that callers see; those are in `rwsem`, where the
grain is explained. Everything here is plain code between two steps, so it is atomic.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..op import Op
from .rwsem_base import RwLockBase
from .rwsem_queue import BATCH, HZ, Waiter, WaitTimeout, WakeKind
from .rwsem_spin import SpinQueue
from .rwsem_stats import PathCounters, RwSemStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task
    from .stats import LockClass


class RwSemCore(RwLockBase):
    """State of the semaphore and the rules that move it.

    Args:
        hz: timer frequency, which rounds the 4 ms that a waiter is patient.
        spinning: writers may spin (`CONFIG_RWSEM_SPIN_ON_OWNER`).

    Attributes:
        handoff: HANDOFF: the lock is promised to the head of the queue.
        nonspinnable: a spinner ran into the time limit of this read phase.
        paths: one counter per path.
    """

    __slots__ = (
        "_queue",
        "_spinners",
        "_spinning",
        "_wait_timeout",
        "handoff",
        "nonspinnable",
        "paths",
        "spin_op",
        "spinning",
    )

    def __init__(
        self,
        label: str,
        cls: LockClass | None = None,
        *,
        line_ns: int = 0,
        hz: int = HZ,
        spinning: bool = True,
    ) -> None:
        super().__init__(label, cls, line_ns=line_ns)
        self.handoff = False
        self.nonspinnable = False
        self.paths = PathCounters()
        self.spinning = spinning
        self.spin_op = Op("wait", label)
        self._wait_timeout = WaitTimeout(hz)
        self._queue: deque[Waiter] = deque()
        self._spinners = SpinQueue(self)
        self._spinning = self._spinners.tasks

    @property
    def writer(self) -> Task | None:
        """The task that holds the lock exclusively."""
        return self._writer

    @property
    def queue(self) -> tuple[Waiter, ...]:
        """The wait queue, head first."""
        return tuple(self._queue)

    def statistics(self) -> RwSemStatistics:
        """Frozen counters, holders and queue (spinners after the queue)."""
        return RwSemStatistics.of(super().statistics(), self.paths)

    def is_locked(self) -> bool:
        """`rwsem_is_locked`: held in either mode, or somebody is queued (a spinner is not)."""
        return self._writer is not None or bool(self._readers) or bool(self._queue)

    def _waiting(self) -> Iterable[Task]:
        return (*(waiter.task for waiter in self._queue), *self._spinning)

    # -- for the spinners ----------------------------------------------------------------------

    def open_to_spinners(self) -> bool:
        """W4b: neither held nor promised."""
        return self._writer is None and not self._readers and not self.handoff

    def read_phase(self) -> int:
        """How many readers hold the lock."""
        return len(self._readers) + len(self._again)

    def head_is_reader(self) -> bool:
        """Whether the next release would grant readers the lock."""
        return bool(self._queue) and not self._queue[0].write

    def take_write(self, t: Task) -> None:
        """The lock is `t`'s; a writer's name in the owner word overwrites NONSPINNABLE."""
        self._writer = t
        self._since = t.engine.now
        self.nonspinnable = False
        self._write.acquisitions += 1

    def _try_write(self, t: Task, waiter: Waiter) -> bool:
        """W7, one attempt of a queued writer."""
        head = self._queue[0]
        if self.handoff and head.handoff_set and waiter is not head:
            return False
        if self._writer is not None or self._readers:
            if not self.handoff and self._wait_timeout.passed(t, waiter):
                self.handoff = True
                head.handoff_set = True
                self.paths.wlock_handoff += 1
            return False
        self.handoff = False
        self._queue.remove(waiter)
        self.take_write(t)
        return True

    # -- the queue -----------------------------------------------------------------------------

    def _freed(self, t: Task) -> None:
        """The last holder has left: section 5, with the spinners' race for the lock in front of it."""
        self._spinners.grab(t)
        if self._queue:
            self._mark_wake(t, WakeKind.ANY)
        self._tell_spinners(t)

    def _tell_spinners(self, t: Task) -> None:
        if self._spinning and self.open_to_spinners():
            self._spinners.look(t)

    def _cond_wake(self, t: Task) -> None:
        """R8: somebody has queued; is the head perhaps eligible?"""
        if self._writer is not None:
            return
        if self._readers:
            self._mark_wake(t, WakeKind.READERS)
        else:
            self.nonspinnable = False
            self._mark_wake(t, WakeKind.ANY)

    def _mark_wake(self, t: Task, kind: WakeKind) -> None:
        """Section 4; the queue is not empty."""
        queue = self._queue
        head = queue[0]
        if head.write:
            if kind is WakeKind.ANY:  # M1
                self.paths.wake_writer += 1
                t.engine.wake(head.task, delay=0 if head.spinning else t.engine.wake_ns)
            return
        if kind is not WakeKind.READ_OWNED and self._writer is not None:  # M3: a writer barged
            if self._wait_timeout.passed(t, head):
                if not self.handoff:
                    self.handoff = True
                    self.paths.rlock_handoff += 1
                head.handoff_set = True
            return
        granted: list[Waiter] = []
        rest: deque[Waiter] = deque()
        for waiter in queue:  # M4: the whole queue, past writers
            if waiter.write or len(granted) == BATCH:
                rest.append(waiter)
            else:
                granted.append(waiter)
        self._queue = rest
        self.handoff = False  # M5
        for waiter in granted:  # M6
            waiter.granted = True
            self._hold_read(waiter.task)
            self.paths.wake_reader += 1
            t.engine.wake(waiter.task, delay=t.engine.wake_ns)

    def _cancel(self, t: Task, waiter: Waiter) -> None:
        """Section 6: a signal takes `waiter` out of the queue."""
        first = self._queue[0] is waiter
        self._queue.remove(waiter)
        if not self._queue:
            self.handoff = False
            self._tell_spinners(t)
        elif first:
            self._mark_wake(t, WakeKind.ANY)
