"""Statistics of rw-semaphores: the counters of the lock class, and one counter per path as the kernel has.

Two views of time are kept apart. The class counters (`stats.Counter`) see a task: `wait_total` runs from the
failed first attempt to the moment the task has the lock, asleep or spinning; `hold_total` from there to the
release. `line_total` is the time spent on moving the reader count's cache line, which is part of neither. So
for every acquisition: request to return = line + wait, and return to release = hold (with the line of the
release in it).

The path counters see the lock: which way an acquisition went. Spinning makes no contention event, as in the
kernel, but it is waiting, so `contentions` here counts it and an event count does not. A wait that a signal
ended is in neither total, only in `rlock_fail` and `wlock_fail`.
"""

from __future__ import annotations

import attrs

from .stats import LockStatistics


@attrs.frozen
class RwSemPaths:
    """How acquisitions went, in the names of `kernel/locking/lock_events_list.h`; fast paths are not counted.

    Attributes:
        sleep_reader, sleep_writer: times a waiter went to sleep.
        wake_reader, wake_writer: times a waker put a waiter on its wake list (a writer may be awake already).
        opt_lock, opt_fail, opt_nospin: writers that got the lock by spinning, gave up, were not allowed to.
        rlock, wlock: acquisitions by waiting in the queue.
        rlock_fast: slow-path readers that found the queue empty and the lock free of writers.
        rlock_steal: readers that ignored the queue because no read phase was live.
        rlock_fail, wlock_fail: waiters that a signal cancelled.
        rlock_handoff, wlock_handoff: times a waiter past its deadline set HANDOFF.
        contended_release: releases that found somebody queued.
        spin_total: virtual ns that writers spent spinning, successful or not; part of their wait.
    """

    sleep_reader: int = 0
    sleep_writer: int = 0
    wake_reader: int = 0
    wake_writer: int = 0
    opt_lock: int = 0
    opt_fail: int = 0
    opt_nospin: int = 0
    rlock: int = 0
    rlock_fast: int = 0
    rlock_steal: int = 0
    rlock_fail: int = 0
    rlock_handoff: int = 0
    wlock: int = 0
    wlock_fail: int = 0
    wlock_handoff: int = 0
    contended_release: int = 0
    spin_total: int = 0

    @property
    def handoffs(self) -> int:
        """Times HANDOFF was set."""
        return self.rlock_handoff + self.wlock_handoff


class PathCounters:
    """The mutable side of `RwSemPaths`, with the same attributes."""

    __slots__ = tuple(field.name for field in attrs.fields(RwSemPaths))

    sleep_reader: int
    sleep_writer: int
    wake_reader: int
    wake_writer: int
    opt_lock: int
    opt_fail: int
    opt_nospin: int
    rlock: int
    rlock_fast: int
    rlock_steal: int
    rlock_fail: int
    rlock_handoff: int
    wlock: int
    wlock_fail: int
    wlock_handoff: int
    contended_release: int
    spin_total: int

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    def snapshot(self) -> RwSemPaths:
        return RwSemPaths(*(getattr(self, name) for name in self.__slots__))


@attrs.frozen
class RwLockStatistics(LockStatistics):
    """Snapshot of one read/write lock.

    Attributes:
        line_total: virtual ns that tasks waited for the cache line of the reader count.
    """

    line_total: int = 0


@attrs.frozen
class RwSemStatistics(RwLockStatistics):
    """Snapshot of one rw-semaphore."""

    paths: RwSemPaths = attrs.field(factory=RwSemPaths)

    @classmethod
    def of(cls, lock: RwLockStatistics, paths: PathCounters) -> RwSemStatistics:
        """What every read/write lock counts, and the paths."""
        return cls(
            lock.name, lock.read, lock.write, lock.holders, lock.waiters, lock.line_total, paths.snapshot()
        )
