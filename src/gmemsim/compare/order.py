"""Which dependent steps come in another order: one pass over the left, with the places of the right."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING

from ..engine.op import ALL, Op
from .footprint import MESSAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .footprint import Footprints
    from .runs import Run, Steps

#: First and last cell, and whether the step changes them.
_Access = tuple[int, int, bool]


class Cells:
    """Every object cut into the smallest parts that some step touches alone; parts of all objects are numbered."""

    def __init__(self, footprints: dict[int, tuple[Op, ...]]) -> None:
        bounds: defaultdict[str, set[int]] = defaultdict(set)
        for ops in footprints.values():
            for op in ops:
                bounds[op.obj].update((op.lo, op.hi))
        self._bounds = {obj: sorted(found) for obj, found in bounds.items()}
        self._base: dict[str, int] = {}
        self.count = 0
        for obj, found in self._bounds.items():
            self._base[obj] = self.count
            self.count += len(found) - 1
        self.accesses = {step: tuple(map(self._access, ops)) for step, ops in footprints.items()}

    def _access(self, op: Op) -> _Access:
        base, bounds = self._base[op.obj], self._bounds[op.obj]
        return base + bisect_left(bounds, op.lo), base + bisect_left(bounds, op.hi), op.mode != "r"


def inversions(
    steps: Steps, footprints: Footprints, left: Run, places: list[int], right_length: int
) -> Iterator[tuple[int, int, str]]:
    """Dependent steps of the left that come in another order on the right: the positions of both, and the object.

    For every step that came too early, the one that it overtook farthest on each part of what it touches; none at all
    exactly if no pair of dependent steps changed its order.

    Args:
        places: for each step of the left its place on the right, or -1 if it has none there.
    """
    used = {left.steps[position] for position, place in enumerate(places) if place >= 0}
    ops = {step: footprints.of(steps.known[step].actor, steps.known[step].event) for step in used}
    cells = Cells(ops)
    accesses = cells.accesses
    # The farthest place on the right of a change and of a look at each cell, so far.
    changed = [-1] * cells.count
    seen = [-1] * cells.count
    back = [-1] * right_length
    messages: dict[int, int] = {}
    numbers = left.messages
    for position, (step, place) in enumerate(zip(left.steps, places, strict=True)):
        if place < 0:
            continue
        back[place] = position
        for low, high, writes in accesses[step]:
            if high == low + 1:
                before = changed[low]
                if writes and seen[low] > before:
                    before = seen[low]
                if before > place:
                    yield back[before], position, _object(ops[step], accesses[step], low)
                if writes:
                    if changed[low] < place:
                        changed[low] = place
                elif seen[low] < place:
                    seen[low] = place
                continue
            before = max(changed[low:high])
            if writes:
                looked = max(seen[low:high])
                before = max(before, looked)
            if before > place:
                yield back[before], position, _object(ops[step], accesses[step], low)
            row = changed if writes else seen
            if max(row[low:high]) <= place:
                row[low:high] = [place] * (high - low)
            else:
                row[low:high] = [max(value, place) for value in row[low:high]]
        if position in numbers:
            number = numbers[position]
            before = messages.get(number, -1)
            if before > place:
                yield back[before], position, MESSAGES
            messages[number] = max(before, place)


def _object(ops: tuple[Op, ...], accesses: tuple[_Access, ...], low: int) -> str:
    """What the access to the cells from `low` is of, for people."""
    op = next(op for op, access in zip(ops, accesses, strict=True) if access[0] == low)
    if op.hi == ALL:
        return op.obj
    return f"{op.obj} {op.lo}" if op.hi == op.lo + 1 else f"{op.obj} {op.lo}-{op.hi - 1}"
