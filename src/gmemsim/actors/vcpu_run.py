"""A vCPU thread: guest accesses, the faults they cause, and exits to the VMM."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..arch.base import GuestAccess
from ..audit.kvm_events import GuestTouch
from ..engine.op import Op
from .errno import EFAULT, EINVAL, EIO, EOPNOTSUPP
from .fault import RetPf
from .stage2 import level_pages

if TYPE_CHECKING:
    from ..engine.task import Task
    from .kernel import Kernel
    from .stage2 import Spte
    from .vm import Vcpu, Vm

#: Translations that a vCPU keeps in a timed run: about as many as the TLBs of servers since 2020 have at level two.
TLB_ENTRIES: Final = 3072


@attrs.frozen
class GuestResult:
    """How a guest access ended.

    Attributes:
        kind: `ok`, `exit_memory_fault`, `exit_mmio`, `exit_fail_entry` (hardware refuses the entry), `error` (KVM_RUN
            failed), `exception` (in the guest) or `dead`.
        value: what was read or written (`ok`), or the exception.
        errno: what KVM_RUN returned, 0 for a clean exit.
        gfn, private: of the memory-fault exit.
        faults: stage-2 faults that the access took.
    """

    kind: str
    value: str = ""
    errno: int = 0
    gfn: int = 0
    private: bool = False
    faults: int = 0


async def guest_access(
    self: Kernel, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, write: str | None
) -> GuestResult:
    """One guest load (`write` None) or store; faults until the access completes or leaves to the VMM.

    `private` None: an access without a hardware kind bit, which follows KVM's own idea at each fault.
    """
    locked = await self.vcpu_ioctl_lock(t, vcpu)
    done = await self.kvm_arch_vcpu_ioctl_run(t, vcpu, gfn, private, write)
    if locked:
        await vcpu.mutex.unlock(t)
    return done


async def kvm_arch_vcpu_ioctl_run(
    self: Kernel, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, write: str | None
) -> GuestResult:
    """KVM_RUN with the mutex held."""
    vm = vcpu.vm
    faults = 0
    early = self.kvm_x86_vcpu_pre_run(vcpu)
    if early is not None:
        return early
    while True:
        if vm.dead:
            return GuestResult("dead", errno=EIO, faults=faults)
        vmsa = vcpu.vmsa
        if vmsa is not None and (errno := await self.vcpu_enter_guest(t, vcpu, vmsa)):
            return GuestResult("error", errno=errno, faults=faults)
        done = await self.guest_touch(t, vcpu, gfn, private, write, faults)
        if vmsa is not None:
            await self.vcpu_exit_guest(t, vcpu, vmsa)
        if done is not None and done.kind != "npf":
            return done
        faults += 1
        if done is not None:
            ret = await self.npf_interception(t, vcpu, gfn, private, write is not None)
        else:
            ret = await self.handle_ept_violation(t, vcpu, gfn, private)
        if ret in (RetPf.RETRY, RetPf.FIXED, RetPf.SPURIOUS):
            continue
        if ret == RetPf.EMULATE:
            return GuestResult("exit_mmio", gfn=gfn, faults=faults)
        kind = "exit_memory_fault" if vcpu.exit_reason == "memory_fault" else "error"
        vcpu.exit_reason = ""
        return GuestResult(kind, errno=ret, gfn=gfn, private=vcpu.exit_private, faults=faults)


def kvm_x86_vcpu_pre_run(self: Kernel, vcpu: Vcpu) -> GuestResult | None:
    """None, or how KVM_RUN ends because the launch of the VM is not over.

    TDX: -EINVAL (`tdx_vcpu_pre_run`, in 7.3 `tdx_vcpu_needs_initialization`). SNP: KVM does enter, and VMRUN refuses a
    save area that the launch has not made the guest's: KVM_EXIT_FAIL_ENTRY. One that it has made is entered although
    SNP_LAUNCH_FINISH is still to come: of the guest's state in the firmware VMRUN knows nothing.
    """
    vm = vcpu.vm
    if vm.dead or vm.finalized:
        return None
    if vm.arch.populate_maps:
        return GuestResult("error", errno=EINVAL)
    return None if vcpu.state_protected or not vm.arch.encrypted_state else GuestResult("exit_fail_entry")


async def guest_touch(
    self: Kernel, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, write: str | None, faults: int
) -> GuestResult | None:
    """The access itself through the TLB or the tables; None when it needs a stage-2 fault.

    `npf`: there is a mapping, and hardware refuses it.
    """
    vm = vcpu.vm
    if t.traps:
        await t.point(Op("load", vm.spte_label, gfn, gfn + 1, "r"))
    kinds = (True, False) if private is None else (private,)
    for kind in kinds:
        spte = vcpu.tlb.get((gfn, kind))
        if spte is None:
            spte = vm.stage2.find(gfn, kind)
            if spte is None or spte.pfn < 0:
                continue
            vcpu.tlb[gfn, kind] = spte
            if len(vcpu.tlb) > TLB_ENTRIES and not t.traps:
                for old in list(islice(vcpu.tlb, TLB_ENTRIES // 4)):
                    del vcpu.tlb[old]
        if not self.spte_fits(t, vm, spte, kind):
            vcpu.tlb.pop((gfn, kind), None)
            return GuestResult("npf")
        result = await vm.arch.guest_access(t, vm, gfn, spte.pfn, kind, write)
        if result.flag:
            vm.arch.flag(t, result.flag, spte.pfn)
        if result.kind == "npf":
            vcpu.tlb.pop((gfn, kind), None)
            return GuestResult("npf")
        if result.kind == "ok" and t.rec is not None:
            t.rec(t, GuestTouch(vm.label, gfn, kind, spte.pfn, write is not None, result.value))
        if result.kind == "dead":
            vm.killed = True
        errno = EFAULT if result.kind == "error" else 0
        return GuestResult(result.kind, result.value, errno, faults=faults)
    return None


async def handle_ept_violation(self: Kernel, t: Task, vcpu: Vcpu, gfn: int, private: bool | None) -> int:
    """The exit for a stage-2 fault: one attempt, or, with a mirror root, a loop inside the handler.

    TDX repeats a RETRY locally, because going back to the guest would count as a step without progress; it
    stops for a signal, a dead VM, or a slot that is being deleted (an interrupt for the vCPU, for which it does too, is
    outside the model). It keeps the root that the last entry loaded. SRCU is held until the next entry; work of the
    task comes after it.
    """
    vm = vcpu.vm
    if private is not False and vm.stage2.mirrored:
        vcpu.root_generation = vm.root_generation
    section = await vm.srcu.read_lock(t)
    while True:
        ret = await self.kvm_mmu_do_page_fault(t, vcpu, gfn, private)
        if ret != RetPf.RETRY or not (vm.stage2.mirrored and private) or self.retry_goes_back(t, vcpu, gfn):
            break
    await vm.srcu.read_unlock(t, section)
    await self.task_work_run(t)
    return ret


def retry_goes_back(self: Kernel, t: Task, vcpu: Vcpu, gfn: int) -> bool:
    """Whether `tdx_handle_ept_violation` leaves its loop after a RETRY."""
    vm = vcpu.vm
    # By hand: a task announces who wakes and signals it, and not its fields.
    t.touch_task("r")
    slot = vm.slot_of(gfn)
    return t.signal_pending or vm.dead or (slot is not None and slot.invalid)


async def npf_interception(
    self: Kernel, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, write: bool
) -> int:
    """The exit for an access that hardware refuses although it is mapped: with small pages as any other fault."""
    return await self.handle_ept_violation(t, vcpu, gfn, private)


def spte_fits(self: Kernel, t: Task, vm: Vm, spte: Spte, private: bool) -> bool:
    """Whether hardware takes a leaf of that level: a small one always."""
    return True


async def accept_fault(self: Kernel, t: Task, vcpu: Vcpu, gfn: int, level: int) -> None:
    """What the arch does in the exit of an accept before the fault is handled: nothing for small pages."""


async def guest_create_ap(self: Kernel, t: Task, vcpu: Vcpu, target: Vcpu, gfn: int) -> GuestResult:
    """SNP: the guest makes its page at `gfn` a VMSA and asks `target` to go on with it (AP_CREATE)."""
    vm = vcpu.vm
    if not vm.arch.encrypted_state:
        return GuestResult("error", errno=EOPNOTSUPP)
    arch: Any = vm.arch
    while True:
        done = await self.guest_access(t, vcpu, gfn, True, None)
        if done.kind != "ok":
            return done
        if t.traps:
            await t.point(Op("load", vm.spte_label, gfn, gfn + 1, "r"))
        spte = vm.stage2.find(gfn, True)
        if spte is not None and spte.pfn >= 0 and await arch.rmpadjust_vmsa(t, vm, gfn, spte.pfn):
            break
    errno = await self.sev_snp_ap_creation(t, target, gfn)
    return GuestResult("error" if errno else "ok", errno=errno)


async def guest_accept(self: Kernel, t: Task, vcpu: Vcpu, gfn: int, level: int = 1) -> GuestResult:
    """The guest makes a private page usable: PVALIDATE on SNP, TDG.MEM.PAGE.ACCEPT on TDX.

    `level` is the size that the guest asks for. What hardware says to it is the result's value; `size_mismatch`
    is the guest's to deal with.
    """
    vm = vcpu.vm
    if getattr(vm.arch, "guest_accept", None) is None:
        return GuestResult("error", errno=EOPNOTSUPP)
    locked = await self.vcpu_ioctl_lock(t, vcpu)
    done = self.kvm_x86_vcpu_pre_run(vcpu)
    faults = 0
    while done is None:
        if vm.dead:
            done = GuestResult("dead", errno=EIO, faults=faults)
            break
        if t.traps:
            await t.point(Op("load", vm.spte_label, gfn, gfn + level_pages(level), "r"))
        refused = False
        spte = vm.stage2.find(gfn, True)
        if spte is not None and spte.pfn >= 0:
            result = await self.guest_accept_mapped(t, vcpu, gfn, spte, level)
            if result.kind != "npf":
                done = GuestResult(result.kind, result.value, faults=faults)
                break
            refused = True
        faults += 1
        await self.accept_fault(t, vcpu, gfn, level)
        if refused:
            ret = await self.npf_interception(t, vcpu, gfn, True, True)
        else:
            ret = await self.handle_ept_violation(t, vcpu, gfn, True)
        if ret not in (RetPf.RETRY, RetPf.FIXED, RetPf.SPURIOUS):
            vcpu.exit_reason = ""
            done = GuestResult("exit_memory_fault", errno=ret, gfn=gfn, private=True, faults=faults)
    if locked:
        await vcpu.mutex.unlock(t)
    return done


async def guest_accept_mapped(
    self: Kernel, t: Task, vcpu: Vcpu, gfn: int, spte: Spte, level: int
) -> GuestAccess:
    """The instruction itself, through a mapping that is there."""
    vm = vcpu.vm
    accept: Any = vm.arch
    if not self.spte_fits(t, vm, spte, True):
        return GuestAccess("npf")
    if level == 1:
        result: GuestAccess = await accept.guest_accept(t, vm, gfn, spte.pfn)
    elif vm.arch.rmp_faults and spte.level < level:
        result = GuestAccess("ok", "size_mismatch")
    else:
        result = await accept.guest_accept(t, vm, gfn, spte.pfn, level)
    return result
