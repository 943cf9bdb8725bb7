"""The page cache of huge files against one that has an object for every page."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from gmemsim.actors.folio import Folio
from gmemsim.actors.huge_cache import Gap, HugeCache
from gmemsim.actors.inode import GmemInode

if TYPE_CHECKING:
    from collections.abc import Iterator


def covered(cache: HugeCache, pages: int) -> Iterator[tuple[int, int]]:
    """(index, order) of every folio that is there, by the walk."""
    at = 0
    for piece in cache.pieces(0, pages):
        start = piece.start if isinstance(piece, Gap) else piece.index
        assert start >= at
        at = start + piece.pages
        order = piece.split.piece_order if isinstance(piece, Gap) else piece.order
        yield from ((index, order) for index in range(start, at, 1 << order))


@pytest.mark.parametrize("order", [9, 18])
@pytest.mark.parametrize("seed", range(6))
def test_against_plain_pages(order: int, seed: int) -> None:
    """Insert, split, look up, merge, remove, at random: the same folios in the same places."""
    rng = random.Random(seed)
    pages = 3 << order
    inode = GmemInode("gmem0", pages, frozenset())
    cache = HugeCache(inode, order)
    plain: dict[int, int] = {}

    def inside(base: int, size: int) -> list[int]:
        return [index for index in plain if base <= index < base + size]

    for _ in range(40):
        base = rng.randrange(3) << order
        what = rng.choice(["add", "split", "look", "merge", "drop", "remove"])
        present = inside(base, 1 << order)
        if what == "add" and not present:
            cache[base] = Folio(inode, base, (1 << 36) + base, order)
            plain[base] = order
        elif what == "split" and present:
            index = rng.choice(present)
            folio = cache[index]
            assert (folio.index, folio.order) == (index, plain[index])
            if folio.order:
                to = 9 if folio.order == 18 else 0
                cache.split(folio, to)
                del plain[index]
                plain.update(dict.fromkeys(range(index, index + folio.pages, 1 << to), to))
        elif what == "look" and present:
            index = rng.choice(present)
            folio = cache.get(index + rng.randrange(1 << plain[index]))
            assert folio is not None
            assert (folio.index, folio.order, folio.ref >= folio.pages or folio.order == order) == (
                index,
                plain[index],
                True,
            )
            assert folio.pfn == (1 << 36) + index
        elif what == "merge" and (split := cache.splits.get((base, order))) is not None:
            if sum(1 << plain[index] for index in present) == 1 << order:
                cache.merge(split, Folio(inode, base, (1 << 36) + base, order))
                for index in present:
                    del plain[index]
                plain[base] = order
        elif what == "drop" and present:
            low = rng.choice(present)
            piece = cache.next_piece(low, low + 1 + rng.randrange(64))
            if isinstance(piece, Gap):
                cache.drop(piece)
                for index in inside(piece.start, piece.pages):
                    del plain[index]
        elif what == "remove" and present:
            index = rng.choice(present)
            assert cache[index] is cache.get(index)
            del cache[index]
            del plain[index]
        assert dict(covered(cache, pages)) == dict(sorted(plain.items()))
        assert bool(cache) == bool(plain)
        for index in [rng.randrange(pages) for _ in range(5)]:
            owner = next(
                (at for at, o in ((index >> o << o, o) for o in (0, 9, 18)) if plain.get(at) == o), None
            )
            assert (index in cache) == (owner is not None)
            if owner is None:
                assert cache.get(index) is None


def test_an_untouched_page_costs_nothing() -> None:
    """A split 1 GiB range in which one page was looked up has one object and three runs."""
    inode = GmemInode("gmem0", 1 << 18, frozenset())
    cache = HugeCache(inode, 18)
    huge = cache[0] = Folio(inode, 0, 1 << 36, 18)
    split = cache.split(huge, 0)
    assert cache[77].pfn == huge.pfn + 77
    assert len(cache) == 1
    assert len(split.taken.starts) == 3
    assert cache.orders() == {0: 1 << 18}
