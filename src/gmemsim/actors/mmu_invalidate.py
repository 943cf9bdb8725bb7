"""KVM's MMU invalidation protocol: in-progress count, range and sequence (guest-memfd.md 1.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.kvm_events import MmuInvEnd, MmuInvStart, MmuNotifierStart, TlbFlush, Zap, ZapRet
from ..engine.errors import ModelError
from ..engine.observed_containers import keys_within
from ..engine.op import Op
from .stage2 import level_pages
from .vm import INVALID_GFN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..engine.task import Task
    from .inode import HostMapping
    from .kernel import Kernel
    from .memslot import Memslot
    from .stage2 import Spte
    from .vm import Vm


async def kvm_mmu_invalidate_start(self: Kernel, t: Task, vm: Vm, notifier: bool = False) -> None:
    """mmu_lock held for writing: one more invalidation; the first one resets the range.

    `notifier` says that an MMU notifier of host memory began it, which is an event of its own.
    """
    if t.rec is not None:
        t.rec(t, MmuNotifierStart(vm.label) if notifier else MmuInvStart(vm.label))
    if t.traps:
        await t.point(Op("rmw", vm.load_seq.obj))
    vm.in_progress += 1
    if vm.in_progress == 1:
        # Until the range is reset the one of the last invalidation stands: the unlocked test can meet it, and a
        # fault on its gfns is retried for nothing (7.2.13 pv_conv1_punch1_v4 shows one).
        if t.traps:
            await t.point(Op("rmw", vm.load_seq.obj))
        vm.range_start = vm.range_end = INVALID_GFN


async def kvm_mmu_invalidate_range_add(self: Kernel, t: Task, vm: Vm, start: int, end: int) -> None:
    """mmu_lock held for writing: the range becomes the union, whatever `in_progress` is."""
    if t.traps:
        await t.point(Op("rmw", vm.load_seq.obj))
    if vm.range_start == INVALID_GFN and vm.range_end == INVALID_GFN:
        vm.range_start, vm.range_end = start, end
    else:
        vm.range_start = min(vm.range_start, start)
        vm.range_end = max(vm.range_end, end)


async def kvm_mmu_invalidate_end(self: Kernel, t: Task, vm: Vm) -> None:
    """mmu_lock held for writing: the sequence moves first, then the count goes down.

    Raises:
        ModelError: no invalidation was in progress, or no range was ever added (both WARN in the kernel).
    """
    if t.rec is not None:
        t.rec(t, MmuInvEnd(vm.label))
    if t.traps:
        await t.point(Op("rmw", vm.load_seq.obj))
    if vm.in_progress <= 0:
        raise ModelError(f"{t.name} ends an invalidation of {vm.label} that was not started")
    if vm.range_start == INVALID_GFN:
        raise ModelError(f"{t.name} ends an invalidation of {vm.label} without a range")
    vm.seq += 1
    if t.traps:
        await t.point(Op("rmw", vm.load_seq.obj))
    vm.in_progress -= 1


def mmu_invalidate_retry_gfn(self: Kernel, vm: Vm, seq: int, gfn: int) -> bool:
    """The test with mmu_lock held: must a fault on `gfn` with snapshot `seq` be retried?"""
    if vm.in_progress and vm.range_start <= gfn < vm.range_end:
        return True
    return vm.seq != seq


async def mmu_invalidate_retry_gfn_unsafe(self: Kernel, t: Task, vm: Vm, seq: int, gfn: int) -> bool:
    """The same test without the lock: a hint, wrong both ways; the locked test follows."""
    if t.traps:
        await t.point(vm.load_range)
    if vm.in_progress and vm.range_start <= gfn < vm.range_end:
        return True
    if t.traps:
        await t.point(vm.load_seq)
    return vm.seq != seq


async def kvm_unmap_gfn_range(self: Kernel, t: Task, vm: Vm, start: int, end: int, kinds: str) -> bool:
    """Zap the leaves of gfns [start, end) of the `kinds` given; mmu_lock held for writing.

    Before each entry but the first it may give mmu_lock up: flush what it zapped so far, drop the lock, re-take
    it, go on; in-progress keeps faults on the range out meanwhile. The entries behind the last leaf of
    the range count too (guest-memfd.md 1.3; the recordings show flushes behind the last leaf too).
    A large leaf that the range only cuts goes whole, neighbours included: `tdp_mmu_zap_leafs` takes every leaf
    that its walk meets. Where that loses contents the caller splits such leaves first
    (`kvm_split_cross_boundary_leafs`). Returns whether a flush is still due.
    """
    if not self.release.zap_filter:
        kinds = "both"
    rec = t.rec
    if rec is not None:
        rec(t, Zap(vm.label, start, end, kinds))
    flush = False
    for root in vm.stage2.roots(kinds):
        if t.traps:
            await t.point(Op("load", vm.spte_label, start, end, "r"))
        gfn, pages = start - 1, 1
        for gfn in self.leaves_of(vm, root, start, end):
            if gfn > start and self.tdp_mmu_iter_need_resched(t, vm, flush):
                await self.tdp_mmu_iter_cond_resched(t, vm, flush)
                flush = False
            pages = level_pages(root[gfn].level) if vm.stage2.large and gfn in root else 1
            if t.traps:
                await t.point(Op("rmw", vm.spte_label, gfn, gfn + pages))
            spte = root.pop(gfn, None)
            if spte is None:
                continue
            if self.release.zap_dirties:
                self.kvm_set_pfn_dirty(t, spte)
            await t.spend(self.costs.zap_4k)
            if t.engine.cpus is not None:
                await self.move_spte_line(t, vm, gfn, spte.level)
            if vm.stage2.mirrored and spte.private:
                if spte.level > 1:
                    await vm.arch.remove_sptes(t, vm, [(gfn, spte.pfn)], spte.level)
                else:
                    await vm.arch.remove_sptes(t, vm, [(gfn, spte.pfn)])
            flush = True
        if gfn + pages < end and self.tdp_mmu_iter_need_resched(t, vm, flush):
            await self.tdp_mmu_iter_cond_resched(t, vm, flush)
            flush = False
    if rec is not None:
        rec(t, ZapRet(flush))
    return flush


def kvm_set_pfn_dirty(self: Kernel, t: Task, spte: Spte) -> None:
    """`kvm_set_pfn_dirty` of 6.12: `make_spte` makes each entry of guest_memfd's writable, and so dirty."""
    if spte.folio is not None:
        self.folio_mark_dirty(t, spte.folio)


async def kvm_zap_gfn_range(self: Kernel, t: Task, vm: Vm, start: int, end: int) -> None:
    """`kvm_zap_gfn_range`: zap as an invalidation of its own, begun and ended in one section of mmu_lock."""
    await vm.mmu_lock.write_lock(t)
    await self.kvm_mmu_invalidate_start(t, vm)
    await self.kvm_mmu_invalidate_range_add(t, vm, start, end)
    if await self.kvm_unmap_gfn_range(t, vm, start, end, "both"):
        await self.kvm_flush_remote_tlbs(t, vm)
    await self.kvm_mmu_invalidate_end(t, vm)
    await vm.mmu_lock.write_unlock(t)


async def move_spte_line(self: Kernel, t: Task, vm: Vm, gfn: int, level: int) -> None:
    """The line of 8 entries that the leaf stands in (timed runs)."""
    cpus = t.engine.cpus
    assert cpus is not None
    lines = vm.stage2.line_cpus
    line = gfn >> 9 * (level - 1) + 3 << 2 | level
    last, lines[line] = lines.get(line, -1), t.cpu
    await t.spend(cpus.book("SPTE", cpus.distance(last, t.cpu)))


def leaves_of(vm: Vm, root: dict[int, Spte], start: int, end: int) -> list[int]:
    """`leaves_in` with large leaves: the one that begins before the range and reaches into it comes first."""
    leaves = leaves_in(root, start, end)
    found = vm.stage2.covering(root, start) if vm.stage2.large else None
    return [found[0], *leaves] if found is not None and found[0] < start else leaves


async def tdp_mmu_iter_cond_resched(self: Kernel, t: Task, vm: Vm, flush: bool) -> None:
    """Flush what is due, then let others have mmu_lock for a moment."""
    if flush:
        await self.kvm_flush_remote_tlbs(t, vm)
    await vm.mmu_lock.write_unlock(t)
    await vm.mmu_lock.write_lock(t)


def tdp_mmu_iter_need_resched(self: Kernel, t: Task, vm: Vm, flush: bool) -> bool:
    """Whether the zap gives mmu_lock up here (`rwlock_needbreak`, or a reschedule is due).

    Without anybody contending it is a fault point, `need_resched`; `need_resched_idle` while nothing is to flush.
    """
    return vm.mmu_lock.contended() or t.fault("need_resched" if flush else "need_resched_idle")


async def kvm_flush_remote_tlbs(self: Kernel, t: Task, vm: Vm) -> None:
    """No vCPU uses an old translation after this."""
    if t.rec is not None:
        t.rec(t, TlbFlush(vm.label))
    if t.traps:
        await t.point(Op("rmw", vm.tlb_label))
    reached = len(vm.vcpus)
    cpus = t.engine.cpus
    if cpus is not None:
        # kvm_make_all_cpus_request: who is not in the guest flushes on its way in.
        guests = range(len(vm.vcpus)) if cpus.guests is None else cpus.guests
        reached = cpus.interrupt(t, guests, self.costs.exit_entry)
    await t.spend(self.costs.tlb_shootdown(reached))
    vm.flush_tlbs()


async def mmu_notifier_invalidate_start(
    self: Kernel, t: Task, mapping: HostMapping, start: int, end: int
) -> list[Vm]:
    """`kvm_mmu_notifier_invalidate_range_start`: host entries of [start, end) of a mapping are about to go.

    Concerns every slot whose userspace address lies in the mapping, whether or not an entry is present. Returns
    the VMs that were told, for the end; none of them publishes another slot array before it.
    """
    vms = list(mapping.vms)
    for vm in vms:
        if t.traps:
            await t.point(vm.mn_active_op)
        vm.mn_active.append(t)
        flush = locked = False
        for first, last in self.hva_ranges(vm, mapping, start, end):
            if not locked:
                locked = True
                await vm.mmu_lock.write_lock(t)
                await self.kvm_mmu_invalidate_start(t, vm, notifier=True)
            await self.kvm_mmu_invalidate_range_add(t, vm, first, last)
            flush |= await self.kvm_unmap_gfn_range(t, vm, first, last, "shared")
        if flush:
            await self.kvm_flush_remote_tlbs(t, vm)
        if locked:
            await vm.mmu_lock.write_unlock(t)
    return vms


async def mmu_notifier_invalidate_end(
    self: Kernel, t: Task, mapping: HostMapping, start: int, end: int, vms: list[Vm]
) -> None:
    """`kvm_mmu_notifier_invalidate_range_end` for the VMs that were told of the start."""
    for vm in vms:
        if self.hva_ranges(vm, mapping, start, end):
            await vm.mmu_lock.write_lock(t)
            await self.kvm_mmu_invalidate_end(t, vm)
            await vm.mmu_lock.write_unlock(t)
        if t.traps:
            await t.point(vm.mn_active_op)
        vm.mn_active.remove(t)
        vm.mn_wait.changed(t)


def mmu_notifier_slots(self: Kernel, vm: Vm, mapping: HostMapping) -> list[Memslot]:
    """Published slots whose userspace address lies in `mapping`."""
    return [slot for slot in vm.slots if slot.hva is mapping]


def hva_ranges(self: Kernel, vm: Vm, mapping: HostMapping, start: int, end: int) -> list[tuple[int, int]]:
    """Per such slot, its gfns whose userspace address shows file indices [start, end) of `mapping`."""
    found = []
    for slot in self.mmu_notifier_slots(vm, mapping):
        shift = slot.base_gfn - mapping.start - slot.user_offset
        low, high = max(slot.base_gfn, start + shift), min(slot.base_gfn + slot.pages, end + shift)
        if low < high:
            found.append((low, high))
    return found


def leaves_in(root: Mapping[int, object], start: int, end: int) -> list[int]:
    """Mapped gfns of [start, end), in order, at a cost bounded by the smaller of range and table."""
    return keys_within(root, start, end)
