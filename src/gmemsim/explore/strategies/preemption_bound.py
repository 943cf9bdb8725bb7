"""Preemption bounding: all schedules with few preemptions, those with none first.

Musuvathi and Qadeer, "Iterative context bounding for systematic testing of multithreaded programs" (PLDI 2007). A
preemption is a switch away from a task that could have gone on; a switch from one that blocked, ended, sleeps on a
timer or goes round in a retry loop is free, and so all tasks are tried there. Most bugs that are known need one or two.
For n tasks of k steps there are at most (nk choose c) (n + c)! schedules with c preemptions: polynomial in k.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .bounded import FREE, UNIT, Bounded

if TYPE_CHECKING:
    from random import Random

    from ...engine.task import Task


class PreemptionBound(Bounded):
    """Every schedule with at most `limit` preemptions; see `Bounded`."""

    name: ClassVar[str] = "preemption"
    summary: ClassVar[str] = "every schedule with at most c preemptions, fewest first (preemption:c)"
    unit: ClassVar[str] = "preemption"

    def __init__(self, limit: int = 2, order: Random | None = None) -> None:
        super().__init__(limit, order)

    def tariff(self, current: Task | None) -> int:
        return FREE if current is None or current.pending.kind == "sleep" else UNIT
