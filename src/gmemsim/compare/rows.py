"""What differs between two sides, one row a behaviour, the most telling first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

#: Kinds of rows, in the order of a report. `preparation` is the order of clear, prepare and uptodate.
KINDS: Final = (
    "preparation", "outcome", "result", "order", "lock", "step", "wait", "retry", "frame", "message", "count", "value",
    "gone", "new", "interleaving", "access", "rename",
)  # fmt: skip


class Row(msgspec.Struct, frozen=True):
    """One difference.

    Attributes:
        kind: what sort of difference; one of `KINDS`:
            `preparation`, `order`: an operation takes two steps on one frame in the other order.
            `outcome`: a call of the workload comes to another outcome, or to other values: what was read, how many
            pages are done, which page an error names.
            `result`: a function comes to another result or errno.
            `lock`: a lock is taken or not, or held over more or fewer steps.
            `step`: an operation takes a step that it did not take, or no longer takes one.
            `wait`, `retry`: it waits for a lock or is retried where it was not, or no longer.
            `count`: it does the same more or less often.
            `frame`, `message`: a step is about another frame or message than its counterpart.
            `value`, `gone`, `new`: steps of a task that have no equal on the other side.
            `interleaving`: dependent steps of two tasks come in another order.
            `access`: a task reads or changes something more or less often (logs of exploring runs).
            `rename`: a hook has another name.
        operation: in which operations.
        text: what differs.
        left, right: how often each side shows it.
        step: name of the event that it is about, if it is about one.
        function: the kernel function.
        left_method, right_method: class and method of the version responsible with file and line, where the sides are
            versions.
        shown_by: seed or schedule, or number of the step.
        certain: every run of one side shows it, and none of the other.
        count: how often.
    """

    kind: str
    operation: str
    text: str
    left: str
    right: str
    step: str = ""
    function: str = ""
    left_method: str = ""
    right_method: str = ""
    shown_by: str = ""
    certain: bool = True
    count: int = 1


def ranked(rows: Iterable[Row]) -> tuple[Row, ...]:
    """What is certain first, then by kind, then what is most frequent."""
    place = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(
        sorted(rows, key=lambda row: (not row.certain, place[row.kind], -row.count, row.operation, row.text))
    )
