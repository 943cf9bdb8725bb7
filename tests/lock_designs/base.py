"""What the designs share: events and books, a watched word, a wait queue, a semaphore.

Who waits in a design either sleeps in a queue or watches a word. A watcher is parked until the word changes, as it is
in the kernel's smp_cond_load_*(): nothing happens in the model while it looks. Designs that really go round in a loop
(`spin`) are there too, for the livelock oracle.

Trade-off: memory is sequentially consistent, like all of the model's.
"""

from __future__ import annotations

from collections import deque
from errno import EINTR
from typing import TYPE_CHECKING, TypeVar

from gmemsim.audit.events import Contended, Lock, LockRequest, Unlock
from gmemsim.engine.cell import Cell
from gmemsim.engine.locks.rwsem_base import RwLockBase
from gmemsim.engine.op import Op
from gmemsim.engine.task import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gmemsim.engine.locks.stats import LockClass
    from gmemsim.engine.op import Mode
    from gmemsim.engine.task import Task

__all__ = ["Design", "Exclusive", "Semaphore", "WaitQueue", "Watched"]

T = TypeVar("T")


class Design(RwLockBase):
    """A read/write lock made of four hooks; a hook that acquires says whether it did or was interrupted."""

    def __init__(self, label: str, cls: LockClass | None = None, *, line_ns: int = 0) -> None:
        super().__init__(label, cls, line_ns=line_ns)
        #: Who is asleep in the lock, in the order in which they went to sleep.
        self.asleep: list[Task] = []
        self._setup()

    def _setup(self) -> None:
        """Make the parts of the lock."""

    def _waiting(self) -> Iterable[Task]:
        return self.asleep

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        raise NotImplementedError

    async def _read_unlock(self, t: Task) -> None:
        raise NotImplementedError

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        raise NotImplementedError

    async def _write_unlock(self, t: Task) -> None:
        raise NotImplementedError

    # -- for the hooks -------------------------------------------------------------------------

    def contend(self, t: Task, mode: Mode) -> None:
        """`t` has its place in the queue from this step on."""
        if t.rec is not None:
            t.rec(t, Contended(self.label, mode))

    async def sleep(self, t: Task, op: Op, killable: bool) -> bool:
        """Park once; False if it was a signal that ended it."""
        self.asleep.append(t)
        value = await t.park(self, op, interruptible=killable)
        self.asleep.remove(t)
        return value is not Signal

    # -- the protocol --------------------------------------------------------------------------

    async def down_read(self, t: Task) -> None:
        """Acquire shared."""
        await self.down_read_killable(t, False)

    async def down_write(self, t: Task) -> None:
        """Acquire exclusively."""
        await self.down_write_killable(t, False)

    async def down_read_killable(self, t: Task, killable: bool = True) -> int:
        """Acquire shared unless a signal comes first: 0, or -EINTR without the lock."""
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, "r"))
        if not await self._read_lock(t, killable):
            return -EINTR
        self._hold_read(t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "r"))
        return 0

    async def down_write_killable(self, t: Task, killable: bool = True) -> int:
        """Acquire exclusively unless a signal comes first: 0, or -EINTR without the lock."""
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, "w"))
        if not await self._write_lock(t, killable):
            return -EINTR
        self._hold_write(t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "w"))
        return 0

    async def up_read(self, t: Task) -> None:
        """Release a shared hold."""
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "r"))
        self._drop_read(t)
        await self._read_unlock(t)

    async def up_write(self, t: Task) -> None:
        """Release the exclusive hold."""
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
        self._drop_write(t)
        await self._write_unlock(t)


class Exclusive(Design):
    """A lock without a shared mode: readers exclude each other too."""

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        return await self._write_lock(t, killable)

    async def _read_unlock(self, t: Task) -> None:
        await self._write_unlock(t)


class Watched(Cell[T]):
    """A word that tasks wait on until it has a value that they like."""

    __slots__ = ("_lock", "_wait", "_watchers")

    def __init__(self, lock: Design, name: str, value: T) -> None:
        super().__init__(f"{lock.label}.{name}", value)
        self._lock = lock
        self._wait = Op("wait", self.label, mode="r")
        self._watchers: list[Task] = []

    async def store(self, t: Task, value: T) -> None:
        """As of a cell, and who watches looks."""
        await super().store(t, value)
        self._tell(t)

    async def rmw(self, t: Task, function: Callable[[T], T]) -> T:
        """As of a cell, and who watches looks."""
        new = await super().rmw(t, function)
        self._tell(t)
        return new

    async def swap(self, t: Task, value: T) -> T:
        """An atomic exchange; returns the old value."""
        if t.traps:
            await t.point(self._rmw)
        old, self.value = self.value, value
        self._tell(t)
        return old

    async def cas(self, t: Task, old: T, new: T) -> bool:
        """Compare and swap; whether it did."""
        if t.traps:
            await t.point(self._rmw)
        if self.value != old:
            return False
        self.value = new
        self._tell(t)
        return True

    async def until(self, t: Task, likes: Callable[[T], bool], killable: bool = False) -> bool:
        """Wait for a value; False if a signal came first. Already the first look is one of a waiter."""
        if t.traps:
            await t.point(self._wait)
        while not likes(self.value):
            self._watchers.append(t)
            if not await self._lock.sleep(t, self._wait, killable):
                if t in self._watchers:
                    self._watchers.remove(t)
                return False
        return True

    def _tell(self, t: Task) -> None:
        watchers, self._watchers = self._watchers, []
        for task in watchers:
            t.engine.wake(task)


class WaitQueue:
    """Sleepers in order; who is woken is told nothing but that."""

    def __init__(self, lock: Design, name: str) -> None:
        self._lock = lock
        self._wait = Op("wait", f"{lock.label}.{name}")
        self._wake = Op("wake", f"{lock.label}.{name}")
        self.tasks: deque[Task] = deque()

    async def sleep(self, t: Task, killable: bool = False) -> bool:
        """Sleep from this step on; False if it was a signal that ended it, and nobody has woken the task as well."""
        self.tasks.append(t)
        await self._lock.sleep(t, self._wait, killable)
        if t not in self.tasks:
            return True
        self.tasks.remove(t)
        return False

    async def wake(self, t: Task, count: int) -> int:
        """Wake up to `count`; how many there were."""
        if t.traps:
            await t.point(self._wake)
        woken = min(count, len(self.tasks))
        for _ in range(woken):
            t.engine.wake(self.tasks.popleft())
        return woken


class Semaphore:
    """`struct semaphore`: a count, and sleepers to whom an `up` is handed (kernel/locking/semaphore.c)."""

    def __init__(self, lock: Design, name: str, count: int = 1) -> None:
        self._lock = lock
        label = f"{lock.label}.{name}"
        self._down = Op("acquire", label)
        self._up = Op("release", label)
        self._wait = Op("wait", label)
        self.count = count
        self._queue: deque[Task] = deque()

    async def down(self, t: Task, killable: bool = False, mode: Mode | None = None) -> bool:
        """`down_killable`; False if it was interrupted. `mode`: to queue here is to queue for the whole lock."""
        if t.traps:
            await t.point(self._down)
        if self.count > 0:
            self.count -= 1
            return True
        if mode is not None:
            self._lock.contend(t, mode)
        self._queue.append(t)
        while t in self._queue:  # whoever takes it out hands it the count
            if not await self._lock.sleep(t, self._wait, killable) and t in self._queue:
                self._queue.remove(t)
                return False
        return True

    async def up(self, t: Task) -> None:
        """Hand the count to the first sleeper, or keep it."""
        if not await self.hand(t):
            self.count += 1

    async def hand(self, t: Task) -> bool:
        """Hand the count to the first sleeper if there is one."""
        if t.traps:
            await t.point(self._up)
        if not self._queue:
            return False
        t.engine.wake(self._queue.popleft())
        return True
