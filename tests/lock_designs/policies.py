"""Policies of one step an operation, on the queue of `engine.locks.rivals_base`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gmemsim.engine.locks.rivals import FifoFair
from gmemsim.engine.locks.rivals_base import PolicyLock

if TYPE_CHECKING:
    from gmemsim.engine.locks.rivals_base import Entry
    from gmemsim.engine.locks.stats import LockClass
    from gmemsim.engine.task import Task

__all__ = ["BatchFair", "BoundedOvertaking", "LastComeFirst"]


class BoundedOvertaking(FifoFair):
    """Readers may pass writers that wait, but none of them more than `bound` times; then it is first in, first out.

    Source: bounded bypass as in Lamport's and Peterson's algorithms (Raynal, "Algorithms for mutual exclusion", 1986),
    applied to readers.
    """

    bound: Final = 2

    def __init__(self, label: str, cls: LockClass | None = None, *, line_ns: int = 0) -> None:
        super().__init__(label, cls, line_ns=line_ns)
        self._passed: dict[Task, int] = {}

    def _may_read(self) -> bool:
        if self._writer is not None or any(not entry.write for entry in self._queue):
            return False
        # Who is no longer queued is no longer passed over.
        self._passed = {entry.task: self._passed.get(entry.task, 0) for entry in self._queue}
        if max(self._passed.values(), default=0) >= self.bound:
            return False
        self._count()
        return True

    def _count(self) -> None:
        for task in self._passed:
            self._passed[task] += 1


class BatchFair(PolicyLock):
    """Readers that wait go in together, then up to `writers` writers one after another, and again.

    A policy of the same family as phase-fair locks, whose write phase is one writer; cf. the hand-over limits of
    C-RW-RP and C-RW-WP (Calciu et al., PPoPP 2013).
    """

    writers: Final = 2

    def __init__(self, label: str, cls: LockClass | None = None, *, line_ns: int = 0) -> None:
        super().__init__(label, cls, line_ns=line_ns)
        self._batch = 0

    def _may_read(self) -> bool:
        return self._writer is None and not self._queue

    def _admit(self, t: Task, after_write: bool) -> None:
        if self._writer is not None:
            return
        if after_write:
            self._batch += 1
        readers = any(not entry.write for entry in self._queue)
        if readers and (self._batch >= self.writers or not self._writers_wait()):
            self._batch = 0
            self._grant_readers(t)
        if not self._readers:
            self._grant_writer(t)


class LastComeFirst(PolicyLock):
    """Who came last goes first, with the readers that came right before it if it reads. Unfair, and right.

    Source: the passive list of Dice, "Malthusian locks", EuroSys 2017, is served so; here all of the queue.
    """

    def _may_read(self) -> bool:
        return self._writer is None and not self._queue

    def _admit(self, t: Task, after_write: bool) -> None:
        queue = self._queue
        while queue and self._writer is None:
            last: Entry = queue[-1]
            if last.write and self._readers:
                return
            self._grant(t, queue.pop())
