"""The model's own locks without a shared mode, and its queued rwlock, behind the protocol of the rw-semaphore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from gmemsim.engine.locks.folio_lock import FolioLock, FolioLockClass
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.rwsem_age import AGES
from gmemsim.engine.locks.rwsem_fine import FineRwSem
from gmemsim.engine.locks.spinlock import QueuedRwLock

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

__all__ = ["FolioBit", "KernelMutex", "QueuedRw", "SleepingRwSem", "aged"]


class KernelMutex(Mutex):
    """`struct mutex`; readers take it too. Waiting is not killable here."""

    excludes = True

    async def down_write(self, t: Task) -> None:
        """`mutex_lock`."""
        await self.lock(t)

    async def down_write_killable(self, t: Task) -> int:
        """As `down_write`; always 0."""
        await self.lock(t)
        return 0

    async def up_write(self, t: Task) -> None:
        """`mutex_unlock`."""
        await self.unlock(t)

    down_read, down_read_killable, up_read = down_write, down_write_killable, up_write


class FolioBit(FolioLock):
    """The folio lock: a bit and a queue that its class keeps. Waiting is not killable here."""

    excludes = True

    def __init__(self, label: str, cls: Any = None) -> None:
        super().__init__(label, 0, FolioLockClass(label))

    @property
    def label(self) -> str:
        """The name that it was given."""
        return self.obj

    async def down_write(self, t: Task) -> None:
        """`folio_lock`."""
        await self.lock(t)

    async def down_write_killable(self, t: Task) -> int:
        """As `down_write`; always 0."""
        await self.lock(t)
        return 0

    async def up_write(self, t: Task) -> None:
        """`folio_unlock`."""
        await self.unlock(t)

    down_read, down_read_killable, up_read = down_write, down_write_killable, up_write


class QueuedRw(QueuedRwLock):
    """The queued rwlock in one step an operation (`mmu_lock`). Waiting is not killable, as in the kernel."""

    excludes = True

    async def down_read(self, t: Task) -> None:
        """`read_lock`."""
        await self.read_lock(t)

    async def down_read_killable(self, t: Task) -> int:
        """As `down_read`; always 0."""
        await self.read_lock(t)
        return 0

    async def up_read(self, t: Task) -> None:
        """`read_unlock`."""
        await self.read_unlock(t)

    async def down_write(self, t: Task) -> None:
        """`write_lock`."""
        await self.write_lock(t)

    async def down_write_killable(self, t: Task) -> int:
        """As `down_write`; always 0."""
        await self.write_lock(t)
        return 0

    async def up_write(self, t: Task) -> None:
        """`write_unlock`."""
        await self.write_unlock(t)


class SleepingRwSem(RwSem):
    """The rw-semaphore without optimistic spinning (CONFIG_RWSEM_SPIN_ON_OWNER off)."""

    def __init__(self, label: str, cls: Any = None, **more: Any) -> None:
        super().__init__(label, cls, spinning=False, **more)


def aged(release: str) -> type[FineRwSem]:
    """The rw-semaphore step by step, with the rules of a release (`engine.locks.rwsem_age`)."""

    class Aged(FineRwSem):
        def __init__(self, label: str, cls: Any = None, **more: Any) -> None:
            super().__init__(label, cls, age=attrs.evolve(AGES[release]), **more)

    Aged.__name__ = Aged.__qualname__ = f"FineRwSem_{release}"
    return Aged
