"""Where the frames of huge folios go: whole ones back to the pool at once, pages of split ones by way of a worker.

The last put may come from interrupt context, so pages of a split folio are queued (guest-memfd.md 4.15). The worker
counts them,
and gives the huge page back when all have come: until then the pool is short of it (guest-memfd.md 9 Q13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.huge_pool import ORDER_1G, ORDER_2M, Subpool
from ..actors.kernel import Kernel
from ..arch.huge_contents import HUGE_AREA
from ..audit.huge_events import HugePagesPut
from ..audit.kvm_events import FreePage
from ..engine.op import Op

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..engine.task import Task
    from .hugepage import Hugepage

#: Object of the steps that queue pages of split folios, or take them from the queue.
HUGE_QUEUE = "hugetlb.queue"


def huge_page_of(self: Hugepage, pfn: int) -> tuple[int, Subpool] | None:
    """First frame and subpool of the huge page that a frame is part of."""
    for order in (ORDER_2M, ORDER_1G) if pfn >= HUGE_AREA else ():
        first = pfn >> order << order
        pool = self.huge_frames.get(first)
        if pool is not None and pool.order == order:
            return first, pool
    return None


# -- stash -------------------------------------------------------------------------------------


def stash_split(self: Hugepage, folio: Folio) -> None:
    """HugeTLB's metadata of a page that is split is put by; a part of one that is split has none."""
    found = self.huge_page_of(folio.pfn)
    assert found is not None
    if folio.order == found[1].order:
        found[1].stash[folio.pfn] = 0


def stash_merged(self: Hugepage, folio: Folio) -> None:
    """It is restored when the page is whole again."""
    found = self.huge_page_of(folio.pfn)
    assert found is not None
    if folio.order == found[1].order:
        del found[1].stash[folio.pfn]


# -- the last put ------------------------------------------------------------------------------


def free_page(self: Hugepage, t: Task, folio: Folio) -> None:
    """The last put of a folio."""
    if self.huge_page_of(folio.pfn) is None:
        Kernel.free_page(self, t, folio)
        return
    if folio.poisoned:
        self.memory.leak(folio.pfn)
    self.free_pages(t, folio.pfn, folio.pages)


def free_pages(self: Hugepage, t: Task, pfn: int, pages: int) -> None:
    """Frames of one huge page that nobody uses any more: all of it, or what it was split into."""
    found = self.huge_page_of(pfn)
    assert found is not None
    first, pool = found
    flagged: set[int] = set()
    for vm in self.world.vms.values():
        for flag, frame in vm.arch.pages_freed(t, pfn, pages):
            if frame not in flagged:
                flagged.add(frame)
                vm.arch.flag(t, flag, frame)
    if first not in pool.stash:
        self.free_huge_folio(t, first, pool)
        return
    if t.rec is not None:
        t.rec(t, HugePagesPut(pfn, pages))
    self._queue.append((pfn, pages))
    self.queue_work(t)


def free_huge_folio(self: Hugepage, t: Task, first: int, pool: Subpool) -> None:
    """`free_huge_folio`: the subpool has its page again."""
    pool.used -= 1
    del self.huge_frames[first]
    if t.rec is not None:
        t.rec(t, FreePage(first))
    self.memory.free_huge(first, pool.order)


# -- the worker --------------------------------------------------------------------------------


def queue_work(self: Hugepage, t: Task) -> None:
    """`queue_work`: the worker runs once more unless it is due already."""
    worker = self._worker
    if worker is None or worker.done or worker.engine is not t.engine:
        self._workers += 1
        self._worker = t.engine.spawn(f"hugetlb{self._workers}", self._work)


async def _work(self: Hugepage, t: Task) -> None:
    """`guestmem_hugetlb_cleanup_worker`: count what came, merge what is complete, give it back."""
    while True:
        if t.traps:
            await t.point(Op("rmw", HUGE_QUEUE))
        if not self._queue:
            # Whoever queues from here on starts it anew.
            self._worker = None
            return
        pfn, pages = self._queue.popleft()
        found = self.huge_page_of(pfn)
        assert found is not None
        first, pool = found
        back = pool.stash[first] = pool.stash[first] + pages
        if back == 1 << pool.order:
            await t.spend(self.costs.wake)
            del pool.stash[first]
            self.free_huge_folio(t, first, pool)
