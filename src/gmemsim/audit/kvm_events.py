"""Events of the model: what guest_memfd, KVM's MMU, the page cache and the arch hooks did.

Units: `index`, `start`, `end` are 4 KiB page indices of the file unless the event says otherwise; `gfn` is a
guest frame, `pfn` a host frame, `gpa` a guest address in bytes. Ranges are half open. `ret` is 0, a positive
count, a negative errno or, for fault handlers, the kernel's RET_PF_* value.
"""

from __future__ import annotations

from typing import ClassVar

from .base import Event

__all__ = [
    "ArchInvalidate",
    "ArchInvalidateRange",
    "ArchReclaim",
    "AttrStore",
    "Bind",
    "Clear",
    "Close",
    "Copy",
    "Create",
    "Discard",
    "ExitMemoryFault",
    "ExitMmio",
    "Fallocate",
    "FallocateRet",
    "Faultin",
    "FaultinRet",
    "FilemapAdd",
    "FilemapAddRet",
    "FilemapGet",
    "FilemapGetRet",
    "FreePage",
    "GetFolio",
    "GetFolioRet",
    "GetPfn",
    "GetPfnRet",
    "GuestTouch",
    "Gup",
    "HardwareOp",
    "HostTouch",
    "IllegalAccess",
    "InvEnd",
    "InvStart",
    "InvStartRet",
    "LaunchFinish",
    "MakePrivate",
    "MakePrivateRet",
    "Map",
    "MapRet",
    "MemoryFailure",
    "MemoryFailureRet",
    "MmuInvEnd",
    "MmuInvStart",
    "MmuNotifierStart",
    "PageCacheAdd",
    "PageCacheDelete",
    "PageFault",
    "Pin",
    "Populate",
    "PopulateCallback",
    "PopulateRet",
    "PreFault",
    "PreFaultRet",
    "Prepare",
    "PrepareRet",
    "Retry",
    "SetAttributes",
    "SetAttributesPost",
    "SetAttributesPre",
    "SetAttributesRet",
    "SetUptodate",
    "Sigbus",
    "SlotPublish",
    "TdpFault",
    "TdpFaultRet",
    "TlbFlush",
    "Truncate",
    "TruncateRet",
    "Unbind",
    "UnmapHost",
    "Unpin",
    "UserFault",
    "UserFaultRet",
    "Zap",
    "ZapRet",
]


# -- vCPU fault ------------------------------------------------------------------------------------


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


# -- guest_memfd -----------------------------------------------------------------------------------


class _GmemEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "guest_memfd"


class Create(_GmemEvent, frozen=True, gc=False):
    """KVM_CREATE_GUEST_MEMFD; size in pages."""

    mirrors: ClassVar[str] = "kvm_gmem_create"
    file: str
    pages: int
    flags: str
    ret: int


class Close(_GmemEvent, frozen=True, gc=False):
    """The last reference of a guest_memfd file is gone."""

    mirrors: ClassVar[str] = "kvm_gmem_release"
    file: str


class Bind(_GmemEvent, frozen=True, gc=False):
    """A memslot is bound to [start, end) of a file."""

    mirrors: ClassVar[str] = "kvm_gmem_bind"
    file: str
    slot: int
    start: int
    end: int
    ret: int


class Unbind(_GmemEvent, frozen=True, gc=False):
    """A memslot lets go of its file."""

    mirrors: ClassVar[str] = "kvm_gmem_unbind"
    slot: int


class SlotPublish(_GmemEvent, frozen=True, gc=False):
    """A new memslot array becomes visible; `state` is valid, invalid or gone."""

    mirrors: ClassVar[str] = "kvm_swap_active_memslots"
    slot: int
    state: str


class GetPfn(_GmemEvent, frozen=True, gc=False):
    """KVM asks guest_memfd for the frame of a gfn."""

    mirrors: ClassVar[str] = "kvm_gmem_get_pfn"
    gfn: int
    index: int


class GetPfnRet(_GmemEvent, frozen=True, gc=False):
    """0 or a negative errno; on success the page stays referenced in versions that hand it out."""

    mirrors: ClassVar[str] = "return of kvm_gmem_get_pfn"
    ret: int
    pfn: int


class GetFolio(_GmemEvent, frozen=True, gc=False):
    """Find or create the folio of an index."""

    mirrors: ClassVar[str] = "kvm_gmem_get_folio"
    index: int


class GetFolioRet(_GmemEvent, frozen=True, gc=False):
    """The folio, locked and referenced: its pfn, or a negative errno."""

    mirrors: ClassVar[str] = "return of kvm_gmem_get_folio"
    pfn: int


class Clear(_GmemEvent, frozen=True, gc=False):
    """Zero `pages` pages of the folio at `index`."""

    mirrors: ClassVar[str] = "clear_highpage"
    index: int
    pfn: int
    pages: int


class SetUptodate(_GmemEvent, frozen=True, gc=False):
    """The folio is marked uptodate: cleared, and in the baseline also prepared."""

    mirrors: ClassVar[str] = "folio_mark_uptodate"
    index: int
    pfn: int


class Fallocate(_GmemEvent, frozen=True, gc=False):
    """fallocate on the file: `punch` is False for plain allocation; [start, end) in pages."""

    mirrors: ClassVar[str] = "kvm_gmem_fallocate"
    punch: bool
    start: int
    end: int


class FallocateRet(_GmemEvent, frozen=True, gc=False):
    """0 or a negative errno."""

    mirrors: ClassVar[str] = "return of kvm_gmem_fallocate"
    ret: int


class InvStart(_GmemEvent, frozen=True, gc=False):
    """Begin to invalidate [start, end) of a file for every VM bound there."""

    mirrors: ClassVar[str] = "__kvm_gmem_invalidate_begin (7.x: _start)"
    start: int
    end: int


class InvStartRet(_GmemEvent, frozen=True, gc=False):
    """The mappings are gone and the TLBs flushed."""

    mirrors: ClassVar[str] = "return of __kvm_gmem_invalidate_begin (7.x: _start)"


class InvEnd(_GmemEvent, frozen=True, gc=False):
    """End of the invalidation of [start, end)."""

    mirrors: ClassVar[str] = "kvm_gmem_invalidate_end"
    start: int
    end: int


class UserFault(_GmemEvent, frozen=True, gc=False):
    """A host thread touched its mmap of the file."""

    mirrors: ClassVar[str] = "kvm_gmem_fault_user_mapping"
    index: int


class UserFaultRet(_GmemEvent, frozen=True, gc=False):
    """`locked` (the folio goes to the core), `sigbus`, `oom` or `retry`."""

    mirrors: ClassVar[str] = "return of kvm_gmem_fault_user_mapping"
    result: str


class Populate(_GmemEvent, frozen=True, gc=False):
    """Launch-time population of `pages` pages from `gfn`; `source` is False for a NULL source."""

    mirrors: ClassVar[str] = "kvm_gmem_populate"
    gfn: int
    pages: int
    source: bool


class PopulateRet(_GmemEvent, frozen=True, gc=False):
    """Pages done, or a negative errno if none was."""

    mirrors: ClassVar[str] = "return of kvm_gmem_populate"
    ret: int


class PopulateCallback(_GmemEvent, frozen=True, gc=False):
    """The arch's part for one page."""

    mirrors: ClassVar[str] = "sev_gmem_post_populate, tdx_gmem_post_populate"
    gfn: int
    pfn: int
    ret: int


class MemoryFailure(_GmemEvent, frozen=True, gc=False):
    """A hardware memory error hits the page at `index`."""

    mirrors: ClassVar[str] = "memory_failure"
    index: int
    pfn: int


class MemoryFailureRet(_GmemEvent, frozen=True, gc=False):
    """0, -EHWPOISON (already poisoned) or -EBUSY."""

    mirrors: ClassVar[str] = "return of memory_failure"
    ret: int


class LaunchFinish(_GmemEvent, frozen=True, gc=False):
    """The VM is finalized: the guest may run, memory may be pre-faulted."""

    mirrors: ClassVar[str] = "snp_launch_finish, tdx_td_finalize"
    ret: int


# -- page cache ------------------------------------------------------------------------------------


class _CacheEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "page cache"


class FilemapGet(_CacheEvent, frozen=True, gc=False):
    """Look an index up; `create` says that a missing folio is to be allocated."""

    mirrors: ClassVar[str] = "__filemap_get_folio (7.x: _mpol)"
    index: int
    create: bool


class FilemapGetRet(_CacheEvent, frozen=True, gc=False):
    """The folio, locked and referenced: its pfn, or a negative errno."""

    mirrors: ClassVar[str] = "return of __filemap_get_folio"
    pfn: int


class FilemapAdd(_CacheEvent, frozen=True, gc=False):
    """About to insert a new, locked folio."""

    mirrors: ClassVar[str] = "filemap_add_folio"
    index: int
    pfn: int


class FilemapAddRet(_CacheEvent, frozen=True, gc=False):
    """0, or -EEXIST when somebody else was first."""

    mirrors: ClassVar[str] = "return of filemap_add_folio"
    ret: int


class PageCacheAdd(_CacheEvent, frozen=True, gc=False):
    """The folio is in the page cache."""

    mirrors: ClassVar[str] = "tracepoint mm_filemap_add_to_page_cache"
    index: int
    pfn: int
    order: int


class PageCacheDelete(_CacheEvent, frozen=True, gc=False):
    """The folio left the page cache."""

    mirrors: ClassVar[str] = "tracepoint mm_filemap_delete_from_page_cache"
    index: int
    pfn: int
    order: int


class Truncate(_CacheEvent, frozen=True, gc=False):
    """Remove every folio of [start, end)."""

    mirrors: ClassVar[str] = "truncate_inode_pages_range"
    start: int
    end: int


class TruncateRet(_CacheEvent, frozen=True, gc=False):
    """The last scan found the range empty."""

    mirrors: ClassVar[str] = "return of truncate_inode_pages_range"


class FreePage(_CacheEvent, frozen=True, gc=False):
    """The last reference is gone: the page goes back to the allocator."""

    mirrors: ClassVar[str] = "__folio_put, free_unref_folios"
    pfn: int


class UnmapHost(_CacheEvent, frozen=True, gc=False):
    """Host page-table entries of [start, end) are removed."""

    mirrors: ClassVar[str] = "unmap_mapping_folio, unmap_mapping_pages"
    start: int
    end: int


# -- MMU -------------------------------------------------------------------------------------------


class _MmuEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "MMU invalidation"


class MmuInvStart(_MmuEvent, frozen=True, gc=False):
    """One more invalidation in progress in this VM (mmu_lock held for writing)."""

    mirrors: ClassVar[str] = "kvm_mmu_invalidate_begin (7.x: _start)"
    vm: str


class MmuNotifierStart(_MmuEvent, frozen=True, gc=False):
    """As `mmu_inv_start`, but begun by an MMU notifier of host memory: host entries are about to go."""

    mirrors: ClassVar[str] = "kvm_mmu_notifier_invalidate_range_start"
    vm: str


class MmuInvEnd(_MmuEvent, frozen=True, gc=False):
    """The sequence count moves, one invalidation less."""

    mirrors: ClassVar[str] = "kvm_mmu_invalidate_end"
    vm: str


class Zap(_MmuEvent, frozen=True, gc=False):
    """Remove the SPTEs of gfns [start, end) whose kind is in `filter` (private, shared, both)."""

    mirrors: ClassVar[str] = "kvm_mmu_unmap_gfn_range, kvm_unmap_gfn_range"
    vm: str
    start: int
    end: int
    filter: str


class ZapRet(_MmuEvent, frozen=True, gc=False):
    """Whether the caller has to flush the TLBs."""

    mirrors: ClassVar[str] = "return of kvm_unmap_gfn_range"
    flush: bool


class TlbFlush(_MmuEvent, frozen=True, gc=False):
    """No vCPU of the VM holds a stale translation any more."""

    mirrors: ClassVar[str] = "kvm_flush_remote_tlbs"
    vm: str


# -- attributes ------------------------------------------------------------------------------------


class _AttrEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "attributes"


class SetAttributes(_AttrEvent, frozen=True, gc=False):
    """KVM_SET_MEMORY_ATTRIBUTES for gfns [start, end)."""

    mirrors: ClassVar[str] = "tracepoint kvm_vm_set_mem_attributes"
    start: int
    end: int
    private: bool


class SetAttributesPre(_AttrEvent, frozen=True, gc=False):
    """mmu_lock held: the range is about to be invalidated."""

    mirrors: ClassVar[str] = "kvm_arch_pre_set_memory_attributes"
    slot: int


class SetAttributesPost(_AttrEvent, frozen=True, gc=False):
    """mmu_lock held, after the end of the invalidation."""

    mirrors: ClassVar[str] = "kvm_arch_post_set_memory_attributes"
    slot: int


class SetAttributesRet(_AttrEvent, frozen=True, gc=False):
    """0 or a negative errno."""

    mirrors: ClassVar[str] = "return of KVM_SET_MEMORY_ATTRIBUTES"
    ret: int


class AttrStore(_AttrEvent, frozen=True, gc=False):
    """One gfn (per-VM map) or range (per-file map) changes kind."""

    mirrors: ClassVar[str] = "xa_store in kvm_vm_set_mem_attributes"
    start: int
    end: int
    private: bool


# -- arch ------------------------------------------------------------------------------------------


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
    start: int
    end: int


class ArchReclaim(_ArchEvent, frozen=True, gc=False):
    """The renamed hook: `pages` pages from `pfn` leave the page cache."""

    mirrors: ClassVar[str] = "kvm_arch_gmem_reclaim"
    pfn: int
    pages: int


class ArchInvalidateRange(_ArchEvent, frozen=True, gc=False):
    """Per slot, after its zap and before the flush, mmu_lock held for writing."""

    mirrors: ClassVar[str] = "kvm_arch_gmem_invalidate_range"
    vm: str
    start: int
    end: int


class HardwareOp(_ArchEvent, frozen=True, gc=False):
    """One instruction or firmware command: RMPUPDATE, PVALIDATE, TDH.MEM.PAGE.AUG, …; `code` 0 is success."""

    mirrors: ClassVar[str] = "the instruction or SEAMCALL"
    op: str
    pfn: int
    code: int


class IllegalAccess(_ArchEvent, frozen=True, gc=False):
    """An access that the hardware punishes; `flag` is one of spec §1.6, §2.6."""

    mirrors: ClassVar[str] = "RMP #PF, machine check, killed TD"
    flag: str
    pfn: int


# -- contents and host -----------------------------------------------------------------------------


class _HostEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "host"


class HostTouch(_HostEvent, frozen=True, gc=False):
    """A host access to a mapped page; `value` names what was read or written."""

    mirrors: ClassVar[str] = "a load or store of the VMM"
    index: int
    write: bool
    value: str


class Sigbus(_HostEvent, frozen=True, gc=False):
    """A host access got SIGBUS; `hwpoison` tells the machine-check flavour."""

    mirrors: ClassVar[str] = "force_sig_fault(SIGBUS), force_sig_mceerr"
    index: int
    hwpoison: bool


class Gup(_HostEvent, frozen=True, gc=False):
    """A source page is looked up and pinned."""

    mirrors: ClassVar[str] = "get_user_pages_fast"
    page: int
    ret: int


class Copy(_HostEvent, frozen=True, gc=False):
    """Source bytes go into a guest page."""

    mirrors: ClassVar[str] = "copy_from_user, memcpy in the populate callback"
    pfn: int


class Pin(_HostEvent, frozen=True, gc=False):
    """A host user takes a long-term reference on the page."""

    mirrors: ClassVar[str] = "pin_user_pages"
    index: int
    pfn: int


class Unpin(_HostEvent, frozen=True, gc=False):
    """The long-term reference goes."""

    mirrors: ClassVar[str] = "unpin_user_page"
    index: int
    pfn: int


class Discard(_HostEvent, frozen=True, gc=False):
    """madvise(MADV_DONTNEED) or munmap of [start, end)."""

    mirrors: ClassVar[str] = "zap_page_range_single"
    start: int
    end: int
