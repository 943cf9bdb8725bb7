"""Frames of one log under the names of another: one bijection for the whole log, kept as ranges."""

from __future__ import annotations

from bisect import bisect_right


class _Shifts:
    """A partial map of numbers to numbers, as disjoint ranges that are each shifted by some distance."""

    __slots__ = ("_ends", "_shifts", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._shifts: list[int] = []

    def clash(self, low: int, high: int, shift: int) -> int | None:
        """The first number of [low, high) that is mapped by another distance than `shift`."""
        at = max(bisect_right(self._starts, low) - 1, 0)
        while at < len(self._starts) and self._starts[at] < high:
            if self._ends[at] > low and self._shifts[at] != shift:
                return max(low, self._starts[at])
            at += 1
        return None

    def image(self, number: int) -> int | None:
        """What `number` is mapped to."""
        at = bisect_right(self._starts, number) - 1
        return number + self._shifts[at] if at >= 0 and number < self._ends[at] else None

    def add(self, low: int, high: int, shift: int) -> None:
        """Map [low, high); nothing of it clashes. Neighbours with the same distance become one range."""
        first = bisect_right(self._starts, low)
        if first and self._ends[first - 1] >= low and self._shifts[first - 1] == shift:
            first -= 1
            low = self._starts[first]
        last = first
        while last < len(self._starts) and self._starts[last] <= high:
            if self._starts[last] == high and self._shifts[last] != shift:
                break
            high = max(high, self._ends[last])
            last += 1
        self._starts[first:last] = [low]
        self._ends[first:last] = [high]
        self._shifts[first:last] = [shift]


class Renaming:
    """A bijection between the frames of the left and of the right, as far as it is known."""

    def __init__(self) -> None:
        self._right_of = _Shifts()
        self._left_of = _Shifts()

    def add(self, left: int, right: int, pages: int = 1) -> bool:
        """`pages` frames from `left` are those from `right`; False, and nothing is kept, if others were before."""
        shift = right - left
        if (
            self._right_of.clash(left, left + pages, shift) is not None
            or self._left_of.clash(right, right + pages, -shift) is not None
        ):
            return False
        self._right_of.add(left, left + pages, shift)
        self._left_of.add(right, right + pages, -shift)
        return True

    def right_of(self, left: int) -> int | None:
        """The right's name of the left's frame."""
        return self._right_of.image(left)

    def left_of(self, right: int) -> int | None:
        """The left's name of the right's frame."""
        return self._left_of.image(right)
