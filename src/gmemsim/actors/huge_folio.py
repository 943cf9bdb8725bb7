"""Split and merge of huge folios (spec §4.15): both under the exclusive invalidate lock, or right after insertion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..arch.memory import FRAMES, FREE_LIST
from ..arch.spin import SpinWait
from ..audit.kvm_events import FreePage, PageCacheAdd, PageCacheDelete
from ..engine.op import Op
from .errno import ENOMEM
from .folio import Folio
from .gmem_folio import GmemFolios
from .huge_pool import HUGE_ORDER, Subpool

if TYPE_CHECKING:
    from ..engine.task import Task
    from .inode import GmemInode

__all__ = ["HugeFolios"]

_PAGES = 1 << HUGE_ORDER


class HugeFolios(GmemFolios):
    """Structure of a huge range: one folio, or its 4 KiB pages."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: Subpool of every file with huge folios, by label, and of every huge page in use, by first frame.
        self.subpools: dict[str, Subpool] = {}
        self.huge_frames: dict[int, Subpool] = {}
        self.unfrozen = SpinWait("hugetlb.freeze")

    def huge_range(self, index: int) -> tuple[int, int]:
        """The range of the huge index that `index` lies in."""
        base = index >> HUGE_ORDER << HUGE_ORDER
        return base, base + _PAGES

    def all_private(self, inode: GmemInode, base: int) -> bool:
        """Whether no page of the huge range is shared."""
        assert inode.attributes is not None
        return inode.attributes.uniform(base, base + _PAGES, True)

    async def folio_put(self, t: Task, inode: GmemInode, folio: Folio, count: int = 1) -> None:
        """Who waits to freeze the references looks at them again."""
        await super().folio_put(t, inode, folio, count)
        if folio.order or folio.pfn >> HUGE_ORDER << HUGE_ORDER in self.huge_frames:
            self.unfrozen.changed(t)

    async def folio_ref_freeze(self, t: Task, inode: GmemInode, folios: list[Folio], held: int = 0) -> None:
        """Spin until the page cache's references and `held` of our own are the only ones; then they can be frozen.

        From there to the end of the caller's step nobody else runs, which is what freezing to 0 is for.
        """
        low, high = folios[0].index, folios[-1].index + folios[-1].pages
        while True:
            if t.traps:
                await t.point(Op("rmw", inode.ref_label, low, high))
            if all(folio.ref == folio.pages + held for folio in folios):
                return
            await self.unfrozen.turn(t, 100)

    async def split_folio(self, t: Task, inode: GmemInode, folio: Folio, held: int = 0) -> int:
        """4 KiB folios in place of a huge one: 0 or -ENOMEM, with nothing changed then.

        Can fail at fault points `huge_vmemmap`, `huge_stash` and `huge_insert`. The flag uptodate is inherited.
        `held` references of the caller go over to nobody: it looks its page up again.
        """
        if t.fault("huge_vmemmap") or t.fault("huge_stash"):
            return ENOMEM
        await self.folio_ref_freeze(t, inode, [folio], held)
        base, pool = folio.index, self.huge_frames[folio.pfn]
        if t.traps:
            await t.point(Op("rmw", inode.label, base, base + _PAGES))
        # The pages inserted so far, the huge folio back in its place: nobody saw them, the references are frozen.
        if t.fault("huge_insert"):
            return ENOMEM
        rec = t.rec
        del inode.folios[base]
        folio.mapping = None
        if rec is not None:
            rec(t, PageCacheDelete(base, folio.pfn, folio.order))
        for page in range(_PAGES):
            small = Folio(inode, base + page, folio.pfn + page)
            small.uptodate = folio.uptodate
            inode.folios[small.index] = small
            if rec is not None:
                rec(t, PageCacheAdd(small.index, small.pfn, 0))
        pool.stash[folio.pfn] = 0
        return 0

    async def merge_folio(self, t: Task, inode: GmemInode, base: int) -> int:
        """One huge folio in place of its 4 KiB pages, all private: 0 or -ENOMEM (`huge_merge`).

        Pages never cleared are cleared first if others were, since the huge folio has one flag for all of them
        (our choice: the sources copy flags on split only). A range with a page missing stays split.
        """
        pages = [inode.folios[i] for i in range(base, base + _PAGES) if i in inode.folios]
        if len(pages) < _PAGES or pages[0].order or any(page.poisoned for page in pages):
            return 0
        if t.fault("huge_merge"):
            return ENOMEM
        await self.folio_ref_freeze(t, inode, pages)
        uptodate = any(page.uptodate for page in pages)
        for page in pages:
            if uptodate and not page.uptodate:
                await self.kvm_gmem_clear_folio(t, inode, page, 1)
        if t.traps:
            await t.point(Op("rmw", inode.label, base, base + _PAGES))
        rec = t.rec
        for page in pages:
            del inode.folios[page.index]
            page.mapping = None
            if rec is not None:
                rec(t, PageCacheDelete(page.index, page.pfn, 0))
        huge = Folio(inode, base, pages[0].pfn, HUGE_ORDER)
        huge.uptodate = uptodate
        huge.ref = huge.pages
        inode.folios[base] = huge
        del self.huge_frames[huge.pfn].stash[huge.pfn]
        if rec is not None:
            rec(t, PageCacheAdd(base, huge.pfn, HUGE_ORDER))
        return 0

    def free_page(self, t: Task, folio: Folio) -> None:
        """The last put: a huge page goes back to its subpool whole, when all of its pages have come back.

        Here at the put itself; the kernel queues a split page to a worker, so that its pool lags behind.
        """
        first = folio.pfn >> HUGE_ORDER << HUGE_ORDER
        pool = self.huge_frames.get(first)
        if pool is None:
            super().free_page(t, folio)
            return
        t.changed(FREE_LIST)
        t.changed(FRAMES, folio.pfn, folio.pfn + folio.pages)
        arches = [vm.arch for vm in self.world.vms.values()]
        for pfn in range(folio.pfn, folio.pfn + folio.pages):
            for arch in arches:
                flag = arch.page_freed(t, pfn)
                if flag is not None:
                    arch.flag(t, flag, pfn)
                    break
        if folio.poisoned:
            self.memory.leak(folio.pfn)
        if t.rec is not None:
            t.rec(t, FreePage(folio.pfn))
        back = pool.stash.get(first, 0) + folio.pages
        if back < _PAGES:
            pool.stash[first] = back
            return
        pool.stash.pop(first, None)
        pool.used -= 1
        del self.huge_frames[first]
        self.memory.free_huge(first, HUGE_ORDER)
