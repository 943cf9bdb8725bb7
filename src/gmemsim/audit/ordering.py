"""Order between tasks and between operations: who came first on a page, and what a task did first.

Only events (and operations) that both sides hold equally often are looked at, k-th against k-th; of the
others it would be a guess which one is the additional one. The longest part that is in the same order stays,
and the rest has moved.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from .align import increasing, occurrences
from .changes import Change, Tally
from .projection import ACTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .projection import Projection, Projector

__all__ = ["interleavings", "sequences"]

#: How many steps are looked at for one that depends on a step that passed them.
_NEAR = 256


def interleavings(projector: Projector, left: Projection, right: Projection) -> Iterator[Change]:
    """On which pages the events of different tasks come in another order."""
    codes = projector.coder.codes
    texts = [codes[code].text for code in projector.coder.anywhere]

    def conflict(item: int, other: int) -> bool:
        return item // ACTOR != other // ACTOR

    found: defaultdict[tuple[str, str, bool], Tally] = defaultdict(Tally)
    for page in left.pages.keys() & right.pages.keys():
        for item, other, later in _passed(left.pages[page], right.pages[page], conflict):
            one, two = texts[item % ACTOR], texts[other % ACTOR]
            # A pair that swapped is one pair, whichever of the two is taken to have moved.
            tally = found[(one, two, later) if one <= two else (two, one, not later)]
            tally.add(0, page, item // ACTOR)
            tally.add(0, page, other // ACTOR)
    for (event, passed, later), tally in found.items():
        sides = _sides(passed, later)
        yield Change("interleaving", event, tally.where(projector.actors), *sides, len(tally.pages))


def sequences(projector: Projector, left: Projection, right: Projection) -> Iterator[Change]:
    """Which operations a task does in another order, where it matters: same page, or several pages."""
    codes = projector.coder.codes
    texts: dict[int, str] = {}
    places: dict[int, int | None] = {}
    for number, contents in (*left.groups.items(), *right.groups.items()):
        if number not in texts:
            first = codes[projector.contents[contents[0]][0]]
            texts[number] = first.text
            places[number] = projector.page_in(number, first.page)

    def conflict(item: int, other: int) -> bool:
        return places[item] is None or places[other] is None or places[item] == places[other]

    found: defaultdict[tuple[str, str, bool], Tally] = defaultdict(Tally)
    for actor in left.sequence.keys() & right.sequence.keys():
        for item, other, later in _passed(left.sequence[actor], right.sequence[actor], conflict):
            found[texts[item], texts[other], later].add(1, places[item], actor)
    for (event, passed, later), tally in found.items():
        sides = _sides(passed, later)
        yield Change("sequence", event, tally.where(projector.actors), *sides, tally.count)


def _sides(other: str, later: bool) -> tuple[str, str]:
    """Where an event stood and stands that passed `other`."""
    return (f"before {other}", f"after {other}") if later else (f"after {other}", f"before {other}")


def _passed(
    left: Sequence[int], right: Sequence[int], conflict: Callable[[int, int], bool]
) -> Iterator[tuple[int, int, bool]]:
    """Items that passed one that they conflict with: the item, the other, and whether it comes later now."""
    if left == right:
        return
    often = Counter(left)
    other_side = Counter(right)
    same = {item for item, count in often.items() if other_side[item] == count}
    lefts = [item for item in left if item in same]
    rights = [item for item in right if item in same]
    if lefts == rights:
        return
    pairs = occurrences(lefts, rights)
    stayed = increasing(pairs)
    places = [i for i, _ in stayed]
    targets = [j for _, j in stayed]
    before = (-2, -2)
    for i, j in sorted(set(pairs) - set(stayed)):
        here, there = bisect_left(places, i), bisect_left(targets, j)
        together, before = (i - 1, j - 1) == before, (i, j)
        if together:
            # Part of a block, which its first item stands for.
            continue
        # From the old place towards the new one: the first that matters.
        steps = range(here, there) if here < there else range(here - 1, there - 1, -1)
        for number in steps[:_NEAR]:
            other = lefts[places[number]]
            if conflict(lefts[i], other):
                yield lefts[i], other, here < there
                break
