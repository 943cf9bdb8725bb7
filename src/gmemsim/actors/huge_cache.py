"""A page cache that holds huge folios and split ones, at a cost that follows what is looked at.

A split 1 GiB page is 262,144 folios. Almost none of them is ever looked at, and those that are not are all alike: the
page cache has them, nobody else. A `Split` stands for them; a `Folio` is made when somebody looks one up.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Any, NamedTuple

from ..arch.intervals import Intervals
from ..engine.observed import announces, by_key, changes, reads
from ..engine.op import ALL
from .folio import Folio

if TYPE_CHECKING:
    from ..engine.observed import Place
    from .inode import GmemInode


@announces(left=lambda split: (split.label, split.base, split.end))
class Split:
    """A huge range that was split.

    Attributes:
        base, order, pfn: the huge folio that it was.
        folio: that one itself.
        piece_order: order of the folios that it consists of now.
        uptodate, dirty: flags of those that nobody has looked at, inherited.
        taken: where there is, or was, a folio of its own.
        left: folios still in the page cache, looked at or not.
        label: object of the steps that look at or change the page cache.
    """

    __slots__ = (
        "base",
        "dirty",
        "folio",
        "label",
        "left",
        "order",
        "pfn",
        "piece_order",
        "taken",
        "uptodate",
    )

    def __init__(self, folio: Folio, piece_order: int, label: str) -> None:
        self.label = label
        self.folio = folio
        self.base = folio.index
        self.order = folio.order
        self.pfn = folio.pfn
        self.piece_order = piece_order
        self.uptodate = folio.uptodate
        self.dirty = folio.dirty
        self.left = 1 << (folio.order - piece_order)
        self.taken = Intervals(self.base, self.end, False, label)

    @property
    def end(self) -> int:
        """One past the last index."""
        return self.base + (1 << self.order)

    def untaken_end(self, start: int, end: int) -> int:
        """How far the pages that nobody has looked at go from `start`, which is one, at most to `end`."""
        return self.taken.ranges(start, end)[0][1]


class Gap(NamedTuple):
    """Neighbouring pages of a split range that nobody has looked at."""

    start: int
    end: int
    split: Split

    @property
    def pfn(self) -> int:
        """First frame."""
        return self.split.pfn + self.start - self.split.base

    @property
    def pages(self) -> int:
        """How many 4 KiB pages."""
        return self.end - self.start


def _at(cache: HugeCache, index: int, *_: object) -> Place:
    return cache.label, index, index + 1


def _in(cache: HugeCache, start: int, end: int) -> Place:
    return cache.label, start, end


def _of(cache: HugeCache, folio: Folio, *_: object) -> Place:
    return cache.label, folio.index, folio.index + folio.pages


def _all(cache: HugeCache, *_: object) -> Place:
    return cache.label, 0, ALL


@announces(splits=by_key(lambda cache: cache.label, lambda key: (key[0], key[0] + (1 << key[1]))))
class HugeCache(dict[int, Folio]):
    """Folios by first index, as far as they are objects: iteration and `len` are of these.

    `get` and `[]` find a folio by every index that it covers, and make the object of a page of a split range; `in` says
    whether something is there, and makes none.
    """

    __slots__ = ("_bases", "_inode", "order", "splits")

    def __init__(self, inode: GmemInode, order: int) -> None:
        super().__init__()
        self._inode = inode
        #: log2 of the pages of a huge folio of this file.
        self.order = order
        #: Split ranges by base and order.
        self.splits: dict[tuple[int, int], Split] = {}
        #: First index of every huge range that has anything, in order.
        self._bases: list[int] = []

    @property
    def label(self) -> str:
        """Object of the steps that look at or change it, by index."""
        return self._inode.label

    # -- look-up -----------------------------------------------------------------------------------

    def _find(self, key: int) -> Folio | Split | None:
        """The folio that covers the index, the split range that it is an untouched page of, or None."""
        found = super().get(key)
        if found is not None:
            return found
        order = self.order
        while True:
            base = key >> order << order
            folio = super().get(base)
            if folio is not None and folio.order == order:
                return folio
            split = self.splits.get((base, order))
            if split is None:
                return None
            if not split.taken.at(key):
                return split
            order = split.piece_order
            if not order:
                return None

    @reads(_at)
    def get(self, key: int, default: Any = None, /) -> Any:
        """The folio that covers the index."""
        found = self._find(key)
        if isinstance(found, Split):
            return self._make(found, key)
        return default if found is None else found

    def __missing__(self, key: int) -> Folio:
        found: Folio | None = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    # As a dictionary's, and announced.
    __getitem__ = reads(_at)(dict.__getitem__)
    __iter__ = reads(_all)(dict.__iter__)
    __len__ = reads(_all)(dict.__len__)
    keys = reads(_all)(dict.keys)
    items = reads(_all)(dict.items)
    values = reads(_all)(dict.values)

    @reads(_at)
    def __contains__(self, key: object) -> bool:
        return isinstance(key, int) and self._find(key) is not None

    @reads(_all)
    def __bool__(self) -> bool:
        return bool(self._bases)

    def _make(self, split: Split, key: int) -> Folio:
        order = split.piece_order
        index = key >> order << order
        folio = Folio(self._inode, index, split.pfn + index - split.base, order)
        folio.uptodate = split.uptodate
        folio.dirty = split.dirty
        folio.ref = folio.pages
        split.taken.store(index, index + folio.pages, True)
        super().__setitem__(index, folio)
        return folio

    # -- change ------------------------------------------------------------------------------------

    @changes(lambda cache, index, folio: _of(cache, folio))
    def __setitem__(self, index: int, folio: Folio) -> None:
        if folio.order == self.order:
            insort(self._bases, index)
        super().__setitem__(index, folio)

    @changes(lambda cache, index: _of(cache, dict.__getitem__(cache, index)))
    def __delitem__(self, index: int) -> None:
        folio = super().__getitem__(index)
        super().__delitem__(index)
        self._left(index, folio.order, 1)

    def _left(self, index: int, order: int, count: int) -> None:
        """`count` folios of `order` at `index` left: a split range of which none remains goes too."""
        if order == self.order:
            del self._bases[bisect_left(self._bases, index)]
            return
        split = self._around(index, order)
        split.left -= count
        if not split.left:
            del self.splits[split.base, split.order]
            self._left(split.base, split.order, 1)

    def _around(self, index: int, order: int) -> Split:
        """The split range that folios of `order` at `index` are pieces of."""
        return next(
            split
            for above in (9, 18)
            if above > order and (split := self.splits.get((index >> above << above, above))) is not None
        )

    @changes(_of)
    def split(self, folio: Folio, piece_order: int) -> Split:
        """Folios of `piece_order` in place of one."""
        super().__delitem__(folio.index)
        made = self.splits[folio.index, folio.order] = Split(folio, piece_order, self._inode.label)
        return made

    @changes(lambda cache, split, folio: (cache.label, split.base, split.end))
    def merge(self, split: Split, folio: Folio) -> list[Folio]:
        """One folio in place of a split range of which no page is missing; the folios that were, as far as objects."""
        gone = [split.folio, *self.folios_in(split.base, split.end)]
        for piece in gone[1:]:
            super().__delitem__(piece.index)
        del self.splits[split.base, split.order]
        for base in range(split.base, split.end, 1 << split.piece_order) if split.piece_order else ():
            self.splits.pop((base, split.piece_order), None)
        super().__setitem__(split.base, folio)
        return gone

    @changes(lambda cache, gap: (cache.label, gap.start, gap.end))
    def drop(self, gap: Gap) -> None:
        """Untouched pages leave the page cache."""
        gap.split.taken.store(gap.start, gap.end, True)
        order = gap.split.piece_order
        self._left(gap.start, order, gap.pages >> order)

    # -- walks -------------------------------------------------------------------------------------

    @reads(_in)
    def next_piece(self, start: int, end: int) -> Folio | Gap | None:
        """The first of [start, end) that is there: a folio that is an object, or untouched pages, clipped to it.

        It is for walks that others may change the page cache under: ask again from where the last piece ended. The
        range may reach beyond the file, as that of an eviction does.
        """
        end = min(end, self._inode.pages)
        while start < end:
            found = self._find(start)
            if isinstance(found, Folio):
                return found
            if found is not None:
                size = 1 << found.piece_order
                first = start // size * size
                return Gap(first, found.untaken_end(first, max(-(-end // size) * size, first + size)), found)
            start = self._skip(start)
        return None

    def _skip(self, key: int) -> int:
        """The next index that can have something, behind one that has not."""
        order = self.order
        base = key >> order << order
        at = bisect_left(self._bases, base)
        if at == len(self._bases) or self._bases[at] != base:
            return self._bases[at] if at < len(self._bases) else self._inode.pages
        # A page of a split range that left it alone, which takes a poisoned one.
        while (split := self.splits.get((key >> order << order, order))) is not None:
            order = split.piece_order
        return (key >> order) + 1 << order

    @reads(_in)
    def pieces(self, start: int, end: int) -> list[Folio | Gap]:
        """All of them, in order."""
        found: list[Folio | Gap] = []
        while (piece := self.next_piece(start, end)) is not None:
            found.append(piece)
            start = piece.end if isinstance(piece, Gap) else piece.index + piece.pages
        return found

    def largest(self, start: int, end: int) -> int:
        """Order of the largest folio that lies in [start, end) or reaches into it."""
        found = 0
        for piece in self.pieces(start, end):
            found = max(found, piece.split.piece_order if isinstance(piece, Gap) else piece.order)
        return found

    @reads(_all)
    def orders(self) -> dict[int, int]:
        """How many folios of every order there are, looked at or not."""
        found: dict[int, int] = {}
        for piece in self.pieces(0, self._inode.pages):
            order = piece.split.piece_order if isinstance(piece, Gap) else piece.order
            found[order] = found.get(order, 0) + (piece.pages >> order)
        return found

    def folios_in(self, start: int, end: int) -> list[Folio]:
        """Those that are objects."""
        return [piece for piece in self.pieces(start, end) if isinstance(piece, Folio)]
