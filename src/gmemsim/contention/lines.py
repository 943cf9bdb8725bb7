"""The shared cache lines that every fault moves in every version, which the common code does not charge.

A fault takes and drops a reference of the file (`f_count`) and takes mmu_lock shared: two atomic operations on each of
two lines that all vCPUs share. The model's common code charges neither, so a lock of which it does charge the
line looks worse beside it than it is. A run with these lines charged shows how much of a conclusion hangs
on that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.locks.spinlock import QueuedRwLock

if TYPE_CHECKING:
    from ..actors.inode import GmemFile
    from ..actors.kernel import Kernel
    from ..actors.vm import Vm
    from ..engine.task import Task


class Line:
    """A cache line as a server with one queue, as in `rwsem_base`."""

    __slots__ = ("free_at", "ns")

    def __init__(self, ns: int) -> None:
        self.ns = ns
        self.free_at = 0

    async def move(self, t: Task) -> None:
        """Own the line once everybody before us has had it."""
        now = t.engine.now
        self.free_at = end = max(self.free_at, now) + self.ns
        await t.spend(end - now)


class LinedRwLock(QueuedRwLock):
    """A queued rwlock whose readers pay for its line."""

    __slots__ = ("line",)

    def __init__(self, other: QueuedRwLock, line: Line) -> None:
        super().__init__(other.label, other.cls)
        self.line = line

    async def read_lock(self, t: Task) -> None:
        await self.line.move(t)
        await super().read_lock(t)

    async def read_unlock(self, t: Task) -> None:
        await self.line.move(t)
        await super().read_unlock(t)


def with_file_line(patch: type[Kernel], ns: int) -> type[Kernel]:
    """A subclass of a patch that charges the line of the file's reference count."""
    line = Line(ns)

    class Lined(patch):  # type: ignore[misc, valid-type] # a class that is known at run time
        async def get_file_active(self, t: Task, file: GmemFile | None) -> GmemFile | None:
            await line.move(t)
            found: GmemFile | None = await super().get_file_active(t, file)
            return found

        async def fput_later(self, t: Task, file: GmemFile) -> None:
            await line.move(t)
            await super().fput_later(t, file)

    Lined.name = patch.name
    return Lined


def charge_lines(vm: Vm, ns: int) -> None:
    """Give a VM that nothing ran on yet an mmu_lock whose line is charged."""
    vm.mmu_lock = LinedRwLock(vm.mmu_lock, Line(ns))
