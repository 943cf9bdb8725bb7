"""vCPU faults: the exit, the look-up, the mapping, and what KVM_RUN answers. Units as in the package."""

from __future__ import annotations

from typing import ClassVar

from ..base import Event

__all__ = [
    "ExitMemoryFault",
    "ExitMmio",
    "Faultin",
    "FaultinRet",
    "GuestTouch",
    "Map",
    "MapRet",
    "PageFault",
    "PreFault",
    "PreFaultRet",
    "Retry",
    "TdpFault",
    "TdpFaultRet",
]


class _FaultEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "vCPU fault"


class PageFault(_FaultEvent, frozen=True, gc=False):
    """The guest touched a gfn that the stage-2 tables do not map."""

    mirrors: ClassVar[str] = "tracepoint kvm_page_fault"
    gfn: int
    private: bool


class TdpFault(_FaultEvent, frozen=True, gc=False):
    """The fault handler starts."""

    mirrors: ClassVar[str] = "kvm_tdp_page_fault"
    gfn: int


class TdpFaultRet(_FaultEvent, frozen=True, gc=False):
    """The fault handler returns: 1 RETRY, 5 FIXED, 6 SPURIOUS, or a negative errno."""

    mirrors: ClassVar[str] = "return of kvm_tdp_page_fault"
    ret: int


class Faultin(_FaultEvent, frozen=True, gc=False):
    """Find the host frame behind a gfn."""

    mirrors: ClassVar[str] = "kvm_mmu_faultin_pfn"
    gfn: int


class FaultinRet(_FaultEvent, frozen=True, gc=False):
    """0: a pfn was found; 1: retry the fault; negative: an errno for userspace."""

    mirrors: ClassVar[str] = "return of kvm_mmu_faultin_pfn"
    ret: int


class Map(_FaultEvent, frozen=True, gc=False):
    """About to install the SPTE, with mmu_lock held and no invalidation in the way."""

    mirrors: ClassVar[str] = "kvm_tdp_mmu_map"
    gfn: int
    pfn: int
    level: int


class MapRet(_FaultEvent, frozen=True, gc=False):
    """5 FIXED, 6 SPURIOUS (somebody mapped it before), 1 RETRY (lost the compare-exchange)."""

    mirrors: ClassVar[str] = "return of kvm_tdp_mmu_map"
    ret: int


class Retry(_FaultEvent, frozen=True, gc=False):
    """A fault gives up for now; `reason` is early, late, stale, invalid_slot or spte."""

    mirrors: ClassVar[str] = "RET_PF_RETRY and where it came from"
    gfn: int
    reason: str


class ExitMemoryFault(_FaultEvent, frozen=True, gc=False):
    """KVM_RUN leaves to userspace with KVM_EXIT_MEMORY_FAULT."""

    mirrors: ClassVar[str] = "kvm_mmu_prepare_memory_fault_exit"
    gfn: int
    private: bool
    ret: int


class GuestTouch(_FaultEvent, frozen=True, gc=False):
    """A guest access went through a translation; `value` names what was read or written."""

    mirrors: ClassVar[str] = "a load or store of the guest; the kernel sees nothing of it"
    vm: str
    gfn: int
    private: bool
    pfn: int
    write: bool
    value: str


class ExitMmio(_FaultEvent, frozen=True, gc=False):
    """No slot behind a shared access: emulated as MMIO."""

    mirrors: ClassVar[str] = "RET_PF_EMULATE for a gfn without a slot"
    gfn: int


class PreFault(_FaultEvent, frozen=True, gc=False):
    """One KVM_PRE_FAULT_MEMORY step for the page at `gpa` (bytes)."""

    mirrors: ClassVar[str] = "kvm_arch_vcpu_pre_fault_memory"
    gpa: int
    size: int


class PreFaultRet(_FaultEvent, frozen=True, gc=False):
    """End of the ioctl: its result, and how much is left to do."""

    mirrors: ClassVar[str] = "return of kvm_vcpu_pre_fault_memory"
    ret: int
    gpa: int
    size: int
