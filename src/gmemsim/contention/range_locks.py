"""Locks of a range of the file in the place of the invalidate lock: nobody's proposal, to see what would be gained.

`range`: a tree of ranges under a spinlock, as range locks for mmap_lock were proposed to be: two operations conflict
if their ranges overlap and one is exclusive. Each acquire and release takes the spinlock, so its cache line moves as
often as the rw-semaphore's count does. `per-folio`: a lock in each folio. A fault takes the one of its folio, which
moves no shared line; whoever wants a range takes all locks of it, one after another.

A lock does not know what range its caller is about. `with_ranges` makes a version tell it, at the entry of the calls
that take it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..audit.events import Contended, Lock, LockRequest, Unlock
from ..engine.cpus import Line
from ..engine.locks.policies import LOCK_POLICIES
from ..engine.locks.rival_none import NoLock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..actors.inode import GmemFile, GmemInode
    from ..actors.kernel import Kernel
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..engine.locks.stats import LockClass
    from ..engine.task import Task

#: The whole file, for a caller that said nothing.
_ALL: Final = (0, 1 << 62)


class _Want:
    """A waiter or holder."""

    __slots__ = ("granted", "high", "low", "task", "write")

    def __init__(self, task: Task, low: int, high: int, write: bool) -> None:
        self.task = task
        self.low = low
        self.high = high
        self.write = write
        self.granted = False

    def against(self, other: _Want) -> bool:
        return (self.write or other.write) and self.low < other.high and other.low < self.high


class RangeLock(NoLock):
    """First come, first served among ranges that overlap.

    Attributes:
        said: what range a task is about, by task.
    """

    __slots__ = ("_held", "_queue", "_tree", "said")

    excludes: ClassVar[bool] = True

    def __init__(self, label: str, cls: LockClass | None = None, *, line_ns: int = 0) -> None:
        super().__init__(label, cls)
        self.line_ns = line_ns
        self.said: dict[Task, tuple[int, int]] = {}
        self._tree = Line()
        self._held: dict[Task, _Want] = {}
        self._queue: deque[_Want] = deque()

    def _waiting(self) -> Iterable[Task]:
        return [want.task for want in self._queue]

    async def pay(self, t: Task, pages: int) -> None:
        """The tree's spinlock, and a look-up under it."""
        cpus = t.engine.cpus
        if cpus is not None:
            await t.spend(cpus.reach(t, self._tree, self.cls.name, cpus.costs.rwsem))
        elif self.line_ns:
            await self._move_line(t)

    async def _down(self, t: Task, write: bool) -> None:
        mode = "w" if write else "r"
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, mode))
        low, high = self.said.get(t, _ALL)
        await self.pay(t, high - low if write else 1)
        want = _Want(t, low, high, write)
        if any(want.against(other) for other in (*self._held.values(), *self._queue)):
            self._queue.append(want)
            if t.rec is not None:
                t.rec(t, Contended(self.label, mode))
            began = t.engine.now
            await t.park(self, self._wait_w if write else self._wait_r)
            (self._write if write else self._read).waited(t.engine.now - began)
        self._held[t] = want
        if write:
            await super().down_write(t)
        else:
            self._hold_read(t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, mode))

    async def _up(self, t: Task, write: bool) -> None:
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w" if write else "r"))
        want = self._held[t]
        await self.pay(t, want.high - want.low if write else 1)
        if write:
            await super().up_write(t)
        else:
            self._drop_read(t)
        del self._held[t]
        passed: deque[_Want] = deque()
        for waiter in self._queue:
            if any(waiter.against(other) for other in (*self._held.values(), *passed)):
                passed.append(waiter)
            else:
                # It holds from now on; whoever is behind it in the queue sees that.
                self._held[waiter.task] = waiter
                t.engine.wake(waiter.task, delay=t.engine.wake_ns)
        self._queue = passed

    async def down_read(self, t: Task) -> None:
        """Acquire shared."""
        await self._down(t, False)

    async def down_read_killable(self, t: Task) -> int:
        """Acquire shared; always 0."""
        await self._down(t, False)
        return 0

    async def up_read(self, t: Task) -> None:
        """Release the shared hold of `t`."""
        await self._up(t, False)

    async def down_write(self, t: Task) -> None:
        """Acquire exclusively."""
        await self._down(t, True)

    async def down_write_killable(self, t: Task) -> int:
        """Acquire exclusively; always 0."""
        await self._down(t, True)
        return 0

    async def up_write(self, t: Task) -> None:
        """Release the exclusive hold of `t`."""
        await self._up(t, True)


class PerFolioLock(RangeLock):
    """A lock in each folio: an uncontended one for every page of the range, and no line that all share."""

    __slots__ = ()

    async def pay(self, t: Task, pages: int) -> None:
        """As many locks as there are pages; each costs half for its acquire and half for its release."""
        cpus = t.engine.cpus
        if cpus is not None:
            await t.spend(cpus.costs.rwsem * min(pages, 1 << 20) // 2)


#: By the name that a user gives them.
RANGE_POLICIES: Final[dict[str, type[RangeLock]]] = {"range": RangeLock, "per-folio": PerFolioLock}
#: All that can stand in the place of the invalidate lock in a storm.
POLICIES: Final[dict[str, Any]] = {**LOCK_POLICIES, **RANGE_POLICIES}


def with_ranges(patch: type[Kernel]) -> type[Kernel]:
    """A subclass of a version that tells a range lock what its calls are about."""

    class Ranged(patch):  # type: ignore[misc, valid-type] # a class that is known at run time
        async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
            _say(t, inode, start, end)
            ret: int = await super().kvm_gmem_punch_hole(t, inode, start, end)
            return ret

        if hasattr(patch, "kvm_gmem_set_attributes"):

            async def kvm_gmem_set_attributes(
                self, t: Task, file: GmemFile, offset: int, size: int, private: bool, flags: int = 0
            ) -> Any:
                _say(t, file.inode, offset // 4096, (offset + size) // 4096)
                return await super().kvm_gmem_set_attributes(t, file, offset, size, private, flags)

        if hasattr(patch, "kvm_gmem_get_file_pfn"):

            async def kvm_gmem_get_file_pfn(
                self, t: Task, vm: Vm, slot: Memslot, gfn: int, index: int
            ) -> Any:
                if slot.gmem_file is not None:
                    _say(t, slot.gmem_file.inode, index, index + 1)
                return await super().kvm_gmem_get_file_pfn(t, vm, slot, gfn, index)

    Ranged.name = patch.name
    return Ranged


def _say(t: Task, inode: GmemInode, start: int, end: int) -> None:
    lock: Any = inode.invalidate_lock
    if isinstance(lock, RangeLock):
        lock.said[t] = (start, end)
