"""The range map of a guest_memfd inode: which indices are private (guest-memfd.md 2, 7 I22)."""

from __future__ import annotations

from itertools import pairwise

from ..arch.intervals import Intervals
from ..engine.observed import reads


class AttributeMap(Intervals[bool]):
    """Ranges of equal kind over [0, pages): no holes, and neighbours always differ."""

    __slots__ = ()

    def __init__(self, pages: int, private: bool, label: str = "") -> None:
        super().__init__(0, pages, private, label)

    @property
    def pages(self) -> int:
        """Size of the file, in 4 KiB pages."""
        return self.end

    @reads(lambda pieces, index: (pieces.label, index, index + 1))
    def get(self, index: int) -> bool | None:
        """Whether `index` is private; None if no range has it, which is a bug of whoever wrote the map."""
        if not 0 <= index < self.end or not self.starts or index < self.starts[0]:
            return None
        return self.at(index)

    def ranges(self, start: int = 0, end: int | None = None) -> list[tuple[int, int, bool]]:
        """(start, end, private) of the ranges that [start, end) meets, clipped to it."""
        return super().ranges(start, self.end if end is None else end)

    def whole(self) -> bool:
        """I22: the map begins at 0, its ranges are in order and inside the file, and neighbours differ."""
        starts, kinds = self.starts, self.values
        return (
            len(starts) == len(kinds) > 0
            and starts[0] == 0
            and all(low < high for low, high in zip(starts, [*starts[1:], self.end], strict=True))
            and all(kind != other for kind, other in pairwise(kinds))
        )
