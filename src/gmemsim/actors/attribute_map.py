"""The range map of a guest_memfd inode: which indices are private (spec §2 E, §7 I22)."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

__all__ = ["AttributeMap"]


class AttributeMap:
    """Ranges of equal kind over [0, pages): no holes, and neighbours always differ.

    Attributes:
        pages: size of the file, in 4 KiB pages.
        starts: first index of every range, in order.
        kinds: whether that range is private.
    """

    __slots__ = ("kinds", "pages", "starts")

    def __init__(self, pages: int, private: bool) -> None:
        self.pages = pages
        self.starts = [0]
        self.kinds: list[bool] = [private]

    def get(self, index: int) -> bool | None:
        """Whether `index` is private; None if no range has it, which is a bug of whoever wrote the map."""
        if not 0 <= index < self.pages:
            return None
        at = bisect_right(self.starts, index) - 1
        return None if at < 0 else self.kinds[at]

    def ranges(self, start: int = 0, end: int | None = None) -> list[tuple[int, int, bool]]:
        """(start, end, private) of the ranges that [start, end) meets, clipped to it."""
        end = self.pages if end is None else end
        found = []
        for at in range(max(bisect_right(self.starts, start) - 1, 0), len(self.starts)):
            low = self.starts[at]
            high = self.starts[at + 1] if at + 1 < len(self.starts) else self.pages
            if low >= end:
                break
            if max(low, start) < min(high, end):
                found.append((max(low, start), min(high, end), self.kinds[at]))
        return found

    def uniform(self, start: int, end: int, private: bool) -> bool:
        """Whether all of [start, end) has that kind already."""
        return all(kind == private for _, _, kind in self.ranges(start, end))

    def store(self, start: int, end: int, private: bool) -> None:
        """Give [start, end) one kind, and merge it with neighbours of that kind."""
        pieces = [*self.ranges(0, start), (start, end, private), *self.ranges(end, self.pages)]
        self.starts, self.kinds = [], []
        for low, _, kind in pieces:
            if not self.kinds or self.kinds[-1] != kind:
                self.starts.append(low)
                self.kinds.append(kind)

    def whole(self) -> bool:
        """I22: the map begins at 0, its ranges are in order and inside the file, and neighbours differ."""
        starts, kinds = self.starts, self.kinds
        return (
            len(starts) == len(kinds) > 0
            and starts[0] == 0
            and all(low < high for low, high in zip(starts, [*starts[1:], self.pages], strict=True))
            and all(kind != other for kind, other in pairwise(kinds))
        )
