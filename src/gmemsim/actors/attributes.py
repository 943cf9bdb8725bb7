"""KVM_SET_MEMORY_ATTRIBUTES on the VM: the two-source world (guest-memfd.md 4.13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.kvm_events import (
    AttrStore,
    SetAttributes,
    SetAttributesPost,
    SetAttributesPre,
    SetAttributesRet,
)
from ..engine.op import Op
from .errno import EINVAL, EIO, ENOMEM
from .stage2 import PG_LEVEL_1G, PG_LEVEL_2M, align, level_pages

if TYPE_CHECKING:
    from ..engine.task import Task
    from .kernel import Kernel
    from .memslot import Memslot
    from .vm import Vm


async def kvm_mem_is_private(self: Kernel, t: Task, vm: Vm, gfn: int) -> bool:
    """`kvm_mem_is_private`: a lock-free look-up in the VM's attribute map."""
    if not vm.arch.has_private_memory:
        return False
    if t.traps:
        await t.point(Op("load", vm.attr_label, gfn, gfn + 1, "r"))
    return gfn in vm.attributes


async def kvm_vm_ioctl_set_mem_attributes(
    self: Kernel, t: Task, vm: Vm, address: int, size: int, private: bool, flags: int = 0
) -> int:
    """The ioctl, address and size in bytes: 0, -EINVAL, -EIO (the VM is dead), or -ENOMEM with nothing changed."""
    await t.spend(self.costs.syscall)
    if vm.dead:
        return EIO
    bad = flags or size <= 0 or address < 0 or address % 4096 or size % 4096 or address + size >= 1 << 64
    if bad or (private and not vm.arch.has_private_memory):
        return EINVAL
    return await self.kvm_vm_set_mem_attributes(t, vm, address // 4096, (address + size) // 4096, private)


async def kvm_vm_set_mem_attributes(
    self: Kernel, t: Task, vm: Vm, start: int, end: int, private: bool
) -> int:
    """Set the kind of gfns [start, end). Touches neither files, folios, contents nor arch state."""
    rec = t.rec
    if rec is not None:
        rec(t, SetAttributes(start, end, private))
    await vm.slots_lock.lock(t)
    ret = 0
    if not vm.attributes.uniform(start, end, private):
        reserve = private or self.release.reserve_for_clear
        if reserve and t.fault("alloc_attributes"):
            ret = ENOMEM
        else:
            ret = await self._change(t, vm, start, end, private)
    await vm.slots_lock.unlock(t)
    if rec is not None:
        rec(t, SetAttributesRet(ret))
    return ret


async def _change(self: Kernel, t: Task, vm: Vm, start: int, end: int, private: bool) -> int:
    slots = [slot for slot in vm.slots if slot.base_gfn < end and start < slot.base_gfn + slot.pages]
    if slots:
        await vm.mmu_lock.write_lock(t)
        for slot in slots if not private else ():
            # Leaves of a mirror root that the range cuts: the only step here that can fail, so it comes first.
            ret = await self.kvm_split_cross_boundary_leafs(t, vm, *clip(slot, start, end))
            if ret:
                await vm.mmu_lock.write_unlock(t)
                return ret
        await self.kvm_mmu_invalidate_start(t, vm)
        flush = False
        for slot in slots:
            first, last = clip(slot, start, end)
            flush |= await self.kvm_pre_set_memory_attributes(t, vm, slot, first, last, private)
        if flush:
            await self.kvm_flush_remote_tlbs(t, vm)
        await vm.mmu_lock.write_unlock(t)
    await self.kvm_store_attributes(t, vm, start, end, private)
    if slots:
        await vm.mmu_lock.write_lock(t)
        await self.kvm_mmu_invalidate_end(t, vm)
        for slot in slots:
            if t.rec is not None:
                t.rec(t, SetAttributesPost(slot.ident))
            self.kvm_arch_post_set_memory_attributes(vm, slot, *clip(slot, start, end))
        await vm.mmu_lock.write_unlock(t)
    return 0


async def kvm_pre_set_memory_attributes(
    self: Kernel, t: Task, vm: Vm, slot: Memslot, start: int, end: int, private: bool
) -> bool:
    """`kvm_pre_set_memory_attributes`: add the exact range, then zap mappings of the kind being left.

    The event is the arch hook's, which comes behind the range (kvm_main.c of 6.12.107; a recording of it shows a
    fault that is retried for the range before the hook).
    """
    await self.kvm_mmu_invalidate_range_add(t, vm, start, end)
    if t.rec is not None:
        t.rec(t, SetAttributesPre(slot.ident))
    await self.kvm_arch_pre_set_memory_attributes(t, vm, slot, start, end)
    return await self.kvm_unmap_gfn_range(t, vm, start, end, "shared" if private else "private")


async def kvm_arch_pre_set_memory_attributes(
    self: Kernel, t: Task, vm: Vm, slot: Memslot, start: int, end: int
) -> None:
    """Faults on the neighbours in huge pages that the range cuts must wait too: they could map the range along.

    Whatever the folios are: it goes by slot and attributes alone (6.12.117, 7.2.12, 7.3.4). Existing large leaves go
    with the exact range.
    """
    for level, low, high in cut_huge_pages(slot, start, end):
        if (level, low) not in slot.disallow_lpage:
            await self.kvm_mmu_invalidate_range_add(t, vm, low, high)


def kvm_arch_post_set_memory_attributes(self: Kernel, vm: Vm, slot: Memslot, start: int, end: int) -> None:
    """Which huge pages hold both kinds now; mmu_lock is held, so no fault sees it half done."""
    for level in (PG_LEVEL_2M, PG_LEVEL_1G):
        for low in range(align(start, level)[0], end, level_pages(level)):
            hugepage_set_mixed(vm, slot, level, low, start, end)


def kvm_mmu_init_memslot_memory_attributes(self: Kernel, vm: Vm, slot: Memslot) -> None:
    """Which huge pages of a new slot hold both kinds."""
    for level in (PG_LEVEL_2M, PG_LEVEL_1G):
        for low in range(align(slot.base_gfn, level)[0], slot.base_gfn + slot.pages, level_pages(level)):
            hugepage_set_mixed(vm, slot, level, low, low, low)


def cut_huge_pages(slot: Memslot, start: int, end: int) -> list[tuple[int, int, int]]:
    """(level, first gfn, end) of huge pages in the slot of which [start, end) covers a part only."""
    found = []
    for level in (PG_LEVEL_2M, PG_LEVEL_1G):
        ranges = {align(start, level), align(end - 1, level)}
        for low, high in sorted(ranges):
            cut = low < start or end < high
            if cut and slot.base_gfn <= low and high <= slot.base_gfn + slot.pages:
                found.append((level, low, high))
    return found


def hugepage_set_mixed(vm: Vm, slot: Memslot, level: int, low: int, start: int, end: int) -> None:
    """One huge page in the slot, of which [start, end) is of one kind."""
    high = low + level_pages(level)
    if low < slot.base_gfn or slot.base_gfn + slot.pages < high:
        return
    whole = start <= low and high <= end
    if not whole and vm.attributes.mixed(low, high):
        slot.disallow_lpage.add((level, low))
    else:
        slot.disallow_lpage.discard((level, low))


async def kvm_store_attributes(self: Kernel, t: Task, vm: Vm, start: int, end: int, private: bool) -> None:
    """One gfn at a time: a lock-free reader can see the range half converted."""
    attributes = vm.attributes
    rec = t.rec
    if not t.traps and rec is None:
        # Nobody can look in between.
        (attributes.update if private else attributes.difference_update)(range(start, end))
        await t.spend(self.costs.xarray_lookup * (end - start))
        return
    for gfn in range(start, end):
        if t.traps:
            await t.point(Op("store", vm.attr_label, gfn, gfn + 1))
        if private:
            attributes.add(gfn)
        else:
            attributes.discard(gfn)
        if rec is not None:
            rec(t, AttrStore(gfn, gfn + 1, private))
    await t.spend(self.costs.xarray_lookup * (end - start))


def clip(slot: Memslot, start: int, end: int) -> tuple[int, int]:
    """The part of gfns [start, end) that the slot covers."""
    return max(start, slot.base_gfn), min(end, slot.base_gfn + slot.pages)
