"""Which items of two sequences belong together: a shortest edit script where it is cheap, else a good one.

Myers' O(ND) is exact and quick on sequences that differ little. Where they differ a lot it would take
minutes, so it has a bound; beyond it the k-th occurrence of an item is paired with the k-th, and the longest
increasing run of such pairs is kept, which costs O(n log n) whatever the input.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Sequence

#: Edits up to which the script is a shortest one.
MAX_EDITS = 192


def align(
    left: Sequence[Hashable], right: Sequence[Hashable], max_edits: int = MAX_EDITS
) -> list[tuple[int, int]]:
    """Pairs `(i, j)` with `left[i] == right[j]`, both increasing: as many as possible.

    If that takes more than `max_edits` edits, a common subsequence that need not be the longest.
    """
    short = min(len(left), len(right))
    head = 0
    while head < short and left[head] == right[head]:
        head += 1
    tail = 0
    while tail < short - head and left[-1 - tail] == right[-1 - tail]:
        tail += 1
    n, m = len(left) - tail, len(right) - tail
    pairs = [(i, i) for i in range(head)]
    if n > head and m > head:
        middle = _myers(left[head:n], right[head:m], max_edits)
        if middle is None:
            middle = increasing(occurrences(left[head:n], right[head:m]))
        pairs.extend((i + head, j + head) for i, j in middle)
    pairs.extend((n + k, m + k) for k in range(tail))
    return pairs


def _myers(
    left: Sequence[Hashable], right: Sequence[Hashable], max_edits: int
) -> list[tuple[int, int]] | None:
    """Pairs of a longest common subsequence, or None if that takes more than `max_edits` edits."""
    n, m = len(left), len(right)
    if abs(n - m) > max_edits:
        return None
    reach = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(min(n + m, max_edits) + 1):
        trace.append(reach.copy())
        for diagonal in range(-edits, edits + 1, 2):
            below = reach.get(diagonal + 1, -1)
            beside = reach.get(diagonal - 1, -1)
            i = below if diagonal == -edits or (diagonal != edits and beside < below) else beside + 1
            j = i - diagonal
            while i < n and j < m and left[i] == right[j]:
                i += 1
                j += 1
            reach[diagonal] = i
            if i >= n and j >= m:
                return _walk_back(trace, n, m)
    return None


def _walk_back(trace: list[dict[int, int]], n: int, m: int) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    i, j = n, m
    for edits in range(len(trace) - 1, -1, -1):
        reach = trace[edits]
        diagonal = i - j
        below = reach.get(diagonal + 1, -1)
        beside = reach.get(diagonal - 1, -1)
        insertion = diagonal == -edits or (diagonal != edits and beside < below)
        before = diagonal + 1 if insertion else diagonal - 1
        from_i = max(reach.get(before, 0), 0)
        from_j = from_i - before
        while i > from_i and j > from_j and i > 0 and j > 0:
            i -= 1
            j -= 1
            pairs.append((i, j))
        if edits:
            i, j = from_i, from_j
    pairs.reverse()
    return pairs


def occurrences(left: Sequence[Hashable], right: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The k-th occurrence of each item on the left with the k-th on the right, in the order of the left."""
    places: dict[Hashable, list[int]] = {}
    for j in range(len(right) - 1, -1, -1):
        places.setdefault(right[j], []).append(j)
    pairs: list[tuple[int, int]] = []
    for i, item in enumerate(left):
        rest = places.get(item)
        if rest:
            pairs.append((i, rest.pop()))
    return pairs


def increasing(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """A longest selection of `pairs`, sorted by their left half, in which the right halves increase too."""
    ends: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for number, (_, j) in enumerate(pairs):
        place = bisect_left(ends, j)
        if place == len(ends):
            ends.append(j)
            last.append(number)
        else:
            ends[place] = j
            last[place] = number
        before.append(last[place - 1] if place else -1)
    kept: list[tuple[int, int]] = []
    number = last[-1] if last else -1
    while number >= 0:
        kept.append(pairs[number])
        number = before[number]
    kept.reverse()
    return kept
