"""The save area (VMSA) of an SEV-SNP vCPU where it is a page of the guest, and who asks for its reload.

Read in arch/x86/kvm/svm/sev.c of 7.2.13 and 7.3.4. The first VMSA is a page of KVM's own, which is encrypted when the
launch ends and is no frame of the model; a guest gives a vCPU another one with an AP creation request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..arch.spin import SpinWait
from ..audit.kvm_events import VmsaRequest
from ..engine.locks.mutex import Mutex
from ..engine.locks.stats import LockClass
from ..engine.observed import announces
from ..engine.op import ALL, Op

if TYPE_CHECKING:
    from ..engine.task import Task
    from .kernel import Kernel
    from .vm import Vm

#: No page, as `gfn` or `pfn`.
INVALID_PAGE: Final = -1


def _own(vmsa: Vmsa) -> tuple[str, int, int]:
    return vmsa.label, 0, ALL


@announces(gfn=_own, pfn=_own, pending=_own, waiting=_own, update=_own, reload=_own, running=_own)
class Vmsa:
    """`struct vcpu_sev_es_state` as far as the page is concerned, and the vCPU's requests about it.

    Attributes:
        mutex: `snp_vmsa_mutex`.
        gfn: `snp_guest_vmsa_gpa`; becomes valid under mmu_lock only, and is read without the mutex.
        pfn: `vmcb->control.vmsa_pa`: what the next VMRUN uses.
        pending, waiting: `snp_pending_vmsa_gpa` and `snp_ap_waiting_for_reset`: an AP creation that was not taken up.
        update, reload: KVM_REQ_UPDATE_PROTECTED_GUEST_STATE and KVM_REQ_VMSA_PAGE_RELOAD.
        running: the vCPU is in guest mode, and the RMP has the page in use.
    """

    __slots__ = (
        "exited",
        "gfn",
        "label",
        "mutex",
        "pending",
        "pfn",
        "reload",
        "running",
        "update",
        "waiting",
    )

    def __init__(self, vcpu: str) -> None:
        self.label = f"{vcpu}.vmsa"
        self.mutex = Mutex(f"{vcpu}.snp_vmsa_mutex", LockClass("snp_vmsa_mutex"))
        self.gfn = INVALID_PAGE
        self.pfn = INVALID_PAGE
        self.pending = INVALID_PAGE
        self.waiting = False
        self.update = False
        self.reload = False
        self.running = False
        self.exited = SpinWait(f"{vcpu}.guest_mode", lambda: [vcpu] if self.running else [])

    @property
    def op(self) -> Op:
        """A step that looks at or changes it."""
        return Op("rmw", self.label)


async def sev_gmem_invalidate_range(self: Kernel, t: Task, vm: Vm, first: int, last: int) -> None:
    """Each vCPU whose VMSA lies in gfns [first, last) is to reload it, and leaves the guest before this goes on.

    mmu_lock is held for writing. A VMSA that is just being dropped may be asked for in vain, which does no harm.
    """
    for vcpu in vm.vcpus:
        vmsa = vcpu.vmsa
        if vmsa is None:
            continue
        if t.traps:
            await t.point(vmsa.op)
        if first <= vmsa.gfn < last:
            vmsa.reload = True
            if t.rec is not None:
                t.rec(t, VmsaRequest(vcpu.label, vmsa.gfn))
            await self.kvm_vcpu_kick(t, vmsa)


async def kvm_vcpu_kick(self: Kernel, t: Task, vmsa: Vmsa) -> None:
    """`__kvm_vcpu_kick` of a request with KVM_REQUEST_WAIT: until the vCPU is out of guest mode."""
    while vmsa.running:
        await vmsa.exited.turn(t, self.costs.wake)
