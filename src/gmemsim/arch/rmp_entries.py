"""The RMP's entries in little room: a 2 MiB region that one page fills is one record, another a table of numbers."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, MutableMapping
from typing import Any, Final, NamedTuple

from ..engine.observed import announces, by_key
from .memory import FRAMES

_PAGES: Final = 512
#: Single entries of a region that make it a table.
_MANY: Final = 256
#: Bits of a number: assigned, immutable, validated, present; level less 1 (2); ASID (16); guest frame (the rest).
_ASSIGNED, _IMMUTABLE, _VALIDATED, _PRESENT = 1, 2, 4, 8
_LEVEL: Final = 4
_ASID: Final = 6
_GFN: Final = 22


class RmpEntry(NamedTuple):
    """One entry. `asid` 0 with `assigned`: a page that the firmware keeps. `gfn`: the guest address / 4K."""

    assigned: bool = False
    asid: int = 0
    gfn: int = 0
    level: int = 1
    immutable: bool = False
    validated: bool = False

    @property
    def state(self) -> str:
        """Row of the table in arch.md 1.1: `hv`, `pre_guest`, `guest_invalid`, `guest_valid` or `firmware`."""
        if not self.assigned:
            return "hv"
        if not self.asid:
            return "firmware"
        if self.validated:
            return "guest_valid"
        return "pre_guest" if self.immutable else "guest_invalid"


def _pack(entry: RmpEntry) -> int:
    return (
        entry.assigned * _ASSIGNED
        + entry.immutable * _IMMUTABLE
        + entry.validated * _VALIDATED
        + _PRESENT
        + (entry.level - 1 << _LEVEL)
        + (entry.asid << _ASID)
        + (entry.gfn << _GFN)
    )


def _unpack(number: int) -> RmpEntry:
    return RmpEntry(
        bool(number & _ASSIGNED),
        number >> _ASID & 0xFFFF,
        number >> _GFN,
        (number >> _LEVEL & 3) + 1,
        bool(number & _IMMUTABLE),
        bool(number & _VALIDATED),
    )


def _frames_of(region: int) -> tuple[int, int]:
    return region * _PAGES, (region + 1) * _PAGES


_BY_FRAME: Final = by_key(lambda entries: FRAMES)
_BY_REGION: Final = by_key(lambda entries: FRAMES, _frames_of)


@announces(_single=_BY_FRAME, _counts=_BY_REGION, _whole=_BY_REGION, _tables=_BY_REGION)
class RmpEntries(MutableMapping[int, RmpEntry]):
    """Entries by frame, as a dictionary would have them; frames without one belong to the host.

    `set_region` is the compact way to enter a whole region; what is changed of it afterwards is kept beside it. A
    region with many single entries becomes a table, which only large timed runs have.
    """

    __slots__ = ("_counts", "_single", "_tables", "_whole")

    def __init__(self) -> None:
        #: Numbers by frame, 0: none, whatever the region has as a whole.
        self._single: dict[int, int] = {}
        #: By region: how many of its frames are in `_single`.
        self._counts: dict[int, int] = {}
        #: The head's entry, by region: the others are at level 1, at the guest frames behind the head's.
        self._whole: dict[int, RmpEntry] = {}
        #: Numbers by region, 0 where there is none.
        self._tables: dict[int, array[int]] = {}

    def _number(self, pfn: int) -> int:
        found = self._single.get(pfn)
        if found is not None:
            return found
        region, offset = pfn >> 9, pfn & (_PAGES - 1)
        table = self._tables.get(region)
        if table is not None:
            return table[offset]
        head = self._whole.get(region)
        if head is None:
            return 0
        return _pack(head._replace(level=1, gfn=head.gfn + offset) if offset else head)

    def _store(self, pfn: int, number: int) -> None:
        region = pfn >> 9
        table = self._tables.get(region)
        if table is not None:
            table[pfn & (_PAGES - 1)] = number
            return
        known = pfn in self._single
        if number or region in self._whole:
            self._single[pfn] = number
            self._counts[region] = count = self._counts.get(region, 0) + (not known)
            if count >= _MANY:
                self._make_table(region)
        elif known:
            del self._single[pfn]
            self._counts[region] -= 1
            if not self._counts[region]:
                del self._counts[region]

    def _make_table(self, region: int) -> None:
        frames = range(region * _PAGES, (region + 1) * _PAGES)
        numbers = array("Q", map(self._number, frames))
        self.set_region(region, None)
        self._tables[region] = numbers

    def get(self, pfn: int, default: Any = None) -> Any:
        """The entry of a frame, else `default`."""
        number = self._single.get(pfn)
        if number is None:
            number = self._number(pfn) if self._tables or self._whole else 0
        return _unpack(number) if number else default

    def __getitem__(self, pfn: int) -> RmpEntry:
        number = self._number(pfn)
        if not number:
            raise KeyError(pfn)
        return _unpack(number)

    def __contains__(self, pfn: object) -> bool:
        return isinstance(pfn, int) and self._number(pfn) != 0

    def __setitem__(self, pfn: int, entry: RmpEntry) -> None:
        self._store(pfn, _pack(entry))

    def __delitem__(self, pfn: int) -> None:
        if pfn not in self:
            raise KeyError(pfn)
        self._store(pfn, 0)

    def set_region(self, region: int, head: RmpEntry | None) -> None:
        """The head's entry, and its like at level 1 in the 511 frames behind; None: none at all."""
        self._tables.pop(region, None)
        if self._counts.pop(region, 0):
            for pfn in range(region * _PAGES, (region + 1) * _PAGES):
                self._single.pop(pfn, None)
        if head is None:
            self._whole.pop(region, None)
        else:
            self._whole[region] = head

    def whole(self, region: int) -> RmpEntry | None:
        """The head's entry of a region that was set as one and not changed since, else None."""
        return None if region in self._counts else self._whole.get(region)

    def __iter__(self) -> Iterator[int]:
        for region in (*self._whole, *self._tables):
            yield from (pfn for pfn in range(region * _PAGES, (region + 1) * _PAGES) if self._number(pfn))
        yield from (pfn for pfn in self._single if pfn >> 9 not in self._whole)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return any(True for _ in self)
