"""The stage-2 fault path of x86's TDP MMU (guest-memfd.md 4.6): from a guest access to an installed SPTE, or a retry.

Read from top to bottom it follows kvm_tdp_page_fault, kvm_mmu_faultin_pfn, __kvm_mmu_faultin_pfn and
kvm_tdp_mmu_map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..arch.memory import ZERO
from ..audit.kvm_events import (
    ExitMemoryFault,
    ExitMmio,
    Faultin,
    FaultinRet,
    Map,
    MapRet,
    PageFault,
    Retry,
    TdpFault,
    TdpFaultRet,
)
from ..engine.op import Op
from .errno import EAGAIN, EBUSY, EFAULT, EINTR, EIO, ENOENT, ENOMEM
from .fault import Fault, RetPf
from .mm_locks import allocated
from .stage2 import PG_LEVEL_4K, Spte

if TYPE_CHECKING:
    from ..engine.task import Task
    from .kernel import Kernel
    from .memslot import Memslot
    from .vm import Vcpu


async def kvm_mmu_do_page_fault(
    self: Kernel, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, prefetch: bool = False
) -> int:
    """One attempt to handle an access to `gfn`: a `RetPf` value or a negative errno.

    `private` None: the hardware has no such bit, and KVM's own idea of the gfn is taken, here at fault entry.
    """
    vm = vcpu.vm
    rec = t.rec
    if rec is not None and not prefetch:
        rec(t, PageFault(gfn, bool(private)))
    cpus = t.engine.cpus
    await t.spend(self.costs.fault_entry if cpus is None else self.costs.fault_entry + cpus.stolen(t.cpu))
    if private is None:
        # In kvm_mmu_page_fault, before the slot is looked up.
        private = await self.kvm_mem_is_private(t, vm, gfn)
    if t.traps:
        await t.point(vm.load_slots)
    slot = vm.slot_of(gfn)
    if not prefetch and not (private and vm.stage2.mirrored):
        # vcpu_enter_guest has freed an obsolete root (KVM_REQ_MMU_FREE_OBSOLETE_ROOTS) and loaded a new one.
        vcpu.root_generation = vm.root_generation
    fault = Fault(vcpu, gfn, private, prefetch)
    fault.slot = slot
    if rec is not None:
        rec(t, TdpFault(gfn))
    ret = await self.kvm_tdp_page_fault(t, fault)
    vcpu.goal_level = fault.goal_level
    if rec is not None:
        rec(t, TdpFaultRet(ret))
    return ret


async def kvm_tdp_map_page(self: Kernel, t: Task, vcpu: Vcpu, gfn: int, private: bool) -> int:
    """`kvm_tdp_map_page`, without a guest access: 0 when it is mapped, else an errno; a RETRY is looped here.

    Later `kvm_tdp_page_prefault`. Before each try, the first too, it looks for a signal and then for KVM_REQ_VM_DEAD.
    """
    while True:
        if t.signalled():
            return EINTR
        if self.release.prefault_vm_dead and vcpu.vm.dead:
            return EIO
        ret = await self.kvm_mmu_do_page_fault(t, vcpu, gfn, private, prefetch=True)
        if ret != RetPf.RETRY:
            break
    if ret == RetPf.EMULATE:
        return ENOENT
    return min(ret, 0)


async def kvm_tdp_page_fault(self: Kernel, t: Task, fault: Fault) -> int:
    """Find the pfn, then map it under mmu_lock unless an invalidation got in between."""
    vm = fault.vcpu.vm
    if t.fault("mmu_topup"):
        return ENOMEM
    ret = await self.kvm_mmu_faultin_pfn(t, fault)
    if ret != RetPf.CONTINUE:
        return ret
    await vm.mmu_lock.read_lock(t)
    if t.traps:
        await t.point(vm.load_seq)
    if fault.generation != vm.root_generation:
        ret = self.retry(t, fault, "stale")
    elif fault.slot is None:
        ret = await self.tdp_mmu_map_mmio(t, fault)
    elif self.mmu_invalidate_retry_gfn(vm, fault.seq, fault.gfn):
        ret = self.retry(t, fault, "late")
    else:
        ret = await self.kvm_tdp_mmu_map(t, fault)
    if self.release.put_under_mmu_lock:
        await self.kvm_mmu_finish_page_fault(t, fault, ret)
        await vm.mmu_lock.read_unlock(t)
    else:
        await vm.mmu_lock.read_unlock(t)
        await self.kvm_release_faultin_pfn(t, fault)
    return ret


async def kvm_mmu_finish_page_fault(self: Kernel, t: Task, fault: Fault, ret: int) -> None:
    """`kvm_mmu_finish_page_fault` (6.13 and later), under mmu_lock: the page is dirty unless the fault is a retry.

    map_writable is true for all of guest_memfd's pages, whose slots cannot be READONLY: so reads and pre-faults
    dirty them too.
    """
    if ret != RetPf.RETRY and fault.folio is not None:
        self.folio_mark_dirty(t, fault.folio)
    await self.kvm_release_faultin_pfn(t, fault)


async def tdp_mmu_map_mmio(self: Kernel, t: Task, fault: Fault) -> int:
    """The part of `kvm_tdp_mmu_map` for a gfn without a slot: an MMIO SPTE, and the VMM emulates the access.

    Invalidations do not matter to it. The entry is a cache that the generation of the slots makes void, so the
    model keeps none: each access to such a gfn takes this path. A leaf that is there by now (the slot was made, and
    another vCPU mapped its page, since the fault found none) stays: the fault is spurious, with a WARN, as seen on
    7.3.4. Before 6.13 the kernel writes its MMIO SPTE over it; the model leaves the leaf there, too.
    """
    vm = fault.vcpu.vm
    if t.rec is not None:
        t.rec(t, Map(fault.gfn, fault.pfn, 1))
    await t.spend(self.costs.spte_install)
    if t.traps:
        await t.point(Op("load", vm.spte_label, fault.gfn, fault.gfn + 1, "r"))
    there = self.release.spurious_if_allowed and vm.stage2.find(fault.gfn, fault.private) is not None
    ret = self.noslot_over_leaf(t, fault) if there else RetPf.EMULATE
    if t.rec is not None:
        t.rec(t, MapRet(ret))
        if ret == RetPf.EMULATE:
            t.rec(t, ExitMmio(fault.gfn))
    return ret


def noslot_over_leaf(self: Kernel, t: Task, fault: Fault) -> int:
    """The part of `tdp_mmu_map_handle_target_level` that compares the frames, and here warns (WARN_ON_ONCE)."""
    return RetPf.SPURIOUS


async def kvm_release_faultin_pfn(self: Kernel, t: Task, fault: Fault) -> None:
    """Drop the reference that get_pfn handed out, if there is one."""
    if fault.folio is None:
        return
    if fault.slot is not None and fault.slot.gmem_file is not None:
        await self.folio_put(t, fault.slot.gmem_file.inode, fault.folio)
    else:
        # The file went away meanwhile; the reference counts all the same.
        fault.folio.ref -= 1
        if not fault.folio.ref:
            self.free_page(t, fault.folio)


def retry(self: Kernel, t: Task, fault: Fault, reason: str) -> int:
    """Log why the fault is given up for now."""
    if t.rec is not None:
        t.rec(t, Retry(fault.gfn, reason))
    return RetPf.RETRY


async def kvm_mmu_faultin_pfn(self: Kernel, t: Task, fault: Fault) -> int:
    """`kvm_mmu_faultin_pfn`: 0 with `fault.pfn` set, or how the fault ends."""
    if t.rec is not None:
        t.rec(t, Faultin(fault.gfn))
    ret = await self._faultin(t, fault)
    if t.rec is not None:
        t.rec(t, FaultinRet(ret))
    return ret


async def _faultin(self: Kernel, t: Task, fault: Fault) -> int:
    vm = fault.vcpu.vm
    gfn = fault.gfn
    if t.traps:
        await t.point(vm.load_seq)
    fault.seq = vm.seq
    if fault.private != await self.kvm_mem_is_private(t, vm, gfn):
        return self.memory_fault_exit(t, fault, EFAULT)
    slot = fault.slot
    if slot is None:
        # kvm_handle_noslot_fault: an MMIO SPTE is installed and the access emulated.
        return self.memory_fault_exit(t, fault, EFAULT) if fault.private else RetPf.CONTINUE
    self.use_memslot(t, slot)
    if slot.invalid:
        if fault.prefetch and self.release.prefault_invalid_slot_eagain:
            return EAGAIN
        return self.retry(t, fault, "invalid_slot")
    if await self.mmu_invalidate_retry_gfn_unsafe(t, vm, fault.seq, gfn):
        return self.retry(t, fault, "early")
    ret = await self.kvm_mmu_faultin_pfn_of_kind(t, fault, slot)
    if ret:
        return ret
    if await self.mmu_invalidate_retry_gfn_unsafe(t, vm, fault.seq, gfn):
        await self.kvm_release_faultin_pfn(t, fault)
        fault.folio = None
        return self.retry(t, fault, "late")
    return RetPf.CONTINUE


async def kvm_mmu_faultin_pfn_of_kind(self: Kernel, t: Task, fault: Fault, slot: Memslot) -> int:
    """`__kvm_mmu_faultin_pfn`: guest_memfd for private memory and gmem-only slots, else host memory."""
    vm = fault.vcpu.vm
    self.use_memslot(t, slot)
    if not (fault.private or slot.gmem_only):
        return await self.kvm_faultin_hva(t, fault, slot)
    if not slot.gmem:
        return self.memory_fault_exit(t, fault, EFAULT)
    rec = t.rec
    ident = self.request(t, self.gmem_label(slot), "get_pfn", f"gfn={fault.gfn:#x}") if rec else 0
    ret, folio = await self.kvm_gmem_get_pfn(t, vm, slot, fault.gfn)
    if rec is not None:
        self.answer(t, ident, "get_pfn", str(ret))
    if ret:
        return self.memory_fault_exit(t, fault, ret)
    fault.folio = folio
    if folio is not None:
        fault.order = folio.order
        fault.pfn = folio.pfn
        if folio.order:
            fault.pfn += slot.index_of(fault.gfn) - folio.index
    return 0


def gmem_label(slot: Memslot) -> str:
    """Name of the filemap actor behind a slot, for the log."""
    return "-" if slot.gmem_file is None else slot.gmem_file.inode.label


async def kvm_faultin_hva(self: Kernel, t: Task, fault: Fault, slot: Memslot) -> int:
    """Shared memory of a two-source slot: the VMM's own buffer, its frames allocated at first touch."""
    user = slot.user
    if user is None:
        return EFAULT
    page = fault.gfn - slot.base_gfn + slot.user_offset
    if t.traps:
        await t.point(Op("rmw", user.label, page, page + 1))
    pfn = user.frames.get(page)
    if pfn is None:
        pfn = self.memory.allocate()
        if pfn is None:
            # Whatever GUP said, kvm_handle_error_pfn makes it a plain -EFAULT without an exit.
            return EFAULT
        self.memory.write(pfn, ZERO)
        user.frames[page] = pfn
    await t.spend(self.costs.gup)
    fault.pfn = pfn
    return 0


def memory_fault_exit(self: Kernel, t: Task, fault: Fault, ret: int) -> int:
    """`kvm_mmu_prepare_memory_fault_exit`: fill in the exit and pass the errno on unchanged."""
    vcpu = fault.vcpu
    vcpu.exit_reason = "memory_fault"
    vcpu.exit_gfn = fault.gfn
    vcpu.exit_private = fault.private
    if t.rec is not None:
        t.rec(t, ExitMemoryFault(fault.gfn, fault.private, ret))
    return ret


async def kvm_tdp_mmu_map(self: Kernel, t: Task, fault: Fault) -> int:
    """`kvm_tdp_mmu_map`, mmu_lock held for reading: read the entry, then compare-exchange it."""
    vm = fault.vcpu.vm
    gfn = fault.gfn
    rec = t.rec
    if fault.slot is not None:
        self.use_memslot(t, fault.slot)
    level = await self.kvm_mmu_hugepage_adjust(t, fault) if fault.order >= 9 else 1
    if rec is not None:
        rec(t, Map(gfn, fault.pfn, level))
    if fault.order >= 9 or vm.stage2.large:
        ret = await self.tdp_mmu_map_level(t, fault, level)
        if rec is not None:
            rec(t, MapRet(ret))
        return ret
    if not await self.tdp_mmu_link_tables(t, fault):
        if rec is not None:
            rec(t, MapRet(RetPf.RETRY))
        return self.retry(t, fault, "spte")
    root = vm.stage2.root(fault.private)
    if t.traps:
        await t.point(Op("load", vm.spte_label, gfn, gfn + 1, "r"))
    old = root.get(gfn)
    new = Spte(fault.pfn, 1, fault.private, fault.folio)
    if old is not None and old.pfn < 0:
        # Frozen: another vCPU is about to publish a leaf here (`is_frozen_spte`).
        ret = self.retry(t, fault, "frozen")
    elif old is not None and self.release.spurious_if_allowed:
        # A leaf that allows the access stays, with another frame too (a WARN in the kernel).
        ret = RetPf.SPURIOUS
    elif old is not None and old.pfn == new.pfn and old.private == new.private:
        ret = self.rewrite_spte(t, fault)
    else:
        ret = await self.tdp_mmu_set_spte_atomic(t, fault, root, old, new)
    if rec is not None:
        rec(t, MapRet(ret))
    return ret


def rewrite_spte(self: Kernel, t: Task, fault: Fault) -> int:
    """Before 6.13: accessed or dirty bits set by hardware make the entries differ, and the fault writes it anew.

    The compare-exchange fails if hardware sets another bit in between. Which of the three happens is a draw.
    """
    drawn = t.draw("spte.accessed", 3)
    return self.retry(t, fault, "spte") if drawn == 2 else (RetPf.SPURIOUS, RetPf.FIXED)[drawn]


async def tdp_mmu_link_tables(self: Kernel, t: Task, fault: Fault) -> bool:
    """`tdp_mmu_link_sp` for each missing level: False if another vCPU linked a page there first."""
    vm = fault.vcpu.vm
    tables = vm.stage2.tables(fault.private)
    gfn = fault.gfn
    if (2, gfn >> 9) in tables:
        # Page-table pages only go with the whole root, so the lowest one stands for all.
        return True
    for level in (4, 3, 2):
        key = (level, gfn >> 9 * (level - 1))
        span = 9 * (level - 1)
        low, high = gfn >> span << span, ((gfn >> span) + 1) << span
        if t.traps:
            await t.point(Op("load", vm.table_label, low, high, "r"))
        if key in tables:
            continue
        await t.spend(self.costs.alloc_4k)
        await allocated(t)
        if t.traps:
            await t.point(Op("rmw", vm.table_label, low, high))
        if key in tables:
            return False
        tables.add(key)
    return True


async def tdp_mmu_set_spte_atomic(
    self: Kernel, t: Task, fault: Fault, root: dict[int, Spte], old: Spte | None, new: Spte
) -> int:
    """Install `new` if the entry is still `old`; with a mirror root the arch acts before it is published."""
    vm = fault.vcpu.vm
    gfn = fault.gfn
    await t.spend(self.costs.spte_install)
    if t.traps:
        await t.point(Op("rmw", vm.spte_label, gfn, gfn + 1))
    elif t.engine.cpus is not None:
        await self.move_spte_line(t, vm, gfn, PG_LEVEL_4K)
    if root.get(gfn) is not old:
        return self.retry(t, fault, "spte")
    if vm.stage2.mirrored and fault.private:
        frozen = Spte(-1, 1, True, None)
        root[gfn] = frozen
        ret = await vm.arch.set_spte(t, vm, gfn, new.pfn, True)
        if ret:
            if old is None:
                del root[gfn]
            else:
                root[gfn] = old
            return self.retry(t, fault, "busy") if ret == EBUSY else ret
    root[gfn] = new
    return RetPf.FIXED
