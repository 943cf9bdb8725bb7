"""Walks over a range of a file with huge folios: whole folios, pieces of split ones, and pages nobody has looked at.

Pages that nobody has looked at since the split are all alike: unlocked, not mapped, with the page cache's reference
only. What a walk does to neighbouring ones is one step here, where the kernel goes page by page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors import truncate
from ..actors.huge_cache import Gap
from ..audit.huge_events import HugeRefCheck, PageCacheDeleteRange
from ..audit.kvm_events import ArchReclaim
from ..engine.op import Op
from . import gmem_convert
from .gmem_convert import Drains

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.huge_cache import HugeCache
    from ..actors.inode import GmemInode, HostMapping
    from ..engine.task import Task
    from .hugepage import Hugepage


def mapped_in(self: Hugepage, mapping: HostMapping, start: int, end: int) -> list[int]:
    """Only a folio that was looked up can be mapped."""
    cache = self.huge_cache(mapping.inode)
    assert cache is not None
    if end - start <= len(mapping.mapped):
        return gmem_convert.mapped_in(self, mapping, start, end)
    return [f.index for f in cache.folios_in(start, end) if f.index in mapping.mapped]


def indices(self: Hugepage, inode: GmemInode, start: int, end: int) -> list[int]:
    """First indices of folios that are objects."""
    cache = self.huge_cache(inode)
    assert cache is not None
    return [folio.index for folio in cache.folios_in(start, end) if start <= folio.index]


def first_index(self: Hugepage, inode: GmemInode, start: int, end: int) -> int | None:
    """Found without a walk over those behind it."""
    cache = self.huge_cache(inode)
    assert cache is not None
    while isinstance(piece := cache.next_piece(start, end), Gap):
        start = piece.end
    return None if piece is None else piece.index


# -- conversion --------------------------------------------------------------------------------


async def kvm_gmem_outside_reference(
    self: Hugepage, t: Task, inode: GmemInode, start: int, end: int
) -> Folio | None:
    """As for small folios; pages that nobody has looked at pass as a range."""
    cache = self.huge_cache(inode)
    assert cache is not None
    drains: Drains = [self.lru_add_drain, self.lru_add_drain_all]
    while (piece := cache.next_piece(start, end)) is not None:
        if isinstance(piece, Gap):
            passed = await self.settled(t, inode, cache, piece)
            if passed is not None:
                start = passed.end
                if t.rec is not None:
                    t.rec(t, HugeRefCheck(passed.start, passed.end, passed.pfn))
            continue
        if await self.folio_has_outside_reference(t, inode, piece, drains):
            return piece
        start = piece.index + piece.pages
    return None


async def settled(self: Hugepage, t: Task, inode: GmemInode, cache: HugeCache, gap: Gap) -> Gap | None:
    """The step on the references of untouched pages: those that are so still; None if the first is not."""
    if t.traps:
        await t.point(Op("rmw", inode.ref_label, gap.start, gap.end))
    again = cache.next_piece(gap.start, gap.end)
    return again if isinstance(again, Gap) and again.start == gap.start else None


async def kvm_gmem_make_shared(self: Hugepage, t: Task, inode: GmemInode, start: int, end: int) -> None:
    """Runs of pages that nobody has looked at are handed to the arch at once."""
    cache = self.huge_cache(inode)
    assert cache is not None
    if not self.gmem_prepare:
        return
    at = start
    while (piece := cache.next_piece(at, end)) is not None:
        if isinstance(piece, Gap):
            passed = await self.settled(t, inode, cache, piece)
            if passed is None:
                continue
            at = passed.end
            low, high = max(start, passed.start), min(end, passed.end)
            await self.kvm_gmem_make_pages_shared(t, inode, passed.pfn + low - passed.start, high - low)
        else:
            at = piece.index + piece.pages
            await self.kvm_gmem_make_folio_shared(t, inode, piece, start, end)


# -- truncation --------------------------------------------------------------------------------


async def _truncate(self: Hugepage, t: Task, inode: GmemInode, start: int, end: int) -> None:
    """Pages that nobody has looked at leave first (the kernel: in their place in the order)."""
    cache = self.huge_cache(inode)
    assert cache is not None
    at = start
    while (piece := cache.next_piece(at, end)) is not None:
        if not isinstance(piece, Gap):
            at = piece.index + piece.pages
            continue
        if t.traps:
            await t.point(Op("rmw", inode.label, piece.start, piece.end))
        again = cache.next_piece(piece.start, piece.end)
        if isinstance(again, Gap) and again.start == piece.start:
            at = again.end
            await self.truncate_gap(t, inode, cache, again)
    await truncate._truncate(self, t, inode, start, end)


async def truncate_gap(self: Hugepage, t: Task, inode: GmemInode, cache: HugeCache, gap: Gap) -> None:
    """Untouched pages leave the page cache: the hook, then their only references."""
    cache.drop(gap)
    await t.spend(self.costs.xarray_lookup * gap.pages)
    rec = t.rec
    if rec is not None:
        rec(t, PageCacheDeleteRange(gap.start, gap.end, gap.pfn))
    if self.gmem_prepare:
        if rec is not None:
            rec(t, ArchReclaim(gap.pfn, gap.pages))
        await self.inode_vm(inode).arch.reclaim(t, gap.pfn, gap.pages)
    if t.traps:
        await t.point(Op("rmw", inode.ref_label, gap.start, gap.end))
    self.free_pages(t, gap.pfn, gap.pages)


# -- zeroing -----------------------------------------------------------------------------------


async def zero_pages(self: Hugepage, t: Task, inode: GmemInode, start: int, end: int) -> None:
    """Zero the present pages of [start, end)."""
    cache = self.huge_cache(inode)
    assert cache is not None
    for piece in cache.pieces(start, end):
        first = piece.start if isinstance(piece, Gap) else piece.index
        low, high = max(start, first), min(end, first + piece.pages)
        if t.traps:
            await t.point(Op("rmw", inode.content_label, low, high))
        await t.spend(self.costs.clear(high - low))
        self.inode_vm(inode).arch.clear_range(t, piece.pfn + low - first, high - low)
