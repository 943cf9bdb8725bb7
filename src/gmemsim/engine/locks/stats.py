"""Lock statistics: one accumulator per lock class and mode, and the frozen snapshot that users read.

Locks of one class (every folio lock of an inode) share an accumulator, so that a page costs no counters of its
own. Times are virtual nanoseconds and stay 0 in an exploring run.
"""

from __future__ import annotations

from typing import Protocol

import attrs


@attrs.frozen
class ModeStatistics:
    """What happened to one mode (`r` shared, `w` exclusive) of a lock class. Times in virtual ns."""

    acquisitions: int
    contentions: int
    wait_total: int
    wait_max: int
    hold_total: int
    hold_max: int


@attrs.frozen
class LockStatistics:
    """Snapshot of a lock or lock class.

    `holders` and `waiters` name tasks, in order of acquisition and of the queue; both are empty for a class.
    """

    name: str
    read: ModeStatistics
    write: ModeStatistics
    holders: tuple[str, ...] = ()
    waiters: tuple[str, ...] = ()


class LockBook(Protocol):
    """Who wants to know each single wait and hold, in virtual ns; called in the step of the task that it is about."""

    def waited(self, ns: int) -> None: ...

    def held(self, ns: int) -> None: ...


class Counter:
    """Mutable counters of one mode. `acquisitions` counts completed acquisitions, `contentions` those that
    had to wait (a failed trylock is neither). `book` is told of each wait and hold."""

    __slots__ = ("acquisitions", "book", "contentions", "hold_max", "hold_total", "wait_max", "wait_total")

    def __init__(self) -> None:
        self.acquisitions = 0
        self.contentions = 0
        self.wait_total = 0
        self.wait_max = 0
        self.hold_total = 0
        self.hold_max = 0
        self.book: LockBook | None = None

    def waited(self, ns: int) -> None:
        self.contentions += 1
        self.wait_total += ns
        if ns > self.wait_max:
            self.wait_max = ns
        if self.book is not None:
            self.book.waited(ns)

    def held(self, ns: int) -> None:
        self.hold_total += ns
        if ns > self.hold_max:
            self.hold_max = ns
        if self.book is not None:
            self.book.held(ns)

    def snapshot(self) -> ModeStatistics:
        return ModeStatistics(
            self.acquisitions,
            self.contentions,
            self.wait_total,
            self.wait_max,
            self.hold_total,
            self.hold_max,
        )


class LockClass:
    """Locks that lockdep would put in one class: same name, same place in the lock order."""

    __slots__ = ("name", "read", "write")

    def __init__(self, name: str) -> None:
        self.name = name
        self.read = Counter()
        self.write = Counter()

    def statistics(self) -> LockStatistics:
        """Frozen counters of the whole class."""
        return LockStatistics(self.name, self.read.snapshot(), self.write.snapshot())
