"""What makes all roots of a VM obsolete: the deletion of a slot (quirk SLOT_ZAP_ALL), and a write of nx_huge_pages.

The third, the MMIO generation of the slots that wraps (`kvm_mmu_invalidate_mmio_sptes`), takes more changes of slots
than a run has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.kvm_events import TlbFlush, Zap
from ..engine.locks.mutex import Mutex
from ..engine.op import Op

if TYPE_CHECKING:
    from ..engine.task import Task
    from .kernel import Kernel
    from .vm import Vm


async def kvm_mmu_zap_all_fast_front_half(self: Kernel, t: Task, vm: Vm) -> None:
    """`__kvm_mmu_zap_all_fast_front_half`, slots_lock and mmu_lock (for writing) held.

    Each direct root becomes obsolete, and each vCPU is asked to free its own: KVM_RUN does before its next fault. The
    leaves below, which the kernel removes afterwards (`kvm_tdp_mmu_zap_invalidated_roots`), go in the same step. A
    mirror root stays with all that it maps (`KVM_DIRECT_ROOTS`).
    """
    if t.rec is not None:
        t.rec(t, Zap(vm.label, 0, 1 << 40, "shared" if vm.stage2.mirrored else "both"))
    if t.traps:
        await t.point(Op("rmw", vm.spte_label))
    vm.root_generation += 1
    if self.release.zap_dirties:
        for _, spte in vm.stage2.all():
            self.kvm_set_pfn_dirty(t, spte)
    vm.stage2.clear()
    vm.flush_tlbs()
    if t.rec is not None:
        t.rec(t, TlbFlush(vm.label))


async def kvm_mmu_zap_all_fast(self: Kernel, t: Task, vm: Vm) -> None:
    """`kvm_mmu_zap_all_fast`, slots_lock held. It waits for no SRCU section."""
    await vm.mmu_lock.write_lock(t)
    await self.kvm_mmu_zap_all_fast_front_half(t, vm)
    await vm.mmu_lock.write_unlock(t)


async def set_nx_huge_pages(self: Kernel, t: Task) -> None:
    """`set_nx_huge_pages`: root writes another value to the parameter than it has, and each VM of the host is done.

    The same value would change nothing. One mutex stands for `kernel_param_lock`, which keeps two writes apart, and
    for kvm_lock, which guards the list of VMs: nobody else takes either, since no VM is made or goes. What the value
    says to later faults (a huge page that is executed is mapped in 4 KiB) is left out.
    """
    if self.world.vm_list_lock is None:
        self.world.vm_list_lock = Mutex("vm_list_lock")
    lock = self.world.vm_list_lock
    await lock.lock(t)
    # list_add: the newest VM comes first.
    for vm in reversed(tuple(self.world.vms.values())):
        await vm.slots_lock.lock(t)
        await self.kvm_mmu_zap_all_fast(t, vm)
        await vm.slots_lock.unlock(t)
    await lock.unlock(t)
