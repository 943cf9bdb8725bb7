"""AP creation of SEV-SNP: how a vCPU comes to a VMSA in guest memory, loses it and loads it again (see `vmsa`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.kvm_events import ApCreation, VmsaReload
from .errno import EFAULT, EINVAL
from .fault import Fault
from .vmsa import INVALID_PAGE, Vmsa

if TYPE_CHECKING:
    from ..engine.task import Task
    from .kernel import Kernel
    from .vm import Vcpu


async def sev_snp_ap_creation(self: Kernel, t: Task, target: Vcpu, gfn: int) -> int:
    """`sev_snp_ap_creation`: 0, or -EINVAL for an address that is aligned to 2 MiB.

    The guest asks `target` to go on with the VMSA at `gfn` (INVALID_PAGE: to end, AP_DESTROY).
    """
    if gfn != INVALID_PAGE and gfn % 512 == 0:
        # A 2M page that the guest made a VMSA would trip over the RMP's erratum.
        return EINVAL
    if target.vmsa is None:
        target.vmsa = Vmsa(target.label)
    vmsa = target.vmsa
    await vmsa.mutex.lock(t)
    if t.traps:
        await t.point(vmsa.op)
    vmsa.pending = gfn
    vmsa.waiting = vmsa.update = True
    if t.rec is not None:
        t.rec(t, ApCreation(target.label, gfn))
    await vmsa.mutex.unlock(t)
    return 0


async def vcpu_enter_guest(self: Kernel, t: Task, vcpu: Vcpu, vmsa: Vmsa) -> int:
    """`vcpu_enter_guest` to VMRUN: 0 in guest mode, -EINVAL (no VMSA) or -EFAULT (VMRUN refused it).

    A request that comes up to the moment in which the vCPU counts as in guest mode is seen.
    """
    while True:
        if t.traps:
            await t.point(vmsa.op)
        if vmsa.update or vmsa.reload:
            await self.vcpu_vmsa_requests(t, vcpu, vmsa)
            continue
        if vmsa.pfn == INVALID_PAGE:
            return EINVAL
        if not vcpu.vm.arch.vmrun(t, vcpu.vm, vmsa.pfn):
            return EFAULT
        vmsa.running = True
        return 0


async def vcpu_exit_guest(self: Kernel, t: Task, vcpu: Vcpu, vmsa: Vmsa) -> None:
    """The vCPU leaves the guest, and hardware the page."""
    if t.traps:
        await t.point(vmsa.op)
    vcpu.vm.arch.vmexit(t, vmsa.pfn)
    vmsa.running = False
    vmsa.exited.changed(t)


async def vcpu_vmsa_requests(self: Kernel, t: Task, vcpu: Vcpu, vmsa: Vmsa) -> None:
    """One request of the present step: the state of an AP that was created anew, or a reload.

    With kvm->srcu and snp_vmsa_mutex held.
    """
    reload = not vmsa.update
    if reload:
        vmsa.reload = False
    else:
        vmsa.update = False
    section = await vcpu.vm.srcu.read_lock(t)
    await vmsa.mutex.lock(t)
    if reload:
        await self.sev_snp_reload_vmsa(t, vcpu, vmsa, vmsa.gfn)
    elif vmsa.waiting:
        # sev_snp_init_protected_guest_state
        vmsa.waiting = False
        gfn, vmsa.pending = vmsa.pending, INVALID_PAGE
        await self.sev_snp_reload_vmsa(t, vcpu, vmsa, gfn)
    await vmsa.mutex.unlock(t)
    await vcpu.vm.srcu.read_unlock(t, section)
    await self.task_work_run(t)


async def sev_vmsa_mmu_lock(self: Kernel, t: Task, fault: Fault) -> None:
    """Between the look-up of a VMSA's page and its use; the page's reference stays, as in 7.2.13 and 7.3.4."""
    await fault.vcpu.vm.mmu_lock.read_lock(t)


async def sev_snp_reload_vmsa(self: Kernel, t: Task, vcpu: Vcpu, vmsa: Vmsa, gfn: int) -> None:
    """`__sev_snp_reload_vmsa`: drop what was there, look the page up, use it unless it is being invalidated.

    Before 7.2 `__sev_snp_update_protected_guest_state`, which takes whatever page it finds.
    """
    vm = vcpu.vm
    if t.traps:
        await t.point(vmsa.op)
    vmsa.pfn = vmsa.gfn = INVALID_PAGE
    if gfn == INVALID_PAGE:
        return
    if t.traps:
        await t.point(vm.load_slots)
    slot = vm.slot_of(gfn)
    if slot is None:
        return
    if t.traps:
        await t.point(vm.load_seq)
    seq = vm.seq
    fault = Fault(vcpu, gfn, True, False)
    fault.slot = slot
    ret, fault.folio = await self.kvm_gmem_get_pfn(t, vm, slot, gfn)
    if ret or fault.folio is None:
        if t.rec is not None:
            t.rec(t, VmsaReload(vcpu.label, gfn, ret))
        return
    pfn = fault.folio.pfn + slot.index_of(gfn) - fault.folio.index
    if not self.release.vmsa_reload:
        # 6.12.107: no look at invalidations, and nothing by which one could find the vCPU later.
        if t.traps:
            await t.point(vmsa.op)
        vmsa.pfn = pfn
        if t.rec is not None:
            t.rec(t, VmsaReload(vcpu.label, gfn, 0))
        await self.kvm_release_faultin_pfn(t, fault)
        return
    await self.sev_vmsa_mmu_lock(t, fault)
    if t.traps:
        await t.point(vmsa.op)
    vmsa.gfn = gfn
    retry = self.mmu_invalidate_retry_gfn(vm, seq, gfn)
    if retry:
        vmsa.reload = True
    else:
        vmsa.pfn = pfn
    if t.rec is not None:
        t.rec(t, VmsaReload(vcpu.label, gfn, int(retry)))
    await vm.mmu_lock.read_unlock(t)
    await self.kvm_release_faultin_pfn(t, fault)
