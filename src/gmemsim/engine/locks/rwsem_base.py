"""What all read/write locks share: who holds them since when, the counters, and the reader's cache line.

A base class and not a helper object, because the uncontended path of `RwSem` runs at every modelled page
fault: attributes of `self` cost one look-up, those of a helper two.

The cache line. Readers of one count never wait for each other's critical sections, yet each acquire and
release must own the cache line of the count, one CPU after another. That is the scaling limit of read-mostly
rw-semaphores and the reason for per-CPU ones. It is charged here as a server with one queue: the line is free
when it has served everybody who asked, and a reader spends until it has been served. With `Engine.cpus` a CPU
which touched the line last has it at hand, the uncontended operation costs something too, writers move the line
as readers do, and a spinner that watches it takes it away from the owner. Without, readers alone pay, always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..cpus import Line
from ..errors import ModelError
from ..op import Op
from .kinds import declare
from .rwsem_stats import RwLockStatistics
from .stats import LockClass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task


class RwLockBase:
    """Holders, statistics and ops of a read/write lock; subclasses decide who is admitted.

    Attributes:
        line_ns: cost of moving the reader count's cache line, in virtual ns.
        line_state: who has the line, and when it is free for the next one.
        line_total: virtual ns spent on the line so far.
    """

    __slots__ = (
        "_acquire_r",
        "_acquire_w",
        "_again",
        "_read",
        "_readers",
        "_release_r",
        "_release_w",
        "_since",
        "_try_r",
        "_try_w",
        "_wait_r",
        "_wait_w",
        "_write",
        "_writer",
        "cls",
        "label",
        "line_ns",
        "line_state",
        "line_total",
    )

    excludes: ClassVar[bool] = True
    #: Its type in `perf lock contention` (tools/perf/builtin-lock.c, by the flags of `contention_begin`).
    perf: ClassVar[str] = "rwsem"

    def __init__(self, label: str, cls: LockClass | None = None, *, line_ns: int = 0) -> None:
        self.label = label
        self.cls = cls or LockClass(label)
        declare(label, cls.name if cls else "", sleeping=True, perf=self.perf, lock=self)
        self._read = self.cls.read
        self._write = self.cls.write
        self.line_ns = line_ns
        self.line_state = Line()
        self.line_total = 0
        #: Task and time of its first shared hold; further ones of the same task are in `_again`.
        self._readers: dict[Task, int] = {}
        self._again: list[tuple[Task, int]] = []
        self._writer: Task | None = None
        self._since = 0
        self._acquire_r = Op("acquire", label, mode="r")
        self._acquire_w = Op("acquire", label)
        self._release_r = Op("release", label, mode="r")
        self._release_w = Op("release", label)
        self._try_r = Op("try", label, mode="r")
        self._try_w = Op("try", label)
        self._wait_r = Op("wait", label, mode="r")
        self._wait_w = Op("wait", label)

    # -- looking -------------------------------------------------------------------------------

    def holders(self) -> Iterable[str]:
        """Names of the tasks that hold the lock, in order of acquisition."""
        if self._writer is not None:
            return (self._writer.name,)
        return tuple(task.name for task in self._readers)

    def is_locked(self) -> bool:
        """`rwsem_is_locked`: held in either mode, or somebody is queued."""
        return self._writer is not None or bool(self._readers) or any(True for _ in self._waiting())

    def write_held(self, t: Task) -> bool:
        """Whether `t` holds the lock exclusively."""
        return self._writer is t

    def read_held(self, t: Task) -> bool:
        """Whether `t` holds the lock shared."""
        return t in self._readers

    def statistics(self) -> RwLockStatistics:
        """Frozen counters, holders and queue."""
        return RwLockStatistics(
            self.label,
            self._read.snapshot(),
            self._write.snapshot(),
            tuple(self.holders()),
            tuple(task.name for task in self._waiting()),
            self.line_total,
        )

    def _waiting(self) -> Iterable[Task]:
        """Tasks that want the lock and do not have it, in the order of the queue."""
        return ()

    # -- books ---------------------------------------------------------------------------------

    def _hold_read(self, t: Task) -> None:
        if t in self._readers:
            self._again.append((t, t.engine.now))
        else:
            self._readers[t] = t.engine.now
        self._read.acquisitions += 1

    def _restart_hold(self, t: Task) -> None:
        """`t`, whose hold a waker entered, runs now: until here it waited, from here on it holds."""
        for position in range(len(self._again) - 1, -1, -1):
            if self._again[position][0] is t:
                self._again[position] = (t, t.engine.now)
                return
        self._readers[t] = t.engine.now

    def _drop_read(self, t: Task) -> None:
        since = None
        for position in range(len(self._again) - 1, -1, -1):
            if self._again[position][0] is t:
                since = self._again.pop(position)[1]
                break
        else:
            since = self._readers.pop(t, None)
        if since is None:
            raise ModelError(f"{t.name} read-unlocks {self.label} without holding it")
        self._read.held(t.engine.now - since)

    def _hold_write(self, t: Task) -> None:
        self._writer = t
        self._since = t.engine.now
        self._write.acquisitions += 1

    def _drop_write(self, t: Task) -> None:
        if self._writer is not t:
            raise self._not_writer(t)
        self._writer = None
        self._write.held(t.engine.now - self._since)

    def _not_writer(self, t: Task) -> ModelError:
        holders = ", ".join(self.holders()) or "nobody"
        return ModelError(f"{t.name} write-unlocks {self.label}, held by {holders}")

    # -- cost ----------------------------------------------------------------------------------

    async def _move_line(self, t: Task) -> None:
        """Own the cache line of the reader count once everybody before us has had it (timed runs)."""
        now = t.engine.now
        line = self.line_state
        cpus = t.engine.cpus
        if cpus is not None:
            costs = cpus.costs
            # Half of the pair: an acquire or a release.
            await t.spend(cpus.reach(t, line, self.cls.name, costs.rwsem // 2))
            return
        start = line.free_at
        if start < now:
            start = now
        line.free_at = end = start + self.line_ns
        self.line_total += end - now
        await t.spend(end - now)
