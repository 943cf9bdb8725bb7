"""A folio: one entry of the page cache, with the reference and map counts that decide when its frame is free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..engine.locks.folio_lock import FolioLock
from ..engine.observed import announces
from ..engine.op import ALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from .inode import GmemInode

#: Object of the steps that look at or change batches of folios on their way to an LRU list (`lru.py`).
LRU: Final = "lru.batches"


def _pages_of(label: str) -> Callable[[Folio], tuple[str, int, int]]:
    """The folio's range of the object that its property `label` names."""
    return lambda folio: (getattr(folio, label), folio.index, folio.index + folio.pages)


@announces(
    uptodate=_pages_of("uptodate_label"),
    dirty=_pages_of("dirty_label"),
    poisoned=_pages_of("poison_label"),
    ref=_pages_of("ref_label"),
    mapcount=_pages_of("mapcount_label"),
    mapping=_pages_of("mapping_label"),
    merged=_pages_of("mapping_label"),
    pins=_pages_of("ref_label"),
    lru=lambda folio: (LRU, 0, ALL),
)
class Folio:
    """State of one folio.

    Attributes:
        mapping: the inode whose page cache holds it, or None once it was removed.
        index: first 4 KiB index covered.
        pfn: first frame.
        order: log2 of its size in pages; 0 in every version without huge pages.
        ref: references: one a page from the page cache, plus look-ups, host mappings, pins, poison.
        mapcount: host page-table entries that map it.
        pins: long-term pins (each also counts in `ref`).
        dirty: PG_dirty: KVM mapped it, or the host wrote to it. There is no writeback, so only truncation ends it.
        lru: PG_lru: known to be on its LRU list, so that no batch holds a reference of it any more (`lru.py`).
        uptodate: PG_uptodate; what it promises depends on the patch version.
        poisoned: PG_hwpoison.
        lock: the folio lock.
        merged: the folio that its frames are part of since it was merged; the way from a frame to its folio for those
            who came without a reference.
    """

    __slots__ = (
        "dirty",
        "index",
        "lock",
        "lru",
        "mapcount",
        "mapping",
        "merged",
        "order",
        "pfn",
        "pins",
        "poisoned",
        "ref",
        "uptodate",
    )

    def __init__(self, mapping: GmemInode, index: int, pfn: int, order: int = 0) -> None:
        self.mapping: GmemInode | None = mapping
        self.index = index
        self.pfn = pfn
        self.order = order
        self.ref = 1
        self.mapcount = 0
        self.pins = 0
        self.dirty = False
        self.lru = False
        self.uptodate = False
        self.poisoned = False
        self.lock = FolioLock(mapping.lock_label, index, mapping.folio_locks)
        self.merged: Folio | None = None

    @property
    def ref_label(self) -> str:
        """Object of the steps that look at or change `ref`."""
        # The folio knows its inode's label by its lock: `mapping` is None once it was removed.
        return f"{self.lock.obj.removesuffix('.folio')}.ref"

    @property
    def mapcount_label(self) -> str:
        """Object of the steps that look at or change `mapcount`."""
        return f"{self.lock.obj.removesuffix('.folio')}.mapcount"

    @property
    def mapping_label(self) -> str:
        """Object of the steps that look at or change `mapping` and `merged`."""
        return f"{self.lock.obj.removesuffix('.folio')}.folio_mapping"

    @property
    def poison_label(self) -> str:
        """Object of the steps that look at or change `poisoned`."""
        return f"{self.lock.obj.removesuffix('.folio')}.poison"

    @property
    def dirty_label(self) -> str:
        """Object of the steps that look at or change `dirty`."""
        return f"{self.lock.obj.removesuffix('.folio')}.dirty"

    @property
    def uptodate_label(self) -> str:
        """Object of the steps that look at or change `uptodate`."""
        return f"{self.lock.obj.removesuffix('.folio')}.uptodate"

    @property
    def pages(self) -> int:
        return 1 << self.order

    def __repr__(self) -> str:
        return f"<Folio {self.index} pfn={self.pfn:#x} ref={self.ref}>"
