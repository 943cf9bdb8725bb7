"""Delay bounding: all schedules that differ from the default one in few places.

Emmi, Qadeer and Rakamaric, "Delay-bounded scheduling" (POPL 2011). The deterministic scheduler is here the plainest
one: keep running the current task, and when it blocks take the oldest. A delay makes it skip the task that it was about
to run and take the next one; so answer v costs v delays, also where the choice is not about a preemption. For k steps
there are at most k^d schedules with d delays, however many tasks there are.

Deviation: the paper's scheduler goes round the tasks; this one starts from the oldest whenever one blocks, which is
what answer 0 means everywhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .bounded import PER_ANSWER, Bounded

if TYPE_CHECKING:
    from random import Random

    from ...engine.task import Task


class DelayBound(Bounded):
    """Every schedule with at most `limit` delays; see `Bounded`."""

    name: ClassVar[str] = "delay"
    summary: ClassVar[str] = (
        "every schedule at most d delays away from the default one, fewest first (delay:d)"
    )
    unit: ClassVar[str] = "delay"

    def __init__(self, limit: int = 2, order: Random | None = None) -> None:
        super().__init__(limit, order)

    def tariff(self, current: Task | None) -> int:
        return PER_ANSWER
