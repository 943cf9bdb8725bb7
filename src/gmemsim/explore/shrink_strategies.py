"""Strategies that a shrinker tries: a given order of tasks, and runs with few preemptions."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from ..engine.tape import Replay, Tape
from .lenient import MAX_ALONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..engine.engine import Engine
    from ..engine.task import Task

__all__ = ["FewPreemptions", "InOrder", "answer_for"]


def answer_for(runnable: Sequence[Task], current: Task | None, task: Task) -> int:
    """The answer that stands for `task`; the reverse of `engine.engine.candidate`."""
    if current is None:
        return runnable.index(task)
    if task is current:
        return 0
    return runnable.index(task) or runnable.index(current)


class _Fair:
    """Draws other than scheduling come from a tape, as far as it has them; nobody runs alone for ever."""

    def __init__(self, tape: Tape) -> None:
        self._draws = Replay(Tape(choice for choice in tape.raw if choice[2] != "sched"), strict=False)
        self._alone = 0
        self._turn = 0

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Any choice but that of the next task."""
        return self._draws.answer(task.name, task.call, label, bound)

    def fair(self, answer: int, runnable: list[Task], current: Task | None) -> int:
        """`answer`, unless the current task has had the machine for itself too long."""
        if answer or current is None:
            self._alone = 0
            return answer
        self._alone += 1
        if self._alone <= MAX_ALONE:
            return 0
        self._alone = 0
        self._turn += 1
        return 1 + self._turn % (len(runnable) - 1)


class InOrder(_Fair):
    """Tasks take their steps in a given order, as far as they can; afterwards the current one goes on."""

    def __init__(self, order: Iterable[str], tape: Tape) -> None:
        super().__init__(tape)
        self._order = list(order)
        self._position = 0

    def begin(self, engine: Engine) -> bool:
        """Look at every step: those that nobody is asked about are in the order too."""
        engine.watch_steps(self._step)
        return True

    def _step(self, task: Task) -> None:
        if self._position < len(self._order) and self._order[self._position] == task.name:
            self._position += 1

    def pick(self, runnable: list[Task], current: Task | None) -> int:
        """Who is next in the order and can run; those before who cannot have lost their turn."""
        by_name = {task.name: task for task in runnable}
        while self._position < len(self._order):
            wanted = by_name.get(self._order[self._position])
            if wanted is not None:
                return answer_for(runnable, current, wanted)
            self._position += 1
        return self.fair(0, runnable, current)


class FewPreemptions(_Fair):
    """At most `count` preemptions, at moments drawn from the seed; who follows a task that gave way is drawn too.

    Args:
        length: steps among which the moments are drawn.
        tape: for draws other than scheduling.
    """

    def __init__(self, seed: int, count: int, length: int, tape: Tape) -> None:
        super().__init__(tape)
        self._random = Random(seed)
        self._moments = {int(self._random.random() * length) for _ in range(count)}
        self._picks = 0

    def begin(self, engine: Engine) -> bool:
        """Nothing to prepare."""
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> int:
        """Who runs next."""
        if current is None:
            return int(self._random.random() * len(runnable))
        here = self._picks
        self._picks += 1
        if here in self._moments:
            return 1 + int(self._random.random() * (len(runnable) - 1))
        return self.fair(0, runnable, current)
