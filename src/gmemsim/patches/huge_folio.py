"""Split and merge of huge folios: both under the exclusive invalidate lock, or right after insertion.

See guest-memfd.md 4.15.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors import page_cache
from ..actors.errno import ENOMEM
from ..actors.folio import Folio
from ..actors.huge_cache import Gap, HugeCache, Split
from ..actors.kernel import Kernel
from ..audit.huge_events import HugeMerge, HugeSplit
from ..audit.kvm_events import Clear
from ..engine.op import Op

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actors.inode import GmemInode
    from ..engine.task import Task
    from .hugepage import Hugepage


def huge_cache(inode: GmemInode) -> HugeCache | None:
    """The page cache of a file with huge folios; None of any other."""
    folios = inode.folios
    return folios if isinstance(folios, HugeCache) else None


def huge_range(cache: HugeCache, index: int) -> tuple[int, int]:
    """The range of the huge index that `index` lies in."""
    base = index >> cache.order << cache.order
    return base, base + (1 << cache.order)


def all_private(self: Hugepage, inode: GmemInode, base: int, pages: int) -> bool:
    """Whether no page of the range is shared."""
    assert inode.attributes is not None
    return inode.attributes.uniform(base, base + pages, True)


async def folio_put(self: Hugepage, t: Task, inode: GmemInode, folio: Folio, count: int = 1) -> None:
    """Who waits to freeze the references looks at them again."""
    await page_cache.folio_put(self, t, inode, folio, count)
    self.unfrozen.changed(t)


async def folio_ref_freeze(
    self: Hugepage, t: Task, inode: GmemInode, folios: Sequence[Folio], low: int, high: int
) -> None:
    """Spin until the page cache's references are the only ones; then they can be frozen.

    From there to the end of the caller's step nobody else runs, which is what freezing to 0 is for.
    """
    while True:
        if t.traps:
            await t.point(Op("rmw", inode.ref_label, low, high))
        if all(folio.ref == folio.pages for folio in folios):
            return
        await self.unfrozen.turn(t, 100)


# -- split -------------------------------------------------------------------------------------


async def split_range(self: Hugepage, t: Task, inode: GmemInode, base: int, *, sure: bool = False) -> int:
    """Split what is at the huge range of `base` so that no shared page is part of a larger folio: 0 or -ENOMEM."""
    cache = self.huge_cache(inode)
    assert cache is not None
    assert inode.attributes is not None
    low, high = self.huge_range(cache, base)
    for start, end, private in inode.attributes.ranges(low, high):
        at = start
        while not private and (piece := cache.next_piece(at, end)) is not None:
            if isinstance(piece, Gap):
                if not piece.split.piece_order:
                    at = piece.end
                    continue
                piece = cache[max(piece.start, at)]
            if not piece.order:
                at = piece.index + 1
                continue
            ret = await self.split_folio(t, inode, piece, sure)
            if ret:
                return ret
    return 0


async def split_folio(self: Hugepage, t: Task, inode: GmemInode, folio: Folio, sure: bool = False) -> int:
    """Smaller folios in place of a huge one: 0 or -ENOMEM, with nothing changed then.

    Can fail at fault points `huge_vmemmap`, `huge_stash` and `huge_insert`, unless `sure`. The flag uptodate is
    inherited.
    """
    cache = self.huge_cache(inode)
    assert cache is not None
    low, high = folio.index, folio.index + folio.pages
    to = self.split_to[folio.order]
    if not sure and (t.fault("huge_vmemmap") or t.fault("huge_stash")):
        return ENOMEM
    await t.spend(self.costs.xarray_lookup * (folio.pages >> to))
    if t.traps:
        await t.point(Op("rmw", inode.label, low, high))
    # The pages inserted so far, the huge folio back in its place: nobody saw them, the references are frozen.
    if not sure and t.fault("huge_insert"):
        return ENOMEM
    await self.folio_ref_freeze(t, inode, [folio], low, high)
    folio.mapping = None
    cache.split(folio, to)
    self.stash_split(folio)
    if t.rec is not None:
        t.rec(t, HugeSplit(low, folio.pfn, folio.order, to))
    # Whoever still has it in hand gets no reference.
    folio.ref = 0
    return 0


# -- merge -------------------------------------------------------------------------------------


async def merge_range(
    self: Hugepage, t: Task, inode: GmemInode, base: int, *, private: bool = True, sure: bool = False
) -> int:
    """Merge what can be of the huge range of `base`: 0 or -ENOMEM.

    With `private` only where no page is shared; else all of it, as before a hole.
    """
    cache = self.huge_cache(inode)
    assert cache is not None
    low, high = self.huge_range(cache, base)
    split = cache.splits.get((low, cache.order))
    if split is None:
        return 0
    size = 1 << split.piece_order
    inner = (
        [at for at in range(low, high, size) if (at, split.piece_order) in cache.splits]
        if split.piece_order
        else []
    )
    for at in inner:
        if not private or self.all_private(inode, at, size):
            ret = await self.merge_folio(t, inode, cache.splits[at, split.piece_order], sure, private)
            if ret:
                return ret
    if not private or self.all_private(inode, low, high - low):
        return await self.merge_folio(t, inode, split, sure, private)
    return 0


async def merge_folio(
    self: Hugepage, t: Task, inode: GmemInode, split: Split, sure: bool = False, kept: bool = True
) -> int:
    """One folio in place of a split range: 0 or -ENOMEM (`huge_merge`, unless `sure`).

    Pages never cleared are cleared first if others were, since the huge folio has one flag for all of them
    (our choice: the sources copy flags on split only); not if it is about to go (`kept` False). A range with a page
    missing or poisoned stays split.
    """
    cache = self.huge_cache(inode)
    assert cache is not None
    low, high, pages = split.base, split.end, 1 << split.order
    folios = cache.folios_in(low, high)
    if (
        split.left << split.piece_order != pages
        or any(folio.poisoned for folio in folios)
        or any(folio.order != split.piece_order for folio in folios)
    ):
        return 0
    if not sure and t.fault("huge_merge"):
        return ENOMEM
    pieces = cache.pieces(low, high)
    if kept and any(self._uptodate(piece) for piece in pieces):
        for piece in pieces:
            if not self._uptodate(piece):
                await self.clear_piece(t, inode, piece)
    await t.spend(self.costs.xarray_lookup * (pages >> split.piece_order))
    if t.traps:
        await t.point(Op("rmw", inode.label, low, high))
    while True:
        # Somebody may look up more pages until the references are frozen.
        folios = cache.folios_in(low, high)
        await self.folio_ref_freeze(t, inode, folios, low, high)
        if folios == cache.folios_in(low, high):
            break
    flags = [self._uptodate(piece) for piece in cache.pieces(low, high)]
    huge = Folio(inode, low, split.pfn, split.order)
    huge.uptodate = any(flags) if kept else all(flags)
    huge.dirty = any(
        (piece.split if isinstance(piece, Gap) else piece).dirty for piece in cache.pieces(low, high)
    )
    huge.ref = huge.pages
    gone = cache.merge(split, huge)
    for folio in gone:
        folio.mapping, folio.merged = None, huge
    self.stash_merged(huge)
    if t.rec is not None:
        t.rec(t, HugeMerge(low, huge.pfn, huge.order))
    # Tail pages from now on: no reference is to be had of them.
    for folio in gone:
        folio.ref = 0
    return 0


def _uptodate(piece: Folio | Gap) -> bool:
    return (piece.split if isinstance(piece, Gap) else piece).uptodate


# -- contents ----------------------------------------------------------------------------------


async def kvm_gmem_clear_folio(self: Hugepage, t: Task, inode: GmemInode, folio: Folio, pages: int) -> None:
    """A huge folio is zeroed as one range."""
    if not folio.order:
        await Kernel.kvm_gmem_clear_folio(self, t, inode, folio, pages)
        return
    await self._clear(t, inode, folio.index, folio.pfn, pages)


async def clear_piece(self: Hugepage, t: Task, inode: GmemInode, piece: Folio | Gap) -> None:
    """Zero a folio, or pages that nobody has looked at."""
    index = piece.start if isinstance(piece, Gap) else piece.index
    await self._clear(t, inode, index, piece.pfn, piece.pages)


async def _clear(self: Hugepage, t: Task, inode: GmemInode, index: int, pfn: int, pages: int) -> None:
    if t.rec is not None:
        t.rec(t, Clear(index, pfn, pages))
    if t.traps:
        await t.point(Op("rmw", inode.content_label, index, index + pages))
    await t.spend(self.costs.clear(pages))
    self.inode_vm(inode).arch.clear_range(t, pfn, pages)
