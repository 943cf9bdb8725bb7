"""The page cache of a file. Units as in the package."""

from __future__ import annotations

from typing import ClassVar

from ..base import Event

__all__ = [
    "EvictFolio",
    "FilemapAdd",
    "FilemapAddRet",
    "FilemapGet",
    "FilemapGetRet",
    "FreePage",
    "PageCacheAdd",
    "PageCacheDelete",
    "Truncate",
    "TruncateRet",
    "UnmapHost",
]


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
    """Remove every folio of [start, end); an eviction's end is 2^52, that of any file."""

    mirrors: ClassVar[str] = "truncate_inode_pages_range"
    range_of = "index"
    start: int
    end: int


class TruncateRet(_CacheEvent, frozen=True, gc=False):
    """The last scan found the range empty."""

    mirrors: ClassVar[str] = "return of truncate_inode_pages_range"


class FreePage(_CacheEvent, frozen=True, gc=False):
    """The last reference is gone: the page goes back to the allocator."""

    mirrors: ClassVar[str] = "__folio_put, free_unref_folios"
    pfn: int


class EvictFolio(_CacheEvent, frozen=True, gc=False):
    """A host fault that met a poisoned folio, clean and used by nobody, takes it out of the file."""

    mirrors: ClassVar[str] = "mapping_evict_folio, remove_mapping"
    index: int
    pfn: int


class UnmapHost(_CacheEvent, frozen=True, gc=False):
    """Host page-table entries of [start, end) are removed."""

    mirrors: ClassVar[str] = "unmap_mapping_folio, unmap_mapping_pages"
    range_of = "index"
    start: int
    end: int
