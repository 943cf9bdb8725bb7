"""Events of conversion in place: the attributes of a file, and what a conversion does to it.

Units as in `kvm_events`: 4 KiB page indices of the file, half-open ranges, negative errnos.
"""

from __future__ import annotations

from typing import ClassVar

from .base import Event

__all__ = [
    "ContentMode",
    "GmemAttrStore",
    "GmemSetAttributes",
    "GmemSetAttributesRet",
    "Hypercall",
    "LruDrain",
    "MakeShared",
    "MakeSharedRet",
    "RefCheck",
]


class _InplaceEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "in-place"


class GmemSetAttributes(_InplaceEvent, frozen=True, gc=False):
    """A conversion of a file range begins."""

    mirrors: ClassVar[str] = "kvm_gmem_set_attributes"
    range_of = "index"
    file: str
    start: int
    end: int
    private: bool


class GmemSetAttributesRet(_InplaceEvent, frozen=True, gc=False):
    """It returns; `error_index` is the page that `error_offset` names, -1 if it was not written."""

    mirrors: ClassVar[str] = "return of kvm_gmem_set_attributes"
    ret: int
    error_index: int


class GmemAttrStore(_InplaceEvent, frozen=True, gc=False):
    """The attribute map of an inode changes: one range in one step."""

    mirrors: ClassVar[str] = "mas_store_prealloc on the inode's attributes"
    range_of = "index"
    inode: str
    start: int
    end: int
    private: bool


class RefCheck(_InplaceEvent, frozen=True, gc=False):
    """One look at a folio's references before it becomes private; `refs` without that of the scan."""

    mirrors: ClassVar[str] = "folio_ref_count against folio_nr_pages + 1, and folio_maybe_dma_pinned"
    index: int
    pfn: int
    refs: int
    ok: bool


class LruDrain(_InplaceEvent, frozen=True, gc=False):
    """Batches of folios on their way to an LRU list let go of them: of one CPU, or of all."""

    mirrors: ClassVar[str] = "lru_add_drain, lru_add_drain_all"
    everywhere: bool
    pages: int


class MakeShared(_InplaceEvent, frozen=True, gc=False):
    """The arch is told that `pages` pages from `pfn` become shared in place."""

    mirrors: ClassVar[str] = "kvm_arch_gmem_make_shared (inplace-v8: kvm_arch_gmem_invalidate)"
    pfn: int
    pages: int


class MakeSharedRet(_InplaceEvent, frozen=True, gc=False):
    """It returns; it cannot fail."""

    mirrors: ClassVar[str] = "return of kvm_arch_gmem_make_shared"


class ContentMode(_InplaceEvent, frozen=True, gc=False):
    """A content mode is applied to a present page of the range."""

    mirrors: ClassVar[str] = "content mode handlers of RFC v3 to v5"
    index: int
    mode: str


class Hypercall(_InplaceEvent, frozen=True, gc=False):
    """The guest asks for a conversion: KVM_HC_MAP_GPA_RANGE, TDG.VP.VMCALL<MapGPA>, SNP page state change."""

    mirrors: ClassVar[str] = "KVM_EXIT_HYPERCALL"
    gfn: int
    pages: int
    private: bool
