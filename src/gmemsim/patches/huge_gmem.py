"""guest_memfd with huge folios: look-up, fault, populate and fallocate of such a file (guest-memfd.md 4.5 to 4.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.errno import EAGAIN, EEXIST, EINTR, EINVAL, ENOMEM
from ..actors.folio import Folio
from ..actors.huge_cache import Gap, HugeCache
from ..actors.mm_locks import inserted
from ..audit.kvm_events import FilemapAdd, FilemapAddRet, PageCacheAdd
from ..engine.op import Op

if TYPE_CHECKING:
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..engine.task import Task
    from .hugepage import Hugepage


# -- look-up -------------------------------------------------------------------------------------


async def filemap_create_folio(self: Hugepage, t: Task, inode: GmemInode, index: int) -> Folio | int:
    """A huge folio at the aligned index, split at once if a page of its range is shared: -EEXIST, to look up.

    `kvm_gmem_filemap_add_folio` of the RFC: the folio is visible before its bit is cleared, and nobody is woken.
    The split begins with neither lock nor reference, so a look-up can come in between.
    """
    cache = self.huge_cache(inode)
    assert cache is not None
    pool = self.subpools[inode.label]
    base, end = self.huge_range(cache, index)
    if t.fault("alloc_folio") or pool.used >= pool.size:
        # Two who allocate one huge page at once can exceed the subpool for a moment: one fails for nothing.
        return ENOMEM
    pfn = self.memory.allocate_huge(pool.order)
    if pfn is None:
        return ENOMEM
    pool.used += 1
    self.huge_frames[pfn] = pool
    rec = t.rec
    folio = Folio(inode, base, pfn, pool.order)
    folio.lock.take_new(t)
    if rec is not None:
        rec(t, FilemapAdd(base, pfn))
    await inserted(t, inode, hugetlb=True)
    if t.traps:
        await t.point(Op("rmw", inode.label, base, end))
    if cache.next_piece(base, end) is not None:
        if rec is not None:
            rec(t, FilemapAddRet(EEXIST))
        folio.lock.release(t)
        folio.mapping = None
        self.free_page(t, folio)
        return EEXIST
    cache[base] = folio
    folio.ref = folio.pages + 1
    if rec is not None:
        rec(t, PageCacheAdd(base, pfn, folio.order))
        rec(t, FilemapAddRet(0))
    await self.kvm_gmem_unlock_fresh(t, folio)
    await self.folio_put(t, inode, folio)
    if not self.all_private(inode, base, folio.pages):
        ret = await self.split_range(t, inode, base)
        if ret:
            await self.filemap_remove_unsplit(t, inode, cache, folio)
            return ret
    # The page at the index, which is another folio now if it was split.
    return EEXIST


async def kvm_gmem_unlock_fresh(self: Hugepage, t: Task, folio: Folio) -> None:
    """`__folio_clear_locked`, as if nobody could have seen the folio."""
    await folio.lock.clear_locked(t)


async def filemap_remove_unsplit(
    self: Hugepage, t: Task, inode: GmemInode, cache: HugeCache, folio: Folio
) -> None:
    """A shared page must not be part of a huge folio: what cannot be split goes again."""
    if folio.mapping is inode:
        self._remove(t, inode, folio)
        await self.folio_put(t, inode, folio, folio.pages)
        return
    # The first of two stages was done.
    await self.merge_range(t, inode, folio.index, private=False, sure=True)
    merged = cache[folio.index]
    self._remove(t, inode, merged)
    await self.folio_put(t, inode, merged, merged.pages)


# -- vCPU fault, populate ------------------------------------------------------------------------


async def kvm_gmem_get_locked_pfn(
    self: Hugepage, t: Task, vm: Vm, file: GmemFile, slot: Memslot, gfn: int, index: int
) -> tuple[int, Folio | None]:
    """Look up, make ready; the reference is dropped before the invalidate lock is, as in `inplace`."""
    inode = file.inode
    folio = await self.kvm_gmem_get_checked_folio(t, file, slot, index)
    if isinstance(folio, int):
        return folio, None
    ret = await self.kvm_gmem_make_huge_ready(t, vm, inode, folio, gfn, index)
    await self.folio_unlock(t, folio)
    await self.folio_put(t, inode, folio)
    return (ret, None) if ret else (0, folio)


async def kvm_gmem_make_huge_ready(
    self: Hugepage, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int, index: int
) -> int:
    """Zero all of it, prepare, and only then uptodate: a folio whose preparation failed is zeroed again."""
    if folio.uptodate:
        return await self.kvm_gmem_prepare_again(t, vm, inode, folio, gfn, index)
    await self.kvm_gmem_clear_folio(t, inode, folio, self.pages_to_clear(folio))
    ret = await self.kvm_gmem_make_private(t, vm, inode, folio, gfn, index)
    if ret == 0:
        await self.kvm_gmem_mark_uptodate(t, inode, folio)
    return ret


async def kvm_gmem_prepare_again(
    self: Hugepage, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int, index: int
) -> int:
    """The arch is asked at every private fault, and knows what is prepared already."""
    return await self.kvm_gmem_make_private(t, vm, inode, folio, gfn, index)


async def kvm_gmem_populate_one(
    self: Hugepage, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, content: str | None
) -> int:
    """As in `inplace`, page by page: a folio never cleared is, all of it, before its first page is filled."""
    inode = file.inode
    index = slot.index_of(gfn)
    folio = await self.kvm_gmem_get_checked_folio(t, file, slot, index)
    if isinstance(folio, int):
        return folio
    if not folio.uptodate:
        await self.kvm_gmem_clear_folio(t, inode, folio, self.pages_to_clear(folio))
        await self.kvm_gmem_mark_uptodate(t, inode, folio)
    await self.folio_unlock(t, folio)
    private = await self.kvm_gmem_wants_private(t, vm, inode, gfn, index)
    ret = await self.post_populate(t, vm, gfn, folio, content) if private else EINVAL
    await self.folio_put(t, inode, folio)
    return ret


# -- fallocate -----------------------------------------------------------------------------------


async def kvm_gmem_allocate(self: Hugepage, t: Task, inode: GmemInode, start: int, end: int) -> int:
    """From folio to folio (`folio_next_index`); what is there and was never looked at needs no look-up."""
    cache = self.huge_cache(inode)
    assert cache is not None
    if end > inode.pages:
        return EINVAL
    ret = 0
    await inode.invalidate_lock.down_read(t)
    while start < end:
        if t.signalled():
            ret = EINTR
            break
        piece = cache.next_piece(start, start + 1)
        if isinstance(piece, Gap):
            if t.traps:
                await t.point(Op("load", inode.label, start, end, "r"))
            piece = cache.next_piece(start, end)
            if isinstance(piece, Gap) and piece.start <= start:
                start = piece.end
            continue
        folio = await self.kvm_gmem_get_folio(t, inode, start)
        if isinstance(folio, int):
            ret = folio
            break
        start = folio.index + folio.pages
        await self.folio_unlock(t, folio)
        await self.folio_put(t, inode, folio)
    await inode.invalidate_lock.up_read(t)
    return ret


async def kvm_gmem_punch_hole(self: Hugepage, t: Task, inode: GmemInode, start: int, end: int) -> int:
    """Whole huge pages go; head and tail are only zeroed. -EAGAIN if a page of a shared one is in use."""
    cache = self.huge_cache(inode)
    assert cache is not None
    end = min(end, inode.pages)
    ret = 0
    await inode.invalidate_lock.down_write(t)
    if start < end:
        ret = await self.kvm_gmem_split_private(t, inode, start, end)
    if start < end and not ret:
        await self.kvm_gmem_invalidate_start(t, inode, start, end, self.invalidate_filter(inode))
        ret = await self.kvm_gmem_punch_range(t, inode, cache, start, end)
        await self.kvm_gmem_invalidate_end(t, inode, start, end)
    await inode.invalidate_lock.up_write(t)
    return ret


async def kvm_gmem_punch_range(
    self: Hugepage, t: Task, inode: GmemInode, cache: HugeCache, start: int, end: int
) -> int:
    """The part between start and end of the invalidation."""
    size = 1 << cache.order
    first, last = -(-start // size) * size, end // size * size
    for low, high in ((start, end),) if first > last else ((start, first), (last, end)):
        await self.zero_pages(t, inode, low, high)
    while first < last and (piece := cache.next_piece(first, last)) is not None:
        base, first = self.huge_range(cache, piece.start if isinstance(piece, Gap) else piece.index)
        if not self.all_private(inode, base, size):
            ret = await self.kvm_gmem_punch_shared(t, inode, base, first)
            if ret:
                return ret
        await self.truncate_inode_pages_range(t, inode, base, first)
    return 0


async def kvm_gmem_punch_shared(self: Hugepage, t: Task, inode: GmemInode, start: int, end: int) -> int:
    """A huge page with shared pages becomes one folio again before it goes: 0, -EAGAIN or -ENOMEM."""
    await self.unmap_mapping_pages(t, inode, start, end)
    if await self.kvm_gmem_outside_reference(t, inode, start, end) is not None:
        return EAGAIN
    return await self.merge_range(t, inode, start, private=False)
