"""Every wait and hold of a run by lock class, mode and calling function; bounces, queues, convoys, overtaken writers.

Waits and holds come from the locks' own counters, so that they are the waits that the counters sum up (a writer that
spins is among them). Queues, convoys and bounces come from the events `lock_request`, `contended` and `lock`: who
queues there is who `perf lock contention` sees, and not a writer that only spins.

Bounces are those of `/proc/lock_stat` (kernel/locking/lockdep.c, `__lock_contended`, `__lock_acquired`): the CPU that
waits for, or acquires, a lock instance is not the one that acquired it last. Every task is on a CPU of its own.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..audit.events import Contended, Lock, LockRequest
from ..engine.locks.kinds import stated

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from ..engine.locks.stats import LockClass
    from ..engine.task import Task

#: What the books want to know of.
LOCK_EVENTS: Final = frozenset({Contended, Lock, LockRequest})
_STORM: Final = "gmemsim.contention.machine"
_NOT_KERNEL: Final = ("gmemsim.engine", "gmemsim.contention", "gmemsim.audit")
#: One-line wrappers of a lock call, and what hands events on: their caller is meant.
_WRAPPERS: Final = frozenset({"record", "folio_lock", "folio_unlock", "filemap_invalidate_lock_shared"})


@attrs.frozen
class Site:
    """One function at one lock: its waits in there, and the holds that it ended; times in virtual ns."""

    lock: str
    mode: str
    caller: str
    waits: int
    wait_total: int
    wait_max: int
    holds: int
    hold_total: int
    hold_max: int


class ModeBook:
    """The waits and holds of one mode of a lock class.

    Attributes:
        waits, holds: virtual ns each.
        sites: by function: waits, their sum and maximum; holds, their sum and maximum.
    """

    __slots__ = ("holds", "sites", "waits")

    def __init__(self) -> None:
        self.waits = array("q")
        self.holds = array("q")
        self.sites: dict[str, list[int]] = {}

    def _site(self) -> list[int]:
        name = caller(sys._getframe(2))
        found = self.sites.get(name)
        if found is None:
            found = self.sites[name] = [0] * 6
        return found

    def waited(self, ns: int) -> None:
        self.waits.append(ns)
        site = self._site()
        site[0] += 1
        site[1] += ns
        site[2] = max(site[2], ns)

    def held(self, ns: int) -> None:
        self.holds.append(ns)
        site = self._site()
        site[3] += 1
        site[4] += ns
        site[5] = max(site[5], ns)


@attrs.frozen
class Queueing:
    """Of one mode of a lock class.

    Attributes:
        queued: waits that began in the queue; the others were a spinning writer's.
        own: of these, those in which the waiting CPU was the last that acquired the lock: no bounce.
        acq_bounces: acquisitions by another CPU than the last one's.
        overtaken: most acquisitions in the other mode while one of this mode waited.
    """

    queued: int = 0
    own: int = 0
    acq_bounces: int = 0
    overtaken: int = 0


@attrs.frozen
class Convoy:
    """Of one lock class, over all its locks: most waiters at once, and the longest time a queue was never empty.

    Attributes:
        queue_max: waiters at once.
        length: waiters that were served in the longest convoy (most served).
        ns: for how long that one lasted.
    """

    queue_max: int = 0
    length: int = 0
    ns: int = 0


class LockBooks:
    """Books of all locks of a run. `open` gives a class its books; `event` takes the events of the run."""

    def __init__(self) -> None:
        self.modes: dict[tuple[str, str], ModeBook] = {}
        self._counts: dict[tuple[str, str], list[int]] = {}
        #: By lock: the task that acquired it last; those that wait; when their queue began and how many it served.
        self._last: dict[str, int] = {}
        self._waiting: dict[str, set[int]] = {}
        self._convoys: dict[str, tuple[int, int]] = {}
        #: By lock: acquisitions by mode, and what they were when a task began to wait for the other mode.
        self._taken: dict[str, dict[str, int]] = {}
        self._began: dict[tuple[str, int], tuple[str, int]] = {}
        self._longest: dict[str, list[int]] = {}
        self._end = 0

    def open(self, classes: Iterable[LockClass]) -> None:
        """From now on, note the waits and holds of these."""
        for cls in classes:
            for mode, counter in (("r", cls.read), ("w", cls.write)):
                counter.book = self.modes.setdefault((cls.name, mode), ModeBook())

    def _count(self, lock: str, mode: str) -> list[int]:
        return self._counts.setdefault((class_of(lock), mode), [0, 0, 0, 0])

    def event(self, t: Task, event: Any) -> None:
        """Take note of a lock event."""
        kind = event.__class__
        if kind is Lock:
            self._acquired(t, event.lock, event.mode)
        elif kind is Contended:
            self._contended(t, event.lock, event.mode)
        elif kind is LockRequest:
            self._began_wait(t, event.lock, event.mode)

    def _began_wait(self, t: Task, lock: str, mode: str) -> None:
        other = "w" if mode == "r" else "r"
        self._began.setdefault((lock, t.ident), (other, self._taken.get(lock, {}).get(other, 0)))

    def _contended(self, t: Task, lock: str, mode: str) -> None:
        self._began_wait(t, lock, mode)
        counts = self._count(lock, mode)
        counts[0] += 1
        counts[1] += self._last.get(lock) == t.ident
        queue = self._waiting.setdefault(lock, set())
        if not queue:
            self._convoys[lock] = (t.engine.now, 0)
        queue.add(t.ident)
        longest = self._longest.setdefault(class_of(lock), [0, 0, 0])
        longest[0] = max(longest[0], len(queue))

    def _acquired(self, t: Task, lock: str, mode: str) -> None:
        self._end = t.engine.now
        counts = self._count(lock, mode)
        counts[2] += self._last.get(lock) != t.ident
        self._last[lock] = t.ident
        taken = self._taken.setdefault(lock, {})
        taken[mode] = taken.get(mode, 0) + 1
        began = self._began.pop((lock, t.ident), None)
        if began is not None:
            other, before = began
            counts[3] = max(counts[3], taken.get(other, 0) - before)
        queue = self._waiting.get(lock)
        if queue and t.ident in queue:
            queue.remove(t.ident)
            since, served = self._convoys[lock]
            self._convoys[lock] = (since, served + 1)
            if not queue:
                self._convoy_ends(lock)

    def _convoy_ends(self, lock: str) -> None:
        since, served = self._convoys.pop(lock)
        longest = self._longest[class_of(lock)]
        if served > longest[1]:
            longest[1:] = (served, self._end - since)

    def queueing(self, name: str, mode: str) -> Queueing:
        """Figures so far of one mode of a class."""
        return Queueing(*self._counts.get((name, mode), (0, 0, 0, 0)))

    def convoy(self, name: str) -> Convoy:
        """Figures so far of a class."""
        for lock in [lock for lock in self._convoys if class_of(lock) == name]:
            self._convoy_ends(lock)
        return Convoy(*self._longest.get(name, (0, 0, 0)))

    def sites(self) -> tuple[Site, ...]:
        """All of them, longest total wait first, then by hold."""
        found = [
            Site(lock, mode, name, *numbers)
            for (lock, mode), book in self.modes.items()
            for name, numbers in book.sites.items()
        ]
        return tuple(sorted(found, key=lambda s: (-s.wait_total, -s.hold_total, s.lock, s.mode, s.caller)))


def class_of(lock: str) -> str:
    """The name of the class that a lock's waits and holds are counted in; without one of its own, the lock's."""
    name = stated(lock) or lock
    return "folio_lock" if name == "folio" else name


def caller(frame: FrameType | None) -> str:
    """The kernel function that waits or releases: the nearest frame of the modelled kernel or of the patch.

    Where there is none, as around the launch ioctl and in the guest, it is what the storm does.
    """
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module == _STORM and frame.f_code.co_name not in _WRAPPERS:
            return f"{frame.f_code.co_name} (storm)"
        if not module.startswith(_NOT_KERNEL) and frame.f_code.co_name not in _WRAPPERS:
            return frame.f_code.co_name
        frame = frame.f_back
    return "?"
