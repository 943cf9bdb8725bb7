"""Calls into the architecture, and what the hardware did. Units as in the package."""

from __future__ import annotations

from typing import ClassVar

from ..base import Event

__all__ = [
    "ApCreation",
    "ArchInvalidate",
    "ArchInvalidateRange",
    "ArchReclaim",
    "HardwareOp",
    "IllegalAccess",
    "MakePrivate",
    "MakePrivateRet",
    "Prepare",
    "PrepareRet",
    "VmsaReload",
    "VmsaRequest",
]


class _ArchEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "arch"


class Prepare(_ArchEvent, frozen=True, gc=False):
    """The arch is asked to make the page ready for the guest."""

    mirrors: ClassVar[str] = "kvm_arch_gmem_prepare"
    gfn: int
    pfn: int
    order: int


class PrepareRet(_ArchEvent, frozen=True, gc=False):
    """0 or a negative errno; `did` is False when there was nothing to do."""

    mirrors: ClassVar[str] = "return of kvm_arch_gmem_prepare"
    ret: int
    did: bool


class MakePrivate(_ArchEvent, frozen=True, gc=False):
    """The renamed hook, called for private memory only."""

    mirrors: ClassVar[str] = "kvm_arch_gmem_make_private"
    gfn: int
    pfn: int
    pages: int


class MakePrivateRet(_ArchEvent, frozen=True, gc=False):
    """0 or a negative errno; `did` is False when there was nothing to do."""

    mirrors: ClassVar[str] = "return of kvm_arch_gmem_make_private"
    ret: int
    did: bool


class ArchInvalidate(_ArchEvent, frozen=True, gc=False):
    """pfns [start, end) leave the page cache."""

    mirrors: ClassVar[str] = "kvm_arch_gmem_invalidate"
    range_of = "pfn"
    start: int
    end: int


class ArchReclaim(_ArchEvent, frozen=True, gc=False):
    """The renamed hook: `pages` pages from `pfn` leave the page cache."""

    mirrors: ClassVar[str] = "kvm_arch_gmem_reclaim"
    pfn: int
    pages: int


class ArchInvalidateRange(_ArchEvent, frozen=True, gc=False):
    """Per slot, mmu_lock held for writing: after its zap and before the flush; when it is deleted, before its zap."""

    mirrors: ClassVar[str] = "kvm_arch_gmem_invalidate_range"
    range_of = "gfn"
    vm: str
    start: int
    end: int


class HardwareOp(_ArchEvent, frozen=True, gc=False):
    """One instruction or firmware command: RMPUPDATE, PVALIDATE, TDH.MEM.PAGE.AUG, …; `code` 0 is success."""

    mirrors: ClassVar[str] = "the instruction or SEAMCALL"
    op: str
    pfn: int
    code: int


class ApCreation(_ArchEvent, frozen=True, gc=False):
    """SNP: a guest asks a vCPU to go on with the save area at `gfn` (-1: to end)."""

    mirrors: ClassVar[str] = "sev_snp_ap_creation"
    vcpu: str
    gfn: int


class VmsaRequest(_ArchEvent, frozen=True, gc=False):
    """SNP: the page of a vCPU's save area is being invalidated, and the vCPU has to reload it."""

    mirrors: ClassVar[str] = "sev_gmem_invalidate_range, KVM_REQ_VMSA_PAGE_RELOAD"
    vcpu: str
    gfn: int


class VmsaReload(_ArchEvent, frozen=True, gc=False):
    """SNP: the save area is loaded: `ret` 0, 1 (an invalidation got in between), or get_pfn's errno."""

    mirrors: ClassVar[str] = "__sev_snp_reload_vmsa"
    vcpu: str
    gfn: int
    ret: int


class IllegalAccess(_ArchEvent, frozen=True, gc=False):
    """An access that the hardware punishes; `flag` is one of arch.md 1.6, 2.6."""

    mirrors: ClassVar[str] = "RMP #PF, machine check, killed TD"
    flag: str
    pfn: int
