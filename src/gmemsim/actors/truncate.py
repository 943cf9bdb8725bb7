"""Truncation of a range of the page cache: two passes and two edges (mm/truncate.c; guest-memfd.md 1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..audit.kvm_events import ArchInvalidate, EvictFolio, PageCacheDelete, Truncate, TruncateRet
from ..engine.observed_containers import keys_within
from ..engine.op import Op
from . import mm_locks

if TYPE_CHECKING:
    from ..engine.task import Task
    from .folio import Folio
    from .inode import GmemInode
    from .kernel import Kernel
    from .vm import Vm

#: One past the last index that a file of any size can have: `lend` is a byte offset of 64 bits.
END_OF_MAPPING: Final = 1 << 52
#: The largest `pgoff_t`, -1ul.
LAST_INDEX: Final = (1 << 64) - 1

#: PAGEVEC_SIZE since 2024; 15 before.
FOLIO_BATCH: Final = 31


async def truncate_inode_pages_range(self: Kernel, t: Task, inode: GmemInode, start: int, end: int) -> None:
    """Remove every folio of [start, end), waiting for locked ones.

    In versions whose faults do not take the invalidate lock new folios can appear meanwhile: they may stay, and
    the number of scans has no bound.
    """
    rec = t.rec
    if rec is not None:
        rec(t, Truncate(start, end))
    if t.traps:
        await t.point(Op("load", inode.label, mode="r"))
    if inode.folios:
        await self._truncate(t, inode, start, end)
    if rec is not None:
        rec(t, TruncateRet())


async def _truncate(self: Kernel, t: Task, inode: GmemInode, start: int, end: int) -> None:
    # Pass 1: whatever can be locked at once, a batch at a time.
    index = start
    while index < end:
        batch, index = await self.find_lock_entries(t, inode, index, end)
        if not batch:
            break
        for folio in batch:
            if await self.folio_mapped(t, inode, folio):
                await self.unmap_mapping_folio(t, inode, folio)
        await self.delete_from_page_cache_batch(t, inode, batch)
        for folio in batch:
            await self.folio_unlock(t, folio)
        for folio in batch:
            await self.folio_put(t, inode, folio)
    # The edges, with a blocking lock.
    last = LAST_INDEX if end == END_OF_MAPPING and self.release.truncate_signed else end - 1
    for edge in (start,) if start == last else (start, last):
        found = await self.filemap_get_folio(t, inode, edge, create=False)
        if not isinstance(found, int):
            await self.truncate_inode_folio(t, inode, found)
            await self.folio_unlock(t, found)
            await self.folio_put(t, inode, found)
    # Pass 2: wait for the busy ones. A scan that comes up empty behind the start is repeated from the start; one
    # whose last folio is the last of the range ends it. So folios that were inserted before that point meanwhile
    # stay in the hole: the recordings show it (guest-memfd.md 1.2).
    index = start
    while index < end:
        batch = await self.find_get_entries(t, inode, index, end)
        if not batch:
            if index == start:
                return
            index = start
            continue
        for folio in batch:
            await folio.lock.lock(t)
            if folio.mapping is inode:
                await self.truncate_inode_folio(t, inode, folio)
            await self.folio_unlock(t, folio)
        for folio in batch:
            await self.folio_put(t, inode, folio)
        index = batch[-1].index + batch[-1].pages


def indices(self: Kernel, inode: GmemInode, start: int, end: int) -> list[int]:
    """Present indices of [start, end), in order, at a cost bounded by the smaller of range and cache."""
    return keys_within(inode.folios, start, end)


def first_index(self: Kernel, inode: GmemInode, start: int, end: int) -> int | None:
    """The first of `indices`."""
    present = self.indices(inode, start, end)
    return present[0] if present else None


async def find_lock_entries(
    self: Kernel, t: Task, inode: GmemInode, start: int, end: int
) -> tuple[list[Folio], int]:
    """Up to one batch of folios that could be try-locked, and where to go on: behind the last of them.

    So a busy folio behind the batch's last one is looked at again by the next call, still in pass 1 (seen in the
    recordings; guest-memfd.md 1.2).
    """
    batch: list[Folio] = []
    index = start
    while index < end and len(batch) < FOLIO_BATCH:
        if t.traps:
            await t.point(Op("load", inode.label, index, end, "r"))
        found = self.first_index(inode, index, end)
        if found is None:
            break
        folio = inode.folios[found]
        index = found + folio.pages
        folio.ref += 1
        if await folio.lock.trylock(t):
            if folio.mapping is inode:
                batch.append(folio)
                continue
            await self.folio_unlock(t, folio)
        await self.folio_put(t, inode, folio)
    return batch, batch[-1].index + batch[-1].pages if batch else end


async def find_get_entries(self: Kernel, t: Task, inode: GmemInode, start: int, end: int) -> list[Folio]:
    """Up to one batch of folios, referenced."""
    if t.traps:
        await t.point(Op("load", inode.label, start, end, "r"))
    batch = [inode.folios[index] for index in self.indices(inode, start, end)[:FOLIO_BATCH]]
    for folio in batch:
        folio.ref += 1
    return batch


async def delete_from_page_cache_batch(self: Kernel, t: Task, inode: GmemInode, batch: list[Folio]) -> None:
    """Remove the whole batch in one go, then run the free hook for each and drop the cache's references."""
    if t.traps:
        await t.point(Op("rmw", inode.label, batch[0].index, batch[-1].index + 1))
    await mm_locks.delete_from_page_cache_batch(t, inode, len(batch))
    for folio in batch:
        self._remove(t, inode, folio)
    for folio in batch:
        await self.filemap_free_folio(t, inode, folio)


async def truncate_inode_folio(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> None:
    """Unmap and remove one locked folio."""
    if await self.folio_mapped(t, inode, folio):
        await self.unmap_mapping_folio(t, inode, folio)
    if t.traps:
        await t.point(Op("rmw", inode.label, folio.index, folio.index + 1))
    await mm_locks.delete_from_page_cache_batch(t, inode, 1)
    self._remove(t, inode, folio)
    await self.filemap_free_folio(t, inode, folio)


async def mapping_evict_folio(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> bool:
    """`mapping_evict_folio` of a locked folio: whether it left the page cache.

    A dirty one stays, and one that anybody but the page cache and the caller has a reference of. `__remove_mapping`
    asks both once more when it has frozen the count, in the step that removes.
    """
    if t.traps:
        await t.point(Op("load", folio.dirty_label, folio.index, folio.index + folio.pages, "r"))
    if folio.mapping is not inode or folio.dirty:
        return False
    if t.traps:
        await t.point(Op("load", inode.ref_label, folio.index, folio.index + folio.pages, "r"))
    if folio.ref > folio.pages + 1 or self.folio_in_lru_batch(t, folio):
        return False
    if t.traps:
        await t.point(Op("rmw", inode.label, folio.index, folio.index + folio.pages))
    if not self._still_evictable(folio):
        return False
    if t.rec is not None:
        t.rec(t, EvictFolio(folio.index, folio.pfn))
    self._remove(t, inode, folio)
    await self.filemap_free_folio(t, inode, folio)
    return True


def _still_evictable(folio: Folio) -> bool:
    """What `__remove_mapping` asks once the count is frozen."""
    return not folio.dirty and folio.ref == folio.pages + 1


def _remove(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> None:
    del inode.folios[folio.index]
    folio.mapping = None
    if t.rec is not None:
        t.rec(t, PageCacheDelete(folio.index, folio.pfn, folio.order))


async def filemap_free_folio(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> None:
    """`filemap_free_folio`: the mapping's hook, then the cache's own references."""
    await self.kvm_gmem_free_folio(t, inode, folio)
    await self.folio_put(t, inode, folio, folio.pages)


async def kvm_gmem_free_folio(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> None:
    """The hook at removal: folio lock held, folio gone from the cache, its references still there.

    See guest-memfd.md 4.10.
    """
    if not self.gmem_prepare:
        return
    rec = t.rec
    if rec is not None:
        rec(t, ArchInvalidate(folio.pfn, folio.pfn + folio.pages))
    await self.inode_vm(inode).arch.invalidate(t, folio.pfn, folio.pfn + folio.pages)


def inode_vm(self: Kernel, inode: GmemInode) -> Vm:
    """A VM of the inode: RMP state belongs to the frame, so any of its VMs' arch actors serves."""
    if inode.files:
        return inode.files[0].vm
    return next(iter(self.world.vms.values())) if inode.creator is None else inode.creator
