"""KVM_PRE_FAULT_MEMORY: the fault path driven by an ioctl of the vCPU (guest-memfd.md 4.6, end)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.kvm_events import PreFault, PreFaultRet
from .errno import EINTR, EINVAL, EIO, EOPNOTSUPP
from .stage2 import align

if TYPE_CHECKING:
    from ..engine.task import Task
    from .kernel import Kernel
    from .vm import Vcpu, Vm

PAGE = 4096


async def kvm_vcpu_pre_fault_memory(
    self: Kernel, t: Task, vcpu: Vcpu, gpa: int, size: int, flags: int = 0
) -> tuple[int, int, int]:
    """Map [gpa, gpa + size) (bytes) without a guest access: (result, gpa reached, size left).

    The result is 0 as soon as any page was mapped, even if a later one failed. Whether the VM is dead is asked before
    the vCPU's mutex is waited for (`kvm_vcpu_ioctl`), and then at each try only (`kvm_tdp_map_page`).
    """
    if vcpu.vm.dead:
        ret = EIO
    else:
        locked = await self.vcpu_ioctl_lock(t, vcpu)
        ret, gpa, size = await self._pre_fault(t, vcpu, gpa, size, flags)
        if locked:
            await vcpu.mutex.unlock(t)
    if t.rec is not None:
        t.rec(t, PreFaultRet(ret, gpa, size))
    return ret, gpa, size


async def _pre_fault(
    self: Kernel, t: Task, vcpu: Vcpu, gpa: int, size: int, flags: int
) -> tuple[int, int, int]:
    vm = vcpu.vm
    if not self.release.prefault or flags or gpa % PAGE or size % PAGE or size <= 0 or gpa + size >= 1 << 64:
        # No such ioctl: `kvm_arch_vcpu_ioctl` has the same answer.
        return EINVAL, gpa, size
    section = await vm.srcu.read_lock(t)
    full = size
    error = 0
    while size:
        if t.signalled():
            error = EINTR
            break
        error = await self.kvm_arch_vcpu_pre_fault_memory(t, vcpu, gpa, size)
        if error:
            break
        # To the end of the mapping that covers gpa, which may be a huge page (guest-memfd.md 4.6 rule d).
        done = min(size, align(gpa // PAGE, vcpu.goal_level)[1] * PAGE - gpa)
        gpa += done
        size -= done
    await vm.srcu.read_unlock(t, section)
    await self.task_work_run(t)
    return (0 if size != full else error), gpa, size


def pre_fault_allowed(self: Kernel, vm: Vm) -> bool:
    """`kvm->arch.pre_fault_allowed`: from the end of a launch on."""
    return vm.finalized


def kvm_mmu_reload(self: Kernel, t: Task, vcpu: Vcpu) -> None:
    """`kvm_mmu_reload`: a root that has become obsolete goes, and the vCPU has a new one.

    A pre-fault does this once for each page, and not before each try: a fault whose root becomes obsolete after it is
    tried again for ever (`kvm_tdp_page_prefault` of 7.3.4). KVM_RUN comes here between any two faults.
    """
    if self.release.reload_frees_roots or vcpu.root_generation is None:
        vcpu.root_generation = vcpu.vm.root_generation


async def kvm_arch_vcpu_pre_fault_memory(self: Kernel, t: Task, vcpu: Vcpu, gpa: int, size: int) -> int:
    """One page: 0 when it is mapped, else an errno; a RETRY is looped here."""
    vm = vcpu.vm
    gfn = gpa // PAGE
    if t.rec is not None:
        t.rec(t, PreFault(gpa, size))
    if not self.pre_fault_allowed(vm):
        return EOPNOTSUPP
    if gfn & vm.arch.gfn_direct_bits:
        return EINVAL
    self.kvm_mmu_reload(t, vcpu)
    private = await self.kvm_mem_is_private(t, vm, gfn)
    return await self.kvm_tdp_map_page(t, vcpu, gfn, private)
