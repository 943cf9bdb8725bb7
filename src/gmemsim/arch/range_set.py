"""A set of numbers that come in ranges: it costs what its pieces cost, not what its members would."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet, Set
from typing import Final

from .intervals import Intervals

#: More than any frame's number.
_END: Final = 1 << 56


class RangeSet(MutableSet[int]):
    """Whole numbers from 0 on; as a `set`, with `update` and `difference_update` of a `range` in one step."""

    __slots__ = ("_pieces",)

    def __init__(self, members: Iterable[int] = (), label: str = "") -> None:
        self._pieces = Intervals(0, _END, False, label)
        self.update(members)

    def __contains__(self, member: object) -> bool:
        return isinstance(member, int) and 0 <= member < _END and self._pieces.at(member)

    def __iter__(self) -> Iterator[int]:
        for start, end in self.ranges():
            yield from range(start, end)

    def __len__(self) -> int:
        return sum(end - start for start, end in self.ranges())

    def __bool__(self) -> bool:
        return not self._pieces.uniform(0, _END, False)

    def ranges(self) -> list[tuple[int, int]]:
        """The pieces, as first and one past the last, in order."""
        return [(start, end) for start, end, there in self._pieces.ranges(0, _END) if there]

    def uniform(self, start: int, end: int, there: bool) -> bool:
        """Whether all of [start, end) are members, or all are not."""
        return self._pieces.uniform(start, end, there)

    def mixed(self, start: int, end: int) -> bool:
        """Whether some of [start, end) are members and some are not."""
        return len(self._pieces.ranges(start, end)) > 1

    def add(self, value: int) -> None:
        self._pieces.store(value, value + 1, True)

    def discard(self, value: int) -> None:
        self._pieces.store(value, value + 1, False)

    def clear(self) -> None:
        self._pieces.store(0, _END, False)

    def update(self, members: Iterable[int]) -> None:
        """Add all of them."""
        self._change(members, True)

    def difference_update(self, members: Iterable[int]) -> None:
        """Take all of them out."""
        self._change(members, False)

    def _change(self, members: Iterable[int], there: bool) -> None:
        if isinstance(members, range) and members.step == 1:
            self._pieces.store(members.start, members.stop, there)
            return
        for member in members:
            self._pieces.store(member, member + 1, there)

    def __eq__(self, other: object) -> bool:
        """With any set."""
        return isinstance(other, Set) and len(self) == len(other) and all(member in other for member in self)

    __hash__ = None  # type: ignore[assignment] # it changes

    def __repr__(self) -> str:
        return f"RangeSet({', '.join(f'{start}..{end - 1}' for start, end in self.ranges())})"
