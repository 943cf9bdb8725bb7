"""Huge folios from a pool, as the RFC of 2025 has them, on top of conversion in place as applied.

guest-memfd.md 4.1, 4.5, 4.7, 4.14, 4.15. The direction has changed since (a "resource fd", RFC of September 2026).

Against the series: preparation is asked for at every private fault as in `inplace`, since a page that was shared in
between would never be prepared again if uptodate spoke for that too (`hugepage-tracked` is the series).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..actors.errno import EAGAIN, EEXIST, EINTR, EINVAL, ENOMEM
from ..actors.folio import Folio
from ..actors.huge_cache import Gap, HugeCache
from ..actors.huge_convert import HugeConversion
from ..actors.huge_pool import ORDER_1G, ORDER_2M, Subpool, order_of
from ..actors.kernel import Kernel
from ..actors.mm_locks import inserted
from ..arch.memory import FREE_LIST
from ..audit.kvm_events import Create, FilemapAdd, FilemapAddRet, PageCacheAdd
from ..engine.op import Op
from .inplace import Inplace

if TYPE_CHECKING:
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..engine.task import Task

__all__ = ["Hugepage"]


class Hugepage(HugeConversion, Inplace):
    """Huge while the whole range is private; small pages while any page of it is shared.

    Attributes:
        pool_sizes: huge pages that the machine has for all files, by order: 2 TiB of each.
    """

    name: ClassVar[str] = "hugepage"
    huge_pages: ClassVar[bool] = True
    pool_sizes: ClassVar[dict[int, int]] = {ORDER_2M: 1 << 20, ORDER_1G: 1 << 11}

    # -- file ----------------------------------------------------------------------------------------

    def gmem_known_flags(self, vm: Vm) -> frozenset[str]:
        """Huge folios besides, which KVM_CAP_GUEST_MEMFD_FLAGS does not name in the vectors."""
        return super().gmem_known_flags(vm) | {"HUGETLB", "HUGETLB_2M", "HUGETLB_1G"}

    async def kvm_gmem_create(
        self, t: Task, vm: Vm, label: str, size: int, flags: frozenset[str] = frozenset()
    ) -> GmemFile | int:
        """Whole huge pages only (-EINVAL), reserved at once (-ENOMEM)."""
        order = order_of(flags)
        ret = 0
        if order < 0 or (order and (size <= 0 or size % (4096 << order))):
            ret = EINVAL
        elif order:
            reserved = sum(pool.size for pool in self.subpools.values() if pool.order == order)
            ret = ENOMEM if reserved + size // (4096 << order) > self.pool_sizes[order] else 0
        if ret:
            if t.rec is not None:
                t.rec(t, Create(label, size // 4096, ",".join(sorted(flags)), ret))
            return ret
        return await super().kvm_gmem_create(t, vm, label, size, flags)

    async def kvm_gmem_init_inode(self, t: Task, inode: GmemInode) -> None:
        """The subpool, and a page cache that knows huge folios."""
        await super().kvm_gmem_init_inode(t, inode)
        order = order_of(inode.flags)
        if order:
            inode.folios = HugeCache(inode, order)
            self.subpools[inode.label] = Subpool(order, inode.pages >> order)

    async def evict_inode(self, t: Task, inode: GmemInode, vm: Vm) -> None:
        """The reservation goes with the file."""
        await super().evict_inode(t, inode, vm)
        self.subpools.pop(inode.label, None)

    # -- look-up ---------------------------------------------------------------------------------------

    async def filemap_create_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | int:
        """A huge folio at the aligned index, split at once if a page of its range is shared: -EEXIST, to look up.

        `kvm_gmem_filemap_add_folio` of the RFC: the folio is visible before its bit is cleared, and nobody is woken.
        The split begins with neither lock nor reference, so a look-up can come in between.
        """
        cache = self.huge_cache(inode)
        if cache is None:
            return await super().filemap_create_folio(t, inode, index)
        pool = self.subpools[inode.label]
        base, end = self.huge_range(cache, index)
        t.changed(FREE_LIST)
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

    async def kvm_gmem_unlock_fresh(self, t: Task, folio: Folio) -> None:
        """`__folio_clear_locked`, as if nobody could have seen the folio."""
        await folio.lock.clear_locked(t)

    async def filemap_remove_unsplit(self, t: Task, inode: GmemInode, cache: HugeCache, folio: Folio) -> None:
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

    # -- preparation -----------------------------------------------------------------------------------

    def pages_to_clear(self, folio: Folio) -> int:
        """The whole folio: its one flag speaks for all pages."""
        return folio.pages

    async def kvm_gmem_get_checked_folio(
        self, t: Task, file: GmemFile, slot: Memslot, index: int
    ) -> Folio | int:
        """The look-up clears nothing here: get_pfn does, and prepares, before the folio is uptodate.

        See guest-memfd.md 4.7.
        """
        if self.huge_cache(file.inode) is None:
            return await super().kvm_gmem_get_checked_folio(t, file, slot, index)
        return await Kernel.kvm_gmem_get_checked_folio(self, t, file, slot, index)

    async def kvm_gmem_get_locked_pfn(
        self, t: Task, vm: Vm, file: GmemFile, slot: Memslot, gfn: int, index: int
    ) -> tuple[int, Folio | None]:
        """Look up, make ready; the reference is dropped before the invalidate lock is, as in `inplace`."""
        inode = file.inode
        if self.huge_cache(inode) is None:
            return await super().kvm_gmem_get_locked_pfn(t, vm, file, slot, gfn, index)
        folio = await self.kvm_gmem_get_checked_folio(t, file, slot, index)
        if isinstance(folio, int):
            return folio, None
        ret = await self.kvm_gmem_make_huge_ready(t, vm, inode, folio, gfn, index)
        await self.folio_unlock(t, folio)
        await self.folio_put(t, inode, folio)
        return (ret, None) if ret else (0, folio)

    async def kvm_gmem_make_huge_ready(
        self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int, index: int
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
        self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int, index: int
    ) -> int:
        """The arch is asked at every private fault, and knows what is prepared already."""
        return await self.kvm_gmem_make_private(t, vm, inode, folio, gfn, index)

    async def kvm_gmem_make_private(
        self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int, index: int
    ) -> int:
        """At the folio's order; of a 1 GiB folio the 2 MiB around the page, since the RMP knows no larger page.

        The hook is asked about the page itself: by its entry it knows whether there is anything to do, and it aligns
        down on its own (arch.md 1.3 steps 3 and 5). The log has what it is about, aligned. Where the slot does not
        allow a large page it is the page alone (arch.md 5.1 B15).
        """
        if not folio.order:
            return await super().kvm_gmem_make_private(t, vm, inode, folio, gfn, index)
        if not vm.arch.has_private_memory or not await self.kvm_gmem_is_private(t, inode, index):
            return 0
        pages = 1 << min(self.kvm_gmem_max_order(vm, gfn, index, folio.order), ORDER_2M)
        pfn = folio.pfn + index - folio.index
        return await self.kvm_arch_gmem_make_private(t, vm, gfn, pfn, pages, index % pages)

    # -- populate --------------------------------------------------------------------------------------

    async def kvm_gmem_populate_one(
        self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, content: str | None
    ) -> int:
        """As in `inplace`, page by page: a folio never cleared is, all of it, before its first page is filled."""
        inode = file.inode
        if self.huge_cache(inode) is None:
            return await super().kvm_gmem_populate_one(t, vm, slot, file, gfn, content)
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

    # -- fallocate ---------------------------------------------------------------------------------------

    async def kvm_gmem_allocate(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        """From folio to folio (`folio_next_index`); what is there and was never looked at needs no look-up."""
        cache = self.huge_cache(inode)
        if cache is None or end > inode.pages:
            return await super().kvm_gmem_allocate(t, inode, start, end)
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

    async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        """Whole huge pages go; head and tail are only zeroed. -EAGAIN if a page of a shared one is in use."""
        cache = self.huge_cache(inode)
        if cache is None:
            return await super().kvm_gmem_punch_hole(t, inode, start, end)
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
        self, t: Task, inode: GmemInode, cache: HugeCache, start: int, end: int
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

    async def kvm_gmem_punch_shared(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        """A huge page with shared pages becomes one folio again before it goes: 0, -EAGAIN or -ENOMEM."""
        await self.unmap_mapping_pages(t, inode, start, end)
        if await self.kvm_gmem_outside_reference(t, inode, start, end) is not None:
            return EAGAIN
        return await self.merge_range(t, inode, start, private=False)
