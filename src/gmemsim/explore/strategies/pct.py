"""PCT: random priorities, lowered at a few random moments.

Burckhardt, Kothari, Musuvathi and Nagarakatte, "A randomized scheduler with probabilistic guarantees of finding bugs"
(ASPLOS 2010). Every task gets a random priority, and the runnable task with the highest one runs. At d-1 moments,
drawn from the k choices of a run, the task about to run falls below all others. A bug of depth d, that is one for
which the order of d pairs of steps must be right, is found by one run with a probability of at least 1/(n k^(d-1)) for
n tasks.

Deviations:

* k counts the choices of who goes next, not all steps. Where a single task can run a change of priority has no effect
  that the next choice could not have as well.
* k and n are the largest seen in earlier runs of the same strategy. The first run measures and changes no priority. A
  run may be longer than k; then its tail has no change point, and the bound holds for bugs that need none there.
* A task in a retry loop (`retry`) falls below all others, as in the implementations for .NET and Rust. Such a demotion
  uses up no change point. The bound holds for schedules that need no retry loop to go on that long.
* Other draws (faults and the like) are uniform; for a bug that needs some of them to come out in one way the bound is
  to be multiplied by the probability of that.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, ClassVar

from .retry import RetryWatch

if TYPE_CHECKING:
    from ...engine.engine import Engine
    from ...engine.task import Task


class Pct:
    """Priority-based random scheduling.

    Args:
        seed: the same seed gives the same schedules.
        depth: d; at least 1.

    Attributes:
        tasks: n, the most tasks in one run so far.
        choices: k, the most choices of who goes next in one run so far.
        demotions: how often a task in a retry loop was made to wait.

    Raises:
        ValueError: the depth is no positive number.
    """

    name: ClassVar[str] = "pct"
    summary: ClassVar[str] = "random priorities, lowered at d-1 random moments (pct:d)"
    bound: ClassVar[str] = ""
    systematic: ClassVar[bool] = False
    complete: ClassVar[bool] = False

    def __init__(self, seed: int = 0, depth: int = 3) -> None:
        if depth < 1:
            raise ValueError(f"pct needs a depth of at least 1, not {depth}")
        self.depth = depth
        self.schedules = 0
        self.tasks = 0
        self.choices = 0
        self.demotions = 0
        self._random = Random(seed)
        self._engine: Engine | None = None
        self._asked = 0
        #: By choice: the priorities that tasks fall to there.
        self._changes: dict[int, list[float]] = {}
        self._priorities: dict[int, float] = {}
        self._lowest = 0.0
        self._watch = RetryWatch()

    @property
    def floor(self) -> float:
        """1/(n k^(d-1)) with the `tasks` and `choices` of the runs so far."""
        self._measure()
        return 1.0 / (max(1, self.tasks) * int(max(1, self.choices) ** (self.depth - 1)))

    def _measure(self) -> None:
        if self._engine is not None:
            self.tasks = max(self.tasks, len(self._engine.tasks))
            self.choices = max(self.choices, self._asked)

    def begin(self, engine: Engine) -> bool:
        """Draw the change points of a run; the priorities are drawn when a task is first seen."""
        self._measure()
        self._engine = engine
        self.schedules += 1
        self._asked = 0
        self._priorities = {}
        self._lowest = 0.0
        self._watch = RetryWatch()
        self._changes = {}
        if self.choices:
            for priority in range(1, self.depth):
                moment = self._random.randrange(self.choices)
                # Initial priorities are above 1; that of change point i is i/d, as in the paper.
                self._changes.setdefault(moment, []).append(priority / self.depth)
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """The task with the highest priority."""
        moment = self._asked
        self._asked = moment + 1
        priorities = self._priorities
        for task in runnable:
            if task.ident not in priorities:
                priorities[task.ident] = 1 + self._random.random()
        if self._watch.retries(current):
            assert current is not None
            self.demotions += 1
            self._lowest -= 1
            priorities[current.ident] = self._lowest
        best = max(runnable, key=self._priority)
        for lower in self._changes.get(moment, ()):
            priorities[best.ident] = lower
            best = max(runnable, key=self._priority)
        return best

    def _priority(self, task: Task) -> float:
        return self._priorities[task.ident]

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Uniform."""
        return self._random.randrange(bound)
