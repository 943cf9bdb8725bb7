"""Huge folios from a pool, as the RFC of 2025 has them, on top of conversion in place as applied.

guest-memfd.md 4.1, 4.5, 4.7, 4.14, 4.15. The direction has changed since (a "resource fd", RFC of September 2026).

Against the series: preparation is asked for at every private fault as in `inplace`, since a page that was shared in
between would never be prepared again if uptodate spoke for that too (`hugepage-tracked` is the series).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

from ..actors.errno import EINVAL, ENOMEM
from ..actors.huge_cache import HugeCache
from ..actors.huge_pool import ORDER_1G, ORDER_2M, Subpool, order_of
from ..actors.kernel import Kernel
from ..arch.spin import SpinWait
from ..audit.kvm_events import Create
from ..engine.observed import announces, by_key, whole
from ..engine.op import ALL
from . import huge_convert, huge_folio, huge_gmem, huge_put, huge_walk, rmp_fault
from .by_file import by_file
from .huge_put import HUGE_QUEUE
from .inplace import Inplace

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.vm import Vm
    from ..engine.task import Task


@announces(
    subpools=whole(lambda kernel: ("hugetlb.subpools", 0, ALL)),
    huge_frames=by_key(lambda kernel: "hugetlb.frames"),
    _queue=whole(lambda kernel: (HUGE_QUEUE, 0, ALL)),
    _worker=lambda kernel: (HUGE_QUEUE, 0, ALL),
)
class Hugepage(Inplace):
    """Huge while the whole range is private; small pages while any page of it is shared.

    `by_file` names two functions: that of a file with huge folios, and that of every other file.

    Attributes:
        pool_sizes: huge pages that the machine has for all files, by order: 2 TiB of each.
        split_to: order of the pieces that a folio of an order is split into: 1 GiB -> 4 KiB at once (guest-memfd.md
            4.15).
        subpools: subpool of every file with huge folios, by label.
        huge_frames: subpool of every huge page in use, by first frame.
        unfrozen: who waits to freeze the references of folios.
    """

    name: ClassVar[str] = "hugepage"
    huge_pages: ClassVar[bool] = True
    pool_sizes: ClassVar[dict[int, int]] = {ORDER_2M: 1 << 20, ORDER_1G: 1 << 11}
    split_to: ClassVar[dict[int, int]] = {ORDER_1G: 0, ORDER_2M: 0}

    #: The number of a worker is only for its name.
    __digest_skip__ = ("_workers",)

    def __init__(self, *args: Any, **options: Any) -> None:
        """Subpools, huge pages in use, and the worker that they come back by."""
        super().__init__(*args, **options)
        self.subpools: dict[str, Subpool] = {}
        self.huge_frames: dict[int, Subpool] = {}
        self._queue: deque[tuple[int, int]] = deque()
        self._worker: Task | None = None
        self._workers = 0
        self.unfrozen = SpinWait("hugetlb.freeze")

    # -- file ------------------------------------------------------------------------------------------

    def arch_choices(self) -> dict[str, object]:
        """A huge folio is made private as a whole."""
        return {**super().arch_choices(), "large_make_private": True}

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

    # -- look-up, vCPU fault, populate, fallocate (`huge_gmem`) ----------------------------------------

    filemap_create_folio = by_file(huge_gmem.filemap_create_folio, Inplace.filemap_create_folio)
    kvm_gmem_unlock_fresh = huge_gmem.kvm_gmem_unlock_fresh
    filemap_remove_unsplit = huge_gmem.filemap_remove_unsplit
    kvm_gmem_get_locked_pfn = by_file(huge_gmem.kvm_gmem_get_locked_pfn, Inplace.kvm_gmem_get_locked_pfn)
    kvm_gmem_make_huge_ready = huge_gmem.kvm_gmem_make_huge_ready
    kvm_gmem_prepare_again = huge_gmem.kvm_gmem_prepare_again
    kvm_gmem_populate_one = by_file(huge_gmem.kvm_gmem_populate_one, Inplace.kvm_gmem_populate_one)
    kvm_gmem_allocate = by_file(huge_gmem.kvm_gmem_allocate, Inplace.kvm_gmem_allocate)
    kvm_gmem_punch_hole = by_file(huge_gmem.kvm_gmem_punch_hole, Inplace.kvm_gmem_punch_hole)
    kvm_gmem_punch_range = huge_gmem.kvm_gmem_punch_range
    kvm_gmem_punch_shared = huge_gmem.kvm_gmem_punch_shared

    #: The look-up clears nothing of huge folios: get_pfn does, and prepares, before uptodate (guest-memfd.md 4.7).
    kvm_gmem_get_checked_folio = by_file(
        Kernel.kvm_gmem_get_checked_folio, Inplace.kvm_gmem_get_checked_folio
    )

    def pages_to_clear(self, folio: Folio) -> int:
        """The whole folio: its one flag speaks for all pages."""
        return folio.pages

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

    # -- the vCPU and the level of its leaves (`rmp_fault`) --------------------------------------------

    npf_interception = rmp_fault.npf_interception
    fast_page_fault = rmp_fault.fast_page_fault
    sev_handle_rmp_fault = rmp_fault.sev_handle_rmp_fault
    sev_psmash = rmp_fault.sev_psmash
    sev_psmash_failed = rmp_fault.sev_psmash_failed
    sev_after_psmash = rmp_fault.sev_after_psmash
    spte_fits = rmp_fault.spte_fits
    accept_fault = rmp_fault.accept_fault

    # -- structure of a huge range (`huge_folio`) ------------------------------------------------------

    huge_cache = staticmethod(huge_folio.huge_cache)
    huge_range = staticmethod(huge_folio.huge_range)
    all_private = huge_folio.all_private
    folio_put = by_file(huge_folio.folio_put, Inplace.folio_put)
    folio_ref_freeze = huge_folio.folio_ref_freeze
    split_range = huge_folio.split_range
    split_folio = huge_folio.split_folio
    merge_range = huge_folio.merge_range
    merge_folio = huge_folio.merge_folio
    _uptodate = staticmethod(huge_folio._uptodate)
    kvm_gmem_clear_folio = huge_folio.kvm_gmem_clear_folio
    clear_piece = huge_folio.clear_piece
    _clear = huge_folio._clear

    # -- walks of conversion and truncation (`huge_walk`) ----------------------------------------------

    mapped_in = by_file(huge_walk.mapped_in, Inplace.mapped_in)
    indices = by_file(huge_walk.indices, Inplace.indices)
    first_index = by_file(huge_walk.first_index, Inplace.first_index)
    kvm_gmem_outside_reference = by_file(
        huge_walk.kvm_gmem_outside_reference, Inplace.kvm_gmem_outside_reference
    )
    settled = huge_walk.settled
    kvm_gmem_make_shared = by_file(huge_walk.kvm_gmem_make_shared, Inplace.kvm_gmem_make_shared)
    _truncate = by_file(huge_walk._truncate, Inplace._truncate)
    truncate_gap = huge_walk.truncate_gap
    zero_pages = huge_walk.zero_pages

    # -- conversion (`huge_convert`) -------------------------------------------------------------------

    kvm_gmem_convert = by_file(huge_convert.kvm_gmem_convert, Inplace.kvm_gmem_convert)
    kvm_gmem_convert_compute_work = staticmethod(huge_convert.kvm_gmem_convert_compute_work)
    kvm_gmem_convert_invalidate_begin = huge_convert.kvm_gmem_convert_invalidate_begin
    kvm_gmem_convert_should_proceed = huge_convert.kvm_gmem_convert_should_proceed
    kvm_gmem_unmap_shared = huge_convert.kvm_gmem_unmap_shared
    kvm_gmem_unmap = huge_convert.kvm_gmem_unmap
    _execute = huge_convert._execute
    kvm_gmem_restructure = huge_convert.kvm_gmem_restructure

    # -- pool and worker (`huge_put`) ------------------------------------------------------------------

    huge_page_of = huge_put.huge_page_of
    stash_split = huge_put.stash_split
    stash_merged = huge_put.stash_merged
    free_page = huge_put.free_page
    free_pages = huge_put.free_pages
    free_huge_folio = huge_put.free_huge_folio
    queue_work = huge_put.queue_work
    _work = huge_put._work
