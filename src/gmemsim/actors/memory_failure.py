"""Hardware memory errors: mm's memory_failure and guest_memfd's error_folio hook (guest-memfd.md 4.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..arch.huge_contents import HUGE_AREA
from ..audit.kvm_events import MemoryFailure, MemoryFailureRet
from ..engine.locks.mutex import Mutex
from ..engine.op import Op
from .errno import EBUSY, EHWPOISON, EIO

if TYPE_CHECKING:
    from ..engine.task import Task
    from .folio import Folio
    from .inode import GmemInode
    from .kernel import Kernel


def mf_mutex(self: Kernel) -> Mutex:
    """One system-wide mutex serialises all memory failures."""
    if self._mf_mutex is None:
        self._mf_mutex = Mutex("mf_mutex")
    return self._mf_mutex


async def memory_failure(self: Kernel, t: Task, inode: GmemInode, index: int) -> int:
    """Poison the page at `index`: 0, -EHWPOISON if it is poisoned already, -EBUSY (see `action_result`).

    A poisoned page keeps one extra reference, so that its frame never goes back to the allocator. The error is of the
    frame: if that was freed before its bit is set, it is taken from the allocator, which is a success, or is the page
    of whoever has it by now.
    """
    folio = inode.folios.get(index)
    if folio is None:
        return 0
    mutex = self.mf_mutex()
    await mutex.lock(t)
    if t.rec is not None:
        t.rec(t, MemoryFailure(index, folio.pfn))
    if t.traps:
        await t.point(Op("rmw", folio.poison_label, index, index + 1))
    folio = self._page_folio(inode, index, folio)
    if folio.ref == 0 and folio.pfn < HUGE_AREA:
        if self.memory.take_off(folio.pfn):
            await mutex.unlock(t)
            if t.rec is not None:
                t.rec(t, MemoryFailureRet(0))
            return 0
        inode, index, folio = self._frame_owner(inode, index, folio)
    if folio.poisoned:
        ret = EHWPOISON
    else:
        folio.poisoned = True
        ret = await self._handle(t, inode, index, folio)
    await mutex.unlock(t)
    if t.rec is not None:
        t.rec(t, MemoryFailureRet(ret))
    return ret


def _page_folio(inode: GmemInode, index: int, folio: Folio) -> Folio:
    """`page_folio`: the folio that the frame of `index` in `folio` belongs to after splits and merges."""
    now: Folio | None = inode.folios.get(index)
    if now is not None and now.pfn - now.index == folio.pfn - folio.index:
        return now
    # The frame left the file since: a merged folio may still have references.
    while folio.merged is not None:
        folio = folio.merged
    return folio


def _frame_owner(self: Kernel, inode: GmemInode, index: int, folio: Folio) -> tuple[GmemInode, int, Folio]:
    """The page that the frame of a freed folio is by now; itself, if it is none of a guest_memfd (or not yet)."""
    for other in self.world.inodes.values():
        for now in other.folios.values():
            if now.pfn == folio.pfn:
                return other, now.index, now
    return inode, index, folio


async def _handle(self: Kernel, t: Task, inode: GmemInode, index: int, folio: Folio) -> int:
    await self.shake_folio(t, folio)
    if t.traps:
        await t.point(Op("rmw", inode.ref_label, folio.index, folio.index + 1))
    folio = self._page_folio(inode, index, folio)
    # The mark is the page's and stays with it.
    folio.poisoned = True
    if folio.ref == 0:
        return EBUSY
    folio.ref += 1
    await folio.lock.lock(t)
    if folio.mapping is not inode:
        # Removed meanwhile: the frame is poisoned, the file is not concerned. The reference stays.
        await self.folio_unlock(t, folio)
        return EBUSY
    if folio.mapcount:
        await self.unmap_poisoned_folio(t, inode, folio)
    await self.kvm_gmem_error_folio(t, inode, folio)
    await self.folio_unlock(t, folio)
    return self.action_result()


async def soft_offline_page(self: Kernel, t: Task, inode: GmemInode, index: int) -> int:
    """`soft_offline_page`: take a page out of use that is expected to fail: 0, -EIO or -EBUSY.

    After corrected errors, by root or by firmware; the page is good. A clean page that nobody has a reference of is
    evicted from its file, and nobody who maps it is told. Any other would be migrated, which guest_memfd refuses:
    -EBUSY, and what that attempt unmaps for a while is left out, as is a page that is on its way out of the file. As in
    `memory_failure`, a frame that was freed meanwhile is taken from the allocator, or is the page of whoever has it.
    """
    folio = inode.folios.get(index)
    if folio is None:
        return 0
    mutex = self.mf_mutex()
    await mutex.lock(t)
    ret = await self._soft_offline(t, inode, index, folio)
    await mutex.unlock(t)
    return ret


async def _soft_offline(self: Kernel, t: Task, inode: GmemInode, index: int, folio: Folio) -> int:
    if t.traps:
        await t.point(Op("rmw", folio.poison_label, index, index + 1))
    folio = self._page_folio(inode, index, folio)
    if folio.poisoned:
        return 0
    await self.shake_folio(t, folio)
    if t.traps:
        await t.point(Op("rmw", inode.ref_label, folio.index, folio.index + 1))
    folio = self._page_folio(inode, index, folio)
    if folio.ref == 0 and folio.pfn < HUGE_AREA:
        if self.memory.take_off(folio.pfn):
            return 0
        # get_any_page counts it as used: by now it is the page of somebody else.
        inode, index, folio = self._frame_owner(inode, index, folio)
        await self.shake_folio(t, folio)
        if t.traps:
            await t.point(Op("rmw", inode.ref_label, folio.index, folio.index + 1))
    if folio.ref == 0:
        return EIO
    if folio.poisoned:
        return 0
    if folio.order:
        # Huge pages of HUGETLB are migrated only.
        return EBUSY
    folio.ref += 1
    await folio.lock.lock(t)
    evicted = folio.mapping is inode and await self.mapping_evict_folio(t, inode, folio)
    if evicted:
        # page_handle_poison: the reference stays, so that nobody gets the frame.
        folio.poisoned = True
    await self.folio_unlock(t, folio)
    if evicted:
        return 0
    await self.folio_put(t, inode, folio)
    return EBUSY


def action_result(self: Kernel) -> int:
    """`action_result` of MF_DELAYED, which is what guest_memfd's hook for memory errors says.

    It counts as a failure although the invalidation succeeded, in every tree read; an RFC of October 2025 would make
    it 0.
    """
    return EBUSY


async def kvm_gmem_error_folio(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> None:
    """`kvm_gmem_error_folio`: the folio lock is held by the caller; the invalidate lock is taken *shared*."""
    start, end = folio.index, folio.index + folio.pages
    await inode.invalidate_lock.down_read(t)
    await self.kvm_gmem_invalidate_start(t, inode, start, end, self.release_filter(inode))
    await self.kvm_gmem_invalidate_end(t, inode, start, end)
    await inode.invalidate_lock.up_read(t)
