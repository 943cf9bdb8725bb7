"""What was said of the huge page series since it was posted: whole holes only, one mutex a huge page.

See guest-memfd.md 4.5 and 4.15.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..actors.errno import EINVAL
from ..engine.locks.mutex import Mutex
from ..engine.locks.stats import LockClass
from .by_file import by_file
from .hugepage import Hugepage

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.huge_cache import HugeCache
    from ..actors.inode import GmemInode
    from ..engine.task import Task


async def get_folio_under_mutex(self: HugepageMutex, t: Task, inode: GmemInode, index: int) -> Folio | int:
    """Under the mutex of the huge index; the kernel hashes them into a table, here each has its own."""
    cache = self.huge_cache(inode)
    assert cache is not None
    key = inode.label, index >> cache.order
    mutex = self._mutexes.get(key)
    if mutex is None:
        mutex = self._mutexes[key] = Mutex(f"{inode.label}.huge[{key[1]}]", self._mutex_class)
    await mutex.lock(t)
    folio = await Hugepage.kvm_gmem_get_folio(self, t, inode, index)
    await mutex.unlock(t)
    return folio


class HugepageMutex(Hugepage):
    """One mutex a huge index around all of get_folio, so that nobody looks up what is about to be split (said in 2026).

    Without it a look-up between insertion and split sees the fresh folio's bit, sleeps for it and is not woken, while
    the splitter spins for its reference; or it comes later and is given a huge folio with shared pages.

    A hole is whole huge pages or -EINVAL, and pages of a split one leave as they are: the worker merges them when the
    last came back, so no hole fails with -EAGAIN for a pin (reply on PUNCH_HOLE).
    """

    name: ClassVar[str] = "hugepage-mutex"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._mutexes: dict[tuple[str, int], Mutex] = {}
        self._mutex_class = LockClass("huge_mutex")

    kvm_gmem_get_folio = by_file(get_folio_under_mutex, Hugepage.kvm_gmem_get_folio)

    async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        """-EINVAL for parts of a huge page."""
        cache = self.huge_cache(inode)
        if cache is not None and (start | end) & ((1 << cache.order) - 1):
            return EINVAL
        return await super().kvm_gmem_punch_hole(t, inode, start, end)

    async def kvm_gmem_punch_range(
        self, t: Task, inode: GmemInode, cache: HugeCache, start: int, end: int
    ) -> int:
        """Whole huge pages are removed as they are, split or not: nothing is merged first."""
        await self.truncate_inode_pages_range(t, inode, start, end)
        return 0
