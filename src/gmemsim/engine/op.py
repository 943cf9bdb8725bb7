"""Operations: what a task is about to do, as the scheduler sees it before it happens.

An `Op` names the shared object, the half-open index range that is touched and whether the touch only
reads. Strategies, the race detector and partial-order reduction work on ops alone; they never look inside
model code. Two ops are *dependent* when they touch the same object, their ranges overlap and at least one
of them writes.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["ALL", "Mode", "Op", "OpKind", "dependent"]

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
