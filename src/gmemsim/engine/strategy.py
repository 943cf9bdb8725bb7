"""Who decides: the interface of a strategy, and the two that the engine itself needs.

A strategy picks who runs next and answers all other draws. On the tape a pick is a draw too, with label `sched` and one
answer per runnable task (`answers`). Richer strategies
(bounded, partial-order, probabilistic) live in `explore` behind the same three methods, after Shuttle's
`Scheduler` trait.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Protocol

from .answers import candidate
from .tape import Replay

if TYPE_CHECKING:
    from .engine import Engine
    from .tape import Tape
    from .task import Task


class Strategy(Protocol):
    """Answers every draw of one run after another."""

    def begin(self, engine: Engine) -> bool:
        """Start a run; False when there is nothing left to try."""
        ...

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Who goes next: one of `runnable`, at least two. `current` is among them; None: it cannot go on."""
        ...

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Any other choice, in `range(bound)`."""
        ...


class FirstRunnable:
    """Run each task until it blocks, and answer 0 to everything else: the schedule that timed runs use."""

    def begin(self, engine: Engine) -> bool:
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        return runnable[0] if current is None else current

    def draw(self, task: Task, label: str, bound: int) -> int:
        return 0


class RandomStrategy:
    """Uniform over the runnable tasks at every step (not uniform over interleavings; see the reach table)."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._pick = self._random.random

    def begin(self, engine: Engine) -> bool:
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        return candidate(runnable, current, int(self._pick() * len(runnable)))

    def draw(self, task: Task, label: str, bound: int) -> int:
        return int(self._pick() * bound)


class ReplayStrategy:
    """Give back a recorded tape (see `Replay` for strict and lenient)."""

    def __init__(self, tape: Tape, strict: bool = True) -> None:
        self.replay = Replay(tape, strict)

    def begin(self, engine: Engine) -> bool:
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        # A task that just parked or finished cannot go on, but the choice was recorded under its call.
        asked = runnable[0].engine.current if current is None else current
        name, call = ("-", 0) if asked is None else (asked.name, asked.call)
        return candidate(runnable, current, self.replay.answer(name, call, "sched", len(runnable)))

    def draw(self, task: Task, label: str, bound: int) -> int:
        return self.replay.answer(task.name, task.call, label, bound)
