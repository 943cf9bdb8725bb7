"""Strategies that a shrinker tries: a given order of tasks, and runs with few preemptions."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from ..engine.answers import candidate
from ..engine.tape import Replay, Tape
from .lenient import Turns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..engine.engine import Engine
    from ..engine.task import Task


class _Fair:
    """Draws other than scheduling come from a tape, as far as it has them; nobody runs alone for ever."""

    def __init__(self, tape: Tape) -> None:
        self._draws = Replay(Tape(choice for choice in tape.raw if choice[2] != "sched"), strict=False)
        self._turns = Turns()

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Any choice but that of the next task."""
        return self._draws.answer(task.name, task.call, label, bound)

    def go_on(self, runnable: list[Task], current: Task | None) -> Task:
        """The current task or the oldest, unless the current one has had the machine for itself too long."""
        return self._turns.next(candidate(runnable, current, 0), runnable, current)


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

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Who is next in the order and can run; those before who cannot have lost their turn."""
        by_name = {task.name: task for task in runnable}
        while self._position < len(self._order):
            wanted = by_name.get(self._order[self._position])
            if wanted is not None:
                return wanted
            self._position += 1
        return self.go_on(runnable, current)


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

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Who runs next."""
        if current is None:
            return runnable[int(self._random.random() * len(runnable))]
        here = self._picks
        self._picks += 1
        if here in self._moments:
            return candidate(runnable, current, 1 + int(self._random.random() * (len(runnable) - 1)))
        return self.go_on(runnable, current)
