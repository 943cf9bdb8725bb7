"""Contents of the frames that huge pages take, as ranges: zeroing 1 GiB is one store, not 262,144."""

from __future__ import annotations

from typing import Final

from ..engine.observed import announces, by_key
from .intervals import Intervals

#: First frame of the area that huge pages are cut from, far above the small frames, so that the two never meet.
HUGE_AREA: Final = 1 << 36

#: log2 of the frames that share a table; no huge page is larger, so none lies in two.
_TABLE_ORDER: Final = 18


@announces(
    _tables=by_key(
        lambda contents: contents.label, lambda number: (number << _TABLE_ORDER, number + 1 << _TABLE_ORDER)
    )
)
class HugeContents:
    """(content, key) of every frame of the area; `stale` where nobody wrote since it was allocated.

    Attributes:
        label: object of the steps that look at or change it, by frame.
    """

    __digest_skip__ = ("label",)
    __slots__ = ("_blank", "_tables", "label")

    def __init__(self, blank: tuple[str, int], label: str) -> None:
        self.label = label
        self._blank = blank
        self._tables: dict[int, Intervals[tuple[str, int]]] = {}

    def read(self, pfn: int) -> tuple[str, int]:
        """What is in the frame, and the key that it was written with."""
        table = self._tables.get(pfn >> _TABLE_ORDER)
        return self._blank if table is None else table.at(pfn)

    def fill(self, pfn: int, pages: int, value: tuple[str, int]) -> None:
        """Write the same into `pages` frames of one huge page."""
        number = pfn >> _TABLE_ORDER
        table = self._tables.get(number)
        if table is None:
            first = number << _TABLE_ORDER
            table = self._tables[number] = Intervals(
                first, first + (1 << _TABLE_ORDER), self._blank, self.label
            )
        table.store(pfn, pfn + pages, value)

    def forget(self, pfn: int, pages: int) -> None:
        """The frames are free: whoever gets them next finds stale data."""
        table = self._tables.get(pfn >> _TABLE_ORDER)
        if table is None:
            return
        table.store(pfn, pfn + pages, self._blank)
        if len(table.starts) == 1:
            del self._tables[pfn >> _TABLE_ORDER]

    def ranges(self, pfn: int, pages: int) -> list[tuple[int, int, tuple[str, int]]]:
        """(first, end, what) of every run of equal frames, in order."""
        table = self._tables.get(pfn >> _TABLE_ORDER)
        return [(pfn, pfn + pages, self._blank)] if table is None else table.ranges(pfn, pfn + pages)

    @property
    def pieces(self) -> int:
        """How many runs are remembered, for those who measure."""
        return sum(len(table.starts) for table in self._tables.values())
