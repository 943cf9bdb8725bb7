"""POS: partial order sampling, random priorities of steps instead of tasks.

Yuan, Yang and Gu, "Partial order aware concurrency sampling" (CAV 2018). Every pending step has a random priority, and
the highest one is taken. A task's next step gets a new priority, and so do the pending steps that race with the one
taken; steps that race with nothing keep theirs and so do not blur the order of those that do. The probability of each
partial order is far more even than under a random walk.

Steps race if `engine.op.dependent` says so of what they announce; what else they touch is not known before they run.
That is exactly the relation that a step's arrival and grant are told apart by, so a lock's arrivals race, too. Other
draws are uniform.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, ClassVar

from ...engine.op import dependent

if TYPE_CHECKING:
    from ...engine.engine import Engine
    from ...engine.task import Task


class Pos:
    """Partial order sampling.

    Args:
        seed: the same seed gives the same schedules.
    """

    name: ClassVar[str] = "pos"
    summary: ClassVar[str] = (
        "random priority for each pending step, drawn again when it races with the one taken"
    )
    bound: ClassVar[str] = ""
    systematic: ClassVar[bool] = False
    complete: ClassVar[bool] = False

    def __init__(self, seed: int = 0) -> None:
        self.schedules = 0
        self._random = Random(seed)
        self._engine: Engine | None = None
        self._priorities: dict[int, float] = {}

    def begin(self, engine: Engine) -> bool:
        """There is always another run."""
        self.schedules += 1
        self._engine = engine
        self._priorities = {}
        engine.watch_steps(self._before_step)
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """The task whose next step has the highest priority."""
        priorities = self._priorities
        for task in runnable:
            if task.ident not in priorities:
                priorities[task.ident] = self._random.random()
        return max(runnable, key=lambda task: priorities[task.ident])

    def _before_step(self, task: Task) -> None:
        """The priorities that end with this step; those of tasks that are parked were dropped when they ran."""
        assert self._engine is not None
        priorities = self._priorities
        op = task.pending
        priorities.pop(task.ident, None)
        for other in self._engine.runnable:
            if other.ident in priorities and dependent(op, other.pending):
                del priorities[other.ident]

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Uniform."""
        return self._random.randrange(bound)
