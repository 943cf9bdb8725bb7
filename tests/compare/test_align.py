"""Alignment: never wrong, shortest where that is affordable, quick everywhere."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gmemsim.compare.align import align, increasing, occurrences

SEQUENCES = st.lists(st.integers(0, 4), max_size=14)


def longest(left: list[int], right: list[int]) -> int:
    """Length of a longest common subsequence, by the textbook."""
    row = [0] * (len(right) + 1)
    for item in left:
        above = row[:]
        for j, other in enumerate(right):
            row[j + 1] = above[j] + 1 if item == other else max(above[j + 1], row[j])
    return row[-1]


def check(left: list[int], right: list[int], pairs: list[tuple[int, int]]) -> None:
    assert all(left[i] == right[j] for i, j in pairs)
    assert all(a < b and c < d for (a, c), (b, d) in pairwise(pairs))


@given(SEQUENCES, SEQUENCES)
def test_as_many_pairs_as_there_can_be(left: list[int], right: list[int]) -> None:
    pairs = align(left, right)
    check(left, right, pairs)
    assert len(pairs) == longest(left, right)


@given(SEQUENCES, SEQUENCES, st.integers(0, 6))
def test_pairs_beyond_the_bound_are_pairs_all_the_same(left: list[int], right: list[int], bound: int) -> None:
    pairs = align(left, right, bound)
    check(left, right, pairs)
    edits = len(left) + len(right) - 2 * longest(left, right)
    if edits <= bound:
        assert len(pairs) == longest(left, right)


def test_beyond_the_bound_unique_items_are_still_matched_well() -> None:
    dice = random.Random(1)
    left = list(range(2000))
    right = [item for item in left if dice.random() > 0.2]
    right[500:500] = range(5000, 6000)
    assert len(align(left, right)) == len(right) - 1000


def test_long_and_unrelated_is_no_matter_of_minutes() -> None:
    dice = random.Random(1)
    left = [dice.randrange(40) for _ in range(100_000)]
    right = [dice.randrange(40) for _ in range(100_000)]
    check(left, right, align(left, right))


def test_occurrences_pair_the_kth_with_the_kth() -> None:
    assert occurrences([7, 8, 7, 9, 7], [7, 7, 9, 8]) == [(0, 0), (1, 3), (2, 1), (3, 2)]


@given(st.lists(st.integers(0, 30), unique=True, max_size=12))
def test_increasing_is_a_longest_one(targets: list[int]) -> None:
    pairs = list(enumerate(targets))
    kept = increasing(pairs)
    check(list(range(99)), list(range(99)), [(j, j) for _, j in kept])
    assert set(kept) <= set(pairs)
    best = [1] * len(targets)
    for i, target in enumerate(targets):
        best[i] = 1 + max((best[k] for k in range(i) if targets[k] < target), default=0)
    assert len(kept) == max(best, default=0)
