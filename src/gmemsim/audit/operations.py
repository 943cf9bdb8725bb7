"""What changed inside operations: which steps moved, came, went, or had another result.

Operations of one kind by one actor in one place are matched with each other first, then the steps of each
matched pair. Both are cheap, because logs hold few distinct operations: each pair of them is compared once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from .align import align

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from .identity import Code

__all__ = ["Delta", "Move", "compare_operations", "match_operations"]


class Move(NamedTuple):
    """A step that stands elsewhere, seen from the steps that stayed.

    Attributes:
        code: the step; of a block that moved as one, the one that names it.
        first, last: the first and last step of the left side that it jumped over.
        later: it comes after them on the right, not before.
        single: it jumped over one kind of step only, so that the other could be said to have moved.
    """

    code: int
    first: int
    last: int
    later: bool
    single: bool


class Delta(NamedTuple):
    """How an operation differs from its counterpart; codes of the left side, then of the right.

    Attributes:
        moves: steps in another place.
        changes: the same step with other values.
        gone, new: steps of the left or right side only.
    """

    moves: tuple[Move, ...]
    changes: tuple[tuple[int, int], ...]
    gone: tuple[int, ...]
    new: tuple[int, ...]


def match_operations(
    left: Sequence[int], right: Sequence[int], outcome: Callable[[int], Hashable]
) -> list[tuple[int | None, int | None]]:
    """Pairs of operations that belong together, differing pairs only; None stands for no counterpart.

    Equal ones are taken out first, then those with the same outcome are paired in order, then the rest; so
    that of twenty fruitless attempts and one success the successes meet.
    """
    found: list[tuple[int | None, int | None]] = []
    for lefts, rights in _gaps(left, right, align(left, right)):
        ends = align(list(map(outcome, lefts)), list(map(outcome, rights)))
        found += [(lefts[i], rights[j]) for i, j in ends]
        for rest_left, rest_right in _gaps(lefts, rights, ends):
            both = min(len(rest_left), len(rest_right))
            found += zip(rest_left, rest_right, strict=False)
            found += [(content, None) for content in rest_left[both:]]
            found += [(None, content) for content in rest_right[both:]]
    return found


def _gaps(
    left: Sequence[int], right: Sequence[int], pairs: list[tuple[int, int]]
) -> Iterable[tuple[Sequence[int], Sequence[int]]]:
    """What stands between the pairs of an alignment, where anything does."""
    i = j = 0
    for next_i, next_j in (*pairs, (len(left), len(right))):
        if next_i > i or next_j > j:
            yield left[i:next_i], right[j:next_j]
        i, j = next_i + 1, next_j + 1


def compare_operations(left: Sequence[int], right: Sequence[int], codes: list[Code]) -> Delta:
    """How the operation `left` differs from `right`, both given as the codes of their steps."""
    pairs = align(left, right)
    kept_left = {i for i, _ in pairs}
    kept_right = {j for _, j in pairs}
    rest_left = [i for i in range(len(left)) if i not in kept_left]
    waiting: defaultdict[int, list[int]] = defaultdict(list)
    for j in range(len(right) - 1, -1, -1):
        if j not in kept_right:
            waiting[right[j]].append(j)
    moved: list[tuple[int, int]] = []
    gone: list[int] = []
    for i in rest_left:
        same = waiting.get(left[i])
        if same:
            moved.append((i, same.pop()))
        else:
            gone.append(left[i])
    new = [right[j] for j in sorted(j for rest in waiting.values() for j in rest)]
    moves = _moves(left, pairs, moved, codes)
    changes, gone, new = _changes(gone, new, codes)
    return Delta(tuple(moves), tuple(changes), tuple(gone), tuple(new))


def _moves(
    left: Sequence[int], pairs: list[tuple[int, int]], moved: list[tuple[int, int]], codes: list[Code]
) -> list[Move]:
    """Moved steps, neighbours that moved together as one, without those that only passed independent ones."""
    lefts = [i for i, _ in pairs]
    rights = [j for _, j in pairs]
    blocks: list[tuple[int, int, list[int]]] = []
    before = (-2, -2)
    for i, j in moved:
        here, there = bisect_left(lefts, i), bisect_left(rights, j)
        together = (i - 1, j - 1) == before and bool(blocks) and blocks[-1][:2] == (here, there)
        before = i, j
        if together:
            blocks[-1][2].append(left[i])
        else:
            blocks.append((here, there, [left[i]]))
    moves: list[Move] = []
    for here, there, block in blocks:
        name = next((code for code in block if codes[code].primary), block[0])
        jumped = [left[lefts[number]] for number in range(min(here, there), max(here, there))]
        jumped = [code for code in jumped if _depend(codes[name], codes[code])]
        jumped = [code for code in jumped if codes[code].primary] or jumped
        if jumped:
            single = len({codes[code].text for code in jumped}) == 1
            moves.append(Move(name, jumped[0], jumped[-1], here < there, single))
    return moves


def _depend(one: Code, other: Code) -> bool:
    """Whether the order of two steps of one task matters: unless each is about a page of its own."""
    return one.page is None or other.page is None or one.page[1] == other.page[1]


def _changes(
    gone: list[int], new: list[int], codes: list[Code]
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Take the steps that are there on both sides, with other values, out of `gone` and `new`."""
    offers: defaultdict[object, list[int]] = defaultdict(list)
    for code in reversed(new):
        offers[codes[code].text, codes[code].page].append(code)
    changes: list[tuple[int, int]] = []
    left_over: list[int] = []
    for code in gone:
        offer = offers.get((codes[code].text, codes[code].page))
        if offer:
            changes.append((code, offer.pop()))
        else:
            left_over.append(code)
    taken = Counter(code for _, code in changes)
    really_new: list[int] = []
    for code in new:
        if taken[code]:
            taken[code] -= 1
        else:
            really_new.append(code)
    return changes, left_over, really_new
