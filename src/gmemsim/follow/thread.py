"""A thread of the trace, and the task that stands for it."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..engine.task import Task
    from .calls import Call
    from .lookahead import Lookahead
    from .probes import Observation

_DIGITS: Final = re.compile(r"\d+")


class Thread:
    """One thread of the trace and the task that stands for it.

    Attributes:
        shown: observations that the task produced and the trace has not reached yet.
        waits_for_folios: the truncation is past its edges, in the pass that waits for busy folios.
        has_file: it has a reference of the file (`get_file_active`, `fdget`).
        gfn, snapshot, ranges, private, generation: state of the fault in progress, for `outcomes`.
        call: the call that the task makes, or None between two calls.
        made: the call that it made last.
        left_out: the last call that is none of the file's (`fails_elsewhere`).
        taken: steps that the task has taken.
    """

    __slots__ = (
        "call", "calls", "future", "generation", "gfn", "has_file", "left_out", "looking", "made", "name", "notifying",
        "private", "ranges", "shown", "snapshot", "taken", "task", "truncating", "waits_for_folios", "zapping",
    )  # fmt: skip

    def __init__(self, name: str, future: Lookahead, calls: list[Call]) -> None:
        self.name = name
        self.future = future
        self.calls = deque(calls)
        self.call: Call | None = None
        self.made: Call | None = None
        self.left_out: Call | None = None
        self.shown: deque[Observation] = deque()
        self.has_file = False
        self.gfn = -1
        self.generation = 0
        self.snapshot = 0
        self.ranges = 0
        self.private: bool | None = None
        self.truncating = False
        self.waits_for_folios = False
        self.looking = False
        self.zapping = False
        self.notifying = False
        self.task: Task
        self.taken = 0

    @property
    def releases_next(self) -> bool:
        """Whether its next call is the release of the file."""
        return bool(self.calls) and self.calls[0].kind == "release"


class Rejected(Exception):
    """The model cannot take the event; carries the reason."""

    def __init__(self, reason: str, fault: tuple[str, int] | None = None) -> None:
        super().__init__(reason)
        #: The fault (thread, number of its first step) whose kind may have been read at the wrong end of its window.
        self.fault = fault


def next_position(thread: Thread) -> int:
    """Where the thread shows something next; of two that can help, the one that is due first did it first."""
    step = thread.future.next_event()
    return 1 << 60 if step is None else step.position


def kind_of(thread: str) -> str:
    """`vcpu1-451` is a `vcpu`, and `CPU 0/KVM-451` is of one kind with `CPU 1/KVM-452`."""
    return _DIGITS.sub("", thread.rpartition("-")[0])
