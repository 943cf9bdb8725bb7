"""Events of huge folios: what happens to many pages of one at once.

Units as in `kvm_events`. A split range keeps pages that nobody has looked at since; what happens to a run of those is
one event with the range, where the kernel goes page by page.
"""

from __future__ import annotations

from typing import ClassVar

from .base import Event

__all__ = [
    "HugeMerge",
    "HugePagesPut",
    "HugeRefCheck",
    "HugeSplit",
    "PageCacheDeleteRange",
]


class _HugeEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "huge pages"


class HugeSplit(_HugeEvent, frozen=True, gc=False):
    """A folio of `order` is replaced by folios of order `to` in the page cache."""

    mirrors: ClassVar[str] = "kvm_gmem_split_folio_in_filemap, guestmem_hugetlb_split_folio (HugeTLB RFC v2)"
    index: int
    pfn: int
    order: int
    to: int


class HugeMerge(_HugeEvent, frozen=True, gc=False):
    """The folios of a split range are replaced by one of `order`."""

    mirrors: ClassVar[str] = "kvm_gmem_merge_folio_in_filemap, guestmem_hugetlb_merge_folio (HugeTLB RFC v2)"
    index: int
    pfn: int
    order: int


class HugeRefCheck(_HugeEvent, frozen=True, gc=False):
    """The reference check passes pages that nobody has looked at since the split: only the page cache has them."""

    mirrors: ClassVar[str] = "folio_ref_count of every folio of [start, end)"
    range_of = "index"
    start: int
    end: int
    pfn: int


class PageCacheDeleteRange(_HugeEvent, frozen=True, gc=False):
    """Pages that nobody has looked at since the split left the page cache."""

    mirrors: ClassVar[str] = "tracepoint mm_filemap_delete_from_page_cache, for every folio of [start, end)"
    range_of = "index"
    start: int
    end: int
    pfn: int


class HugePagesPut(_HugeEvent, frozen=True, gc=False):
    """The last references of pages of a split huge page are gone: they are queued to the worker that counts them."""

    mirrors: ClassVar[str] = "guestmem_hugetlb_handle_folio_put (HugeTLB RFC v2)"
    pfn: int
    pages: int
