"""Four classic read/write policies, to put the kernel's rw-semaphore in perspective.

Each is the *policy* of the cited lock, with sleeping waiters in place of spinning ones, so that one scenario
compares who is admitted and nothing else. None has deadlines or hand-offs; what bounds waiting is the policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rivals_base import PolicyLock

if TYPE_CHECKING:
    from ..task import Task


class FifoFair(PolicyLock):
    """Strictly first come, first served; neighbours in the queue that read share.

    Nobody starves, and one slow reader in front of a writer delays every reader behind it. Source:
    Mellor-Crummey and Scott, "Scalable reader-writer synchronization for shared-memory multiprocessors",
    PPoPP 1991, the fair lock.
    """

    __slots__ = ()

    def _may_read(self) -> bool:
        return self._writer is None and not self._queue

    def _admit(self, t: Task, after_write: bool) -> None:
        queue = self._queue
        while queue and self._writer is None:
            if queue[0].write and self._readers:
                return
            self._grant(t, queue.popleft())


class ReaderPreferring(PolicyLock):
    """A reader waits for nobody but the writer inside; writers can starve.

    Source: Courtois, Heymans and Parnas, "Concurrent control with 'readers' and 'writers'", CACM 14(10),
    1971, first problem.
    """

    __slots__ = ()

    def _may_read(self) -> bool:
        return self._writer is None

    def _admit(self, t: Task, after_write: bool) -> None:
        if self._writer is None:
            self._grant_readers(t)
            if not self._readers:
                self._grant_writer(t)


class WriterPreferring(PolicyLock):
    """No reader enters while a writer waits; readers can starve.

    Source: Courtois, Heymans and Parnas, as above, second problem.
    """

    __slots__ = ()

    def _may_read(self) -> bool:
        return self._writer is None and not self._writers_wait()

    def _may_write(self) -> bool:
        # Readers may be left in the queue by a writer that was cancelled; they do not hold a writer up.
        return self._writer is None and not self._readers and not self._writers_wait()

    def _admit(self, t: Task, after_write: bool) -> None:
        if self._writer is not None:
            return
        if not self._writers_wait():
            self._grant_readers(t)
        elif not self._readers:
            self._grant_writer(t)


class PhaseFair(PolicyLock):
    """Read and write phases take turns while both sides wait; writers are FIFO among themselves.

    A reader waits for at most one write phase (and the readers before it), a writer for at most one read
    phase per writer in front of it. Source: Brandenburg and Anderson, "Reader-writer synchronization for
    shared-memory multiprocessor real-time systems", ECRTS 2009.
    """

    __slots__ = ()

    def _may_read(self) -> bool:
        return self._writer is None and not self._writers_wait()

    def _admit(self, t: Task, after_write: bool) -> None:
        if self._writer is not None:
            return
        if after_write or not self._writers_wait():
            self._grant_readers(t)
        if not self._readers:
            self._grant_writer(t)
