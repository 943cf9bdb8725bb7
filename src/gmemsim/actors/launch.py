"""The launch of SNP and TDX VMs: which locks its ioctls hold, and how it ends (sev.c, tdx.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.kvm_events import LaunchFinish
from .errno import EINVAL, EIO

if TYPE_CHECKING:
    from ..engine.task import Task
    from .kernel import Kernel
    from .vm import Vcpu, Vm


async def kvm_lock_all_vcpus(self: Kernel, t: Task, vm: Vm) -> None:
    """`kvm_lock_all_vcpus`, kvm->lock held. No vCPU is being created here, so it cannot fail."""
    for vcpu in vm.vcpus:
        await vcpu.mutex.lock(t)


async def kvm_unlock_all_vcpus(self: Kernel, t: Task, vm: Vm) -> None:
    """`kvm_unlock_all_vcpus`."""
    for vcpu in vm.vcpus:
        await vcpu.mutex.unlock(t)


async def vcpu_ioctl_lock(self: Kernel, t: Task, vcpu: Vcpu) -> bool:
    """`vcpu->mutex` of KVM_RUN and KVM_PRE_FAULT_MEMORY: whether it was taken.

    Only commands of a launch take the mutexes of other tasks' vCPUs here, so when it is over, and no such command comes
    late (`Vm.late_launch`), or takes none, they are left out. A dead VM answers -EIO before that (`kvm_vcpu_ioctl`).

    The kernel takes it with `mutex_lock_killable`, as `kvm_lock_all_vcpus` does: -EINTR for a task that is killed. A
    signal that is handled, the only kind that there is here, does not end the wait.
    """
    vm = vcpu.vm
    if (vm.finalized and not vm.late_launch) or vm.dead:
        return False
    if not vm.arch.needs_launch or (vm.arch.encrypted_state and not self.release.snp_finish_locks_vcpus):
        return False
    await vcpu.mutex.lock(t)
    return True


async def launch_update_lock(self: Kernel, t: Task, vm: Vm, errno: int = 0) -> int:
    """What SNP_LAUNCH_UPDATE or KVM_TDX_INIT_MEM_REGION hold around populate: 0, or -EIO (the VM is dead).

    `errno`: what its arguments alone make of the command, which is the answer then. That is found out with the first
    locks held; SNP_LAUNCH_UPDATE, and KVM_TDX_INIT_MEM_REGION to 6.18, come to slots_lock later, and not any more.
    """
    if vm.dead:
        return EIO
    all_locks = vm.arch.populate_maps and self.release.tdx_launch_all_locks
    if all_locks or not vm.arch.populate_maps:
        await vm.lock.lock(t)
    if all_locks:
        # tdx_acquire_vm_state_locks
        await self.kvm_lock_all_vcpus(t, vm)
    elif vm.arch.populate_maps:
        for vcpu in _vcpu_of_update(vm):
            await vcpu.mutex.lock(t)
    if all_locks or not errno:
        await vm.slots_lock.lock(t)
    if errno:
        await self.launch_update_unlock(t, vm, all_locks)
    return errno


def _vcpu_of_update(vm: Vm) -> list[Vcpu]:
    """Whose ioctl KVM_TDX_INIT_MEM_REGION is: the first one's, as VMMs do it; none in a test without vCPUs."""
    return vm.vcpus[:1]


async def launch_update_unlock(self: Kernel, t: Task, vm: Vm, slots_lock: bool = True) -> None:
    """Give them back; then the work that populate put off, such as the release of a file."""
    if slots_lock:
        await vm.slots_lock.unlock(t)
    if not vm.arch.populate_maps:
        await vm.lock.unlock(t)
    elif self.release.tdx_launch_all_locks:
        await self.kvm_unlock_all_vcpus(t, vm)
        await vm.lock.unlock(t)
    else:
        for vcpu in _vcpu_of_update(vm):
            await vcpu.mutex.unlock(t)
    await self.task_work_run(t)


async def launch_finish(self: Kernel, t: Task, vm: Vm) -> int:
    """SNP_LAUNCH_FINISH or KVM_TDX_FINALIZE_VM: from now on memory may be mapped.

    0; -EINVAL (TDX: finalized already; SNP: a vCPU's state is encrypted already); -EIO (firmware, or a dead VM).
    """
    ret = EIO
    if not vm.dead:
        await vm.lock.lock(t)
        ret = await self._launch_finish(t, vm)
        if ret == 0:
            vm.finalized = True
        await vm.lock.unlock(t)
    if t.rec is not None:
        t.rec(t, LaunchFinish(ret))
    return ret


async def _launch_finish(self: Kernel, t: Task, vm: Vm) -> int:
    if vm.arch.encrypted_state:
        return await self.snp_launch_update_vmsa(t, vm) or await vm.arch.launch_finish(t, vm)
    if not vm.arch.populate_maps:
        return EINVAL if vm.finalized else await vm.arch.launch_finish(t, vm)
    all_locks = self.release.tdx_launch_all_locks
    if all_locks:
        await self.kvm_lock_all_vcpus(t, vm)
    await vm.slots_lock.lock(t)
    # tdx_td_finalize looks at the TD's state with the locks held.
    ret = EINVAL if vm.finalized else await vm.arch.launch_finish(t, vm)
    await vm.slots_lock.unlock(t)
    if all_locks:
        await self.kvm_unlock_all_vcpus(t, vm)
    return ret


async def snp_launch_update_vmsa(self: Kernel, t: Task, vm: Vm) -> int:
    """`snp_launch_update_vmsa`: each vCPU's registers go into its VMSA and are encrypted: 0 or -EINVAL.

    The VMSA pages and the firmware's command for each are left out. A launch whose last command fails after this
    cannot be finished any more.
    """
    locks = self.release.snp_finish_locks_vcpus
    if locks:
        await self.kvm_lock_all_vcpus(t, vm)
    ret = 0
    for vcpu in vm.vcpus:
        ret = self.sev_es_sync_vmsa(t, vcpu)
        if ret:
            break
        vcpu.state_protected = True
    if locks:
        await self.kvm_unlock_all_vcpus(t, vm)
    return ret


def sev_es_sync_vmsa(self: Kernel, t: Task, vcpu: Vcpu) -> int:
    """`sev_es_sync_vmsa`: 0, or -EINVAL for a VMSA that is the guest's already."""
    return EINVAL if vcpu.state_protected else 0
