"""Operations: what a task is about to do, as the scheduler sees it before it happens.

An `Op` names the shared object, the half-open index range that is touched and whether the touch only
reads. Strategies, the race detector and partial-order reduction work on ops alone; they never look inside
model code. Two ops are *dependent* when they touch the same object, their ranges overlap and at least one
of them writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

Mode = Literal["r", "w"]
OpKind = Literal[
    "start", "load", "store", "rmw", "acquire", "try", "release", "wait", "wake", "step", "sleep", "call"
]

#: Upper end of a range that means "the whole object".
ALL: Final = 1 << 62


class Op(msgspec.Struct, frozen=True, gc=False):
    """One visible step.

    Attributes:
        kind: what sort of step; `acquire` is the attempt, `wait` the grant after a park.
        obj: stable label of the shared object (`gmem0.invalidate_lock`), never a memory address.
        lo: first folio index touched (0 for an object without a range).
        hi: one past the last index touched (`ALL` for an object without a range).
        mode: `r` when the step commutes with other reads of the same object.
    """

    kind: OpKind
    obj: str
    lo: int = 0
    hi: int = ALL
    mode: Mode = "w"


def dependent(a: Op, b: Op) -> bool:
    """Whether the order of `a` and `b` can matter."""
    return a.obj == b.obj and a.lo < b.hi and b.lo < a.hi and not (a.mode == "r" and b.mode == "r")


#: What a step announced, and what else it touched.
Footprint = tuple[Op, ...]


def footprint(announced: Op, touched: Iterable[Op]) -> Footprint:
    """Of a step: without what is said twice, or is said by another op of it as well."""
    kept = [announced]
    for op in dict.fromkeys(touched):
        obj, low, high, reads = op.obj, op.lo, op.hi, op.mode == "r"
        covered = more = False
        for other in kept:
            if other.obj == obj:
                if other.lo <= low and high <= other.hi and (reads or other.mode == "w"):
                    covered = True
                    break
                more = more or (low <= other.lo and other.hi <= high and not (reads and other.mode == "w"))
        if covered:
            continue
        if more:
            kept[1:] = [
                other
                for other in kept[1:]
                if other.obj != obj or other.lo < low or high < other.hi or (reads and other.mode == "w")
            ]
        kept.append(op)
    return tuple(kept)
