"""guest_memfd itself: files, bindings, look-ups, fallocate, invalidation, populate. Units as in the package."""

from __future__ import annotations

from typing import ClassVar

from ..base import Event

__all__ = [
    "Bind",
    "BindPrepare",
    "Clear",
    "Close",
    "Create",
    "Fallocate",
    "FallocateRet",
    "GetFolio",
    "GetFolioRet",
    "GetPfn",
    "GetPfnRet",
    "InvEnd",
    "InvStart",
    "InvStartRet",
    "LaunchFinish",
    "MemoryFailure",
    "MemoryFailureRet",
    "Populate",
    "PopulateCallback",
    "PopulateRet",
    "SetUptodate",
    "SlotFree",
    "SlotPublish",
    "Unbind",
    "UseAfterFree",
    "UserFault",
    "UserFaultRet",
]


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

    mirrors: ClassVar[str] = "kvm_gmem_bind; kvm_gmem_commit_memory_region (from 7.3)"
    range_of = "index"
    file: str
    slot: int
    start: int
    end: int
    ret: int


class BindPrepare(_GmemEvent, frozen=True, gc=False):
    """First phase of a bind: checks and the slot's pointer, no lock of the file."""

    mirrors: ClassVar[str] = "kvm_gmem_prepare_memory_region (from 7.3)"
    range_of = "index"
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


class SlotFree(_GmemEvent, frozen=True, gc=False):
    """A memslot's memory is given back, after the last grace period."""

    mirrors: ClassVar[str] = "kvm_free_memslot"
    slot: int


class UseAfterFree(_GmemEvent, frozen=True, gc=False):
    """The kernel uses an object that it has freed; `ident` is a memslot's number, or -1 where `what` says it all."""

    mirrors: ClassVar[str] = "KASAN: slab-use-after-free"
    what: str
    ident: int


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
    range_of = "index"
    punch: bool
    start: int
    end: int


class FallocateRet(_GmemEvent, frozen=True, gc=False):
    """0 or a negative errno."""

    mirrors: ClassVar[str] = "return of kvm_gmem_fallocate"
    ret: int


class InvStart(_GmemEvent, frozen=True, gc=False):
    """Begin to invalidate [start, end) of a file for every VM bound there; a release's end is -1ul."""

    mirrors: ClassVar[str] = "__kvm_gmem_invalidate_begin (7.x: _start)"
    range_of = "index"
    start: int
    end: int


class InvStartRet(_GmemEvent, frozen=True, gc=False):
    """The mappings are gone and the TLBs flushed."""

    mirrors: ClassVar[str] = "return of __kvm_gmem_invalidate_begin (7.x: _start)"


class InvEnd(_GmemEvent, frozen=True, gc=False):
    """End of the invalidation of [start, end)."""

    mirrors: ClassVar[str] = "kvm_gmem_invalidate_end"
    range_of = "index"
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
