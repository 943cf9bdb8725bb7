"""The piecewise map: against a plain list, and that it touches no piece that it need not."""

from __future__ import annotations

import random
from itertools import pairwise

from gmemsim.arch.intervals import Intervals


def test_against_a_list() -> None:
    """Random stores: the same values everywhere, neighbours always differ, every question answered alike."""
    rng = random.Random(7)
    for _ in range(60):
        size = rng.randrange(1, 40)
        plain = [0] * size
        pieces = Intervals(0, size, 0)
        for _ in range(60):
            low, high = sorted(rng.randrange(size + 1) for _ in range(2))
            value = rng.randrange(3)
            pieces.store(low, high, value)
            plain[low:high] = [value] * (high - low)
            assert [pieces.at(index) for index in range(size)] == plain
            assert pieces.starts[0] == 0
            assert all(low < high for low, high in pairwise([*pieces.starts, size]))
            assert all(one != other for one, other in pairwise(pieces.values))
            low, high = sorted(rng.randrange(size + 1) for _ in range(2))
            found = [value for start, end, value in pieces.ranges(low, high) for _ in range(start, end)]
            assert found == plain[low:high]
            assert pieces.uniform(low, high, value) == all(each == value for each in plain[low:high])


def test_a_store_leaves_the_other_pieces_alone() -> None:
    """The lists stay the same objects; a store among ten thousand pieces replaces two."""
    pieces = Intervals(0, 1 << 40, False)
    for number in range(10_000):
        pieces.store(number * 10, number * 10 + 5, True)
    starts, count = pieces.starts, len(pieces.starts)
    pieces.store(50_005, 50_010, True)
    assert pieces.starts is starts
    assert len(starts) == count - 2
