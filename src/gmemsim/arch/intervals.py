"""A map from the indices of a range to values, kept as pieces of equal value.

Every operation costs the logarithm of the number of pieces, plus the pieces that it returns or replaces: nothing
depends on how many indices there are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, Generic, TypeVar

from ..engine.observed import announces, changes, reads, whole
from ..engine.op import ALL

V = TypeVar("V")


def _range(pieces: Intervals[Any], start: int, end: int, *_: object) -> tuple[str, int, int] | None:
    return (pieces.label, start, end) if pieces.label else None


def _pieces(pieces: Intervals[Any]) -> tuple[str, int, int]:
    return pieces.label, 0, ALL


@announces(starts=whole(_pieces), values=whole(_pieces))
class Intervals(Generic[V]):
    """Pieces of equal value over [first, end): no holes, and neighbours always differ.

    Attributes:
        starts: first index of every piece, in order.
        values: the value of that piece.
        end: one past the last index.
        label: object of the steps that look at or change it, by index; empty: nobody else's.
    """

    __digest_skip__ = ("label",)
    __slots__ = ("end", "label", "starts", "values")

    def __init__(self, first: int, end: int, value: V, label: str = "") -> None:
        self.label = label
        self.end = end
        self.starts = [first]
        self.values = [value]

    @reads(lambda pieces, index: _range(pieces, index, index + 1))
    def at(self, index: int) -> V:
        """The value at an index of the range."""
        return self.values[bisect_right(self.starts, index) - 1]

    @reads(_range)
    def ranges(self, start: int, end: int) -> list[tuple[int, int, V]]:
        """(start, end, value) of the pieces that [start, end) meets, clipped to it."""
        found = []
        starts = self.starts
        for at in range(max(bisect_right(starts, start) - 1, 0), len(starts)):
            low = starts[at]
            if low >= end:
                break
            high = starts[at + 1] if at + 1 < len(starts) else self.end
            if max(low, start) < min(high, end):
                found.append((max(low, start), min(high, end), self.values[at]))
        return found

    @reads(_range)
    def uniform(self, start: int, end: int, value: V) -> bool:
        """Whether all of [start, end) has that value already."""
        starts = self.starts
        at = max(bisect_right(starts, start) - 1, 0)
        # Neighbours differ, so the second piece decides at the latest.
        while start < end and at < len(starts) and starts[at] < end:
            if self.values[at] != value:
                return False
            at += 1
        return True

    @changes(_range)
    def store(self, start: int, end: int, value: V) -> None:
        """Give [start, end) one value, and merge it with neighbours of that value."""
        if start >= end:
            return
        starts, values = self.starts, self.values
        # Pieces first..last - 1 begin inside; the one before them may reach in, the last one out again.
        first = bisect_left(starts, start)
        last = bisect_left(starts, end)
        new_starts: list[int] = []
        new_values: list[V] = []
        if not first or values[first - 1] != value:
            new_starts.append(start)
            new_values.append(value)
        if end < self.end and (last == len(starts) or starts[last] != end):
            behind = values[last - 1]
            if behind != value:
                new_starts.append(end)
                new_values.append(behind)
        elif end < self.end and values[last] == value:
            # The piece that begins at `end` is part of this one now.
            last += 1
        starts[first:last] = new_starts
        values[first:last] = new_values
