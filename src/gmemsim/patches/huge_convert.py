"""Conversion of a file with huge folios (guest-memfd.md 4.14): a work list, neighbours that wait, structure last."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..actors.errno import EAGAIN, ENOMEM
from ..actors.gmem_convert import Converted
from ..actors.huge_cache import Gap
from ..audit.kvm_events import ArchInvalidateRange, InvStart, InvStartRet
from ..engine.op import Op

if TYPE_CHECKING:
    from ..actors.huge_cache import HugeCache
    from ..actors.inode import GmemInode
    from ..engine.task import Task
    from .hugepage import Hugepage


class _Work(NamedTuple):
    """A part of the range that is not yet what it is to become, and the huge pages around it."""

    start: int
    end: int
    outer_start: int
    outer_end: int


async def kvm_gmem_convert(
    self: Hugepage, t: Task, inode: GmemInode, start: int, end: int, private: bool, flags: int
) -> Converted:
    """All of it, under the exclusive lock. An error undoes what was done, and the invalidation is ended."""
    cache = self.huge_cache(inode)
    assert cache is not None
    if t.traps:
        await t.point(Op("load", self.gmem_attr_label(inode), start, end, "r"))
    works = self.kvm_gmem_convert_compute_work(inode, cache, start, end, private)
    if not works:
        return Converted(0)
    if t.fault("alloc_attributes"):
        return Converted(ENOMEM, start)
    for work in works:
        await self.kvm_gmem_convert_invalidate_begin(t, inode, work.outer_start, work.outer_end)
    result = Converted(0)
    for work in works:
        result = await self.kvm_gmem_convert_should_proceed(t, inode, work, private)
        if result.ret:
            break
    else:
        result = await self._execute(t, inode, cache, works, private)
    for work in works:
        await self.kvm_gmem_invalidate_end(t, inode, work.outer_start, work.outer_end)
    return result


def kvm_gmem_convert_compute_work(
    inode: GmemInode, cache: HugeCache, start: int, end: int, private: bool
) -> list[_Work]:
    """Sub-ranges of the other kind, each with its range rounded out to huge pages."""
    assert inode.attributes is not None
    mask = (1 << cache.order) - 1
    return [
        _Work(low, high, low & ~mask, (high + mask) & ~mask)
        for low, high, kind in inode.attributes.ranges(start, end)
        if kind != private
    ]


async def kvm_gmem_convert_invalidate_begin(
    self: Hugepage, t: Task, inode: GmemInode, start: int, end: int
) -> None:
    """From here on faults in the huge pages around the range retry; nothing is zapped yet."""
    for file in list(inode.files):
        if t.rec is not None:
            t.rec(t, InvStart(start, end))
        vm = file.vm
        slots = file.slots_in(start, end)
        if slots:
            await vm.mmu_lock.write_lock(t)
            await self.kvm_mmu_invalidate_start(t, vm)
            for slot in slots:
                shift = slot.base_gfn - slot.pgoff
                low, high = max(start, slot.bound_start), min(end, slot.bound_end)
                await self.kvm_mmu_invalidate_range_add(t, vm, low + shift, high + shift)
            await vm.mmu_lock.write_unlock(t)
        if t.rec is not None:
            t.rec(t, InvStartRet())


async def kvm_gmem_convert_should_proceed(
    self: Hugepage, t: Task, inode: GmemInode, work: _Work, private: bool
) -> Converted:
    """Take the old kind's mappings away; to private, look whether anybody else has a page.

    Where a zap destroys contents, leaves that reach over the range are split first; that can fail (guest-memfd.md
    4.15, end).
    """
    if not private:
        ret = await self.kvm_gmem_split_private(t, inode, work.start, work.end)
        if ret:
            return Converted(ret, work.start)
        await self.kvm_gmem_unmap(t, inode, work.start, work.end, "private")
        return Converted(0)
    await self.unmap_mapping_pages(t, inode, work.start, work.end)
    offender = await self.kvm_gmem_outside_reference(t, inode, work.start, work.end)
    if offender is not None:
        return Converted(EAGAIN, max(work.start, offender.index))
    await self.kvm_gmem_unmap_shared(t, inode, work.start, work.end)
    return Converted(0)


async def kvm_gmem_unmap_shared(self: Hugepage, t: Task, inode: GmemInode, start: int, end: int) -> None:
    """The guests' shared mappings of what becomes private, as without huge pages.

    The series leaves that to the MMU notifiers of the host mapping, and so zaps nothing where the VMM has none.
    """
    await self.kvm_gmem_unmap(t, inode, start, end, "shared")


async def kvm_gmem_unmap(self: Hugepage, t: Task, inode: GmemInode, start: int, end: int, kinds: str) -> None:
    """`kvm_gmem_unmap_private`: zap exactly the range, in every VM, inside the invalidation under way."""
    for file in list(inode.files):
        vm = file.vm
        slots = file.slots_in(start, end)
        if not slots:
            continue
        flush = False
        await vm.mmu_lock.write_lock(t)
        for slot in slots:
            shift = slot.base_gfn - slot.pgoff
            low, high = max(start, slot.bound_start) + shift, min(end, slot.bound_end) + shift
            flush |= await self.kvm_unmap_gfn_range(t, vm, low, high, kinds)
            if self.release.invalidate_range_hook and self.gmem_prepare:
                if t.rec is not None:
                    t.rec(t, ArchInvalidateRange(vm.label, low, high))
                await vm.arch.invalidate_range(t, vm, low, high)
        if flush:
            await self.kvm_flush_remote_tlbs(t, vm)
        await vm.mmu_lock.write_unlock(t)


# -- attributes and structure --------------------------------------------------------------------


async def _execute(
    self: Hugepage, t: Task, inode: GmemInode, cache: HugeCache, works: list[_Work], private: bool
) -> Converted:
    """Work item by work item: attributes, then structure. An error takes all of them back."""
    for number, work in enumerate(works):
        if not private:
            # Hardware learns of it as without huge pages; the series has no such hook yet.
            await self.kvm_gmem_make_shared(t, inode, work.start, work.end)
        await self.kvm_gmem_store_attributes(t, inode, work.start, work.end, private)
        ret = await self.kvm_gmem_restructure(t, inode, cache, work, private)
        if ret:
            for undone in reversed(works[: number + 1]):
                await self.kvm_gmem_store_attributes(t, inode, undone.start, undone.end, not private)
                await self.kvm_gmem_restructure(t, inode, cache, undone, not private, sure=True)
            return Converted(ret, works[0].start)
    return Converted(0)


async def kvm_gmem_restructure(
    self: Hugepage,
    t: Task,
    inode: GmemInode,
    cache: HugeCache,
    work: _Work,
    private: bool,
    sure: bool = False,
) -> int:
    """Split or merge every huge page that the item touches, as the attributes now have it: 0 or -ENOMEM.

    Taking it back cannot fail (`sure`): what was split or merged leaves what it takes to undo it (our choice; the
    series warns).
    """
    change = self.merge_range if private else self.split_range
    base = work.outer_start
    while (piece := cache.next_piece(base, work.outer_end)) is not None:
        low, base = self.huge_range(cache, piece.start if isinstance(piece, Gap) else piece.index)
        ret = await change(t, inode, low, sure=sure)
        if ret:
            return ret
    return 0
