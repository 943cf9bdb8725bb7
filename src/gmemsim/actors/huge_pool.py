"""The HugeTLB side of huge folios: a file's subpool, the stash of split pages, and a page cache that knows both.

Spec §2 F, §4.1 F, §4.15.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .folio import Folio

__all__ = ["HUGE_ORDER", "HugeCache", "Subpool"]

#: log2 of the 4 KiB pages of a 2 MiB folio.
HUGE_ORDER: Final = 9


class Subpool:
    """Huge pages that were reserved for one file when it was created.

    Attributes:
        size: huge pages reserved.
        used: huge pages taken out of it, those in the page cache and those whose pages are still referenced.
        stash: per split huge page, by its first frame, how many of its 4 KiB pages have come back.
    """

    __slots__ = ("size", "stash", "used")

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self.stash: dict[int, int] = {}


class HugeCache(dict[int, "Folio"]):
    """Folios by first index: a huge one has one entry, and `get` finds it by every index that it covers.

    Only `get`, which is the page cache's look-up, does so; membership, items and deletion are those of first indices.
    """

    def get(self, key: int, default: Any = None, /) -> Any:
        """The folio that covers the index."""
        found = super().get(key)
        if found is not None:
            return found
        huge = super().get(key >> HUGE_ORDER << HUGE_ORDER)
        return huge if huge is not None and huge.order else default
