"""SURW: selectively uniform random walk, tasks weighted by how many interesting steps they still have to take.

Zhao, Wolff, Mathur and Roychoudhury, "Selectively uniform concurrency testing" (ASPLOS 2025). If every task is picked
with a probability in proportion to the number of its remaining steps, all interleavings are equally likely. The paper
does so for a chosen set of interesting steps alone: which task takes the next interesting step is drawn by weight, the
others wait in front of theirs, and whatever is not interesting is scheduled uniformly.

Deviations:

* The numbers of steps are means over the earlier runs of the same strategy, by task name and object; the first run is
  a uniform walk. So runs with different paths are weighted by an estimate, and the uniformity is approximate.
* The interesting steps of a run are those on one object, drawn anew for each run from the objects that at least two
  tasks used and one of them wrote, or (one case more) all steps, which is the unselective form (URW).
* A chosen task that does not come to its interesting step within `MAX_WAITED` choices, because it waits for or spins on
  a task that is held back, is given up, and another one is drawn.
* The weight of a task that has used up its estimate is one half, not nothing.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, ClassVar, Final

from ...engine.answers import candidate

if TYPE_CHECKING:
    from ...engine.engine import Engine
    from ...engine.op import Op
    from ...engine.task import Task

#: Choices that a task may take to come to the step that it was drawn for.
MAX_WAITED: Final = 100


class Surw:
    """Selectively uniform random walk.

    Args:
        seed: the same seed gives the same schedules.

    Attributes:
        interesting: the object whose steps the present run is uniform over; None: all steps, or the first run.
    """

    name: ClassVar[str] = "surw"
    summary: ClassVar[str] = "uniform over the orders of the steps on one object, another one in each run"
    bound: ClassVar[str] = ""
    systematic: ClassVar[bool] = False
    complete: ClassVar[bool] = False

    def __init__(self, seed: int = 0) -> None:
        self.schedules = 0
        self.interesting: str | None = None
        self._random = Random(seed)
        #: Steps in all earlier runs, by task name and then by object.
        self._counts: dict[str, Counter[str]] = {}
        self._written: set[str] = set()
        #: Of the present run: steps still to come and taken, and who is to take the next interesting one.
        self._left: dict[str, float] = {}
        self._meant: Task | None = None
        self._waited = 0

    def begin(self, engine: Engine) -> bool:
        """Draw what is interesting in this run."""
        self._left = {}
        if self.schedules:
            users: Counter[str] = Counter()
            for counts in self._counts.values():
                users.update(counts.keys())
            shared = sorted(obj for obj, number in users.items() if number > 1 and obj in self._written)
            self.interesting = self._random.choice([None, *shared])
            for name, counts in self._counts.items():
                steps = counts.total() if self.interesting is None else counts[self.interesting]
                self._left[name] = steps / self.schedules
        self.schedules += 1
        self._meant = None
        engine.watch_steps(self._before_step)
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Somebody who is not held back."""
        if self.schedules == 1:
            return candidate(runnable, current, self._random.randrange(len(runnable)))
        if self._meant not in runnable or self._waited > MAX_WAITED:
            self._mean(runnable)
        self._waited += 1
        free = [task for task in runnable if task is self._meant or not self._counts_for(task.pending)]
        return self._random.choice(free)

    def _mean(self, runnable: list[Task]) -> None:
        weights = [max(self._left.get(task.name, 0.0), 0.5) for task in runnable]
        self._meant = self._random.choices(runnable, weights)[0]
        self._waited = 0

    def _counts_for(self, op: Op) -> bool:
        return self.interesting is None or op.obj == self.interesting

    def _before_step(self, task: Task) -> None:
        op = task.pending
        self._counts.setdefault(task.name, Counter())[op.obj] += 1
        if op.mode == "w":
            self._written.add(op.obj)
        if self._counts_for(op):
            self._left[task.name] = self._left.get(task.name, 0.0) - 1
            self._meant = None

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Uniform."""
        return self._random.randrange(bound)
