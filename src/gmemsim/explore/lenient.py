"""A lenient replay that comes to an end.

Where the tape has nothing to say, the default answer is "let the current task go on". A task that spins until another
one gets somewhere (a fault that is retried while its page is being invalidated) would then go on for ever, so after a
limit the others get a turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..engine.answers import candidate
from ..engine.strategy import ReplayStrategy

if TYPE_CHECKING:
    from ..engine.tape import Tape
    from ..engine.task import Task

#: Steps that a task may take in a row before another one is let in. No kernel function of the model has as many.
MAX_ALONE: Final = 400


class Turns:
    """Gives the others a turn when one task has had the machine for itself for too long."""

    def __init__(self) -> None:
        self._alone = 0
        self._turn = 0

    def next(self, task: Task, runnable: list[Task], current: Task | None) -> Task:
        """`task`, or somebody whose turn it is."""
        if current is None or task is not current:
            self._alone = 0
            return task
        self._alone += 1
        if self._alone <= MAX_ALONE:
            return task
        self._alone = 0
        self._turn += 1
        return candidate(runnable, current, 1 + self._turn % (len(runnable) - 1))


class LenientReplay(ReplayStrategy):
    """Gives back a tape as far as its choices are asked for (`engine.tape.Replay`), and is fair beyond."""

    def __init__(self, tape: Tape) -> None:
        super().__init__(tape, strict=False)
        self._turns = Turns()

    @property
    def diverged_at(self) -> int | None:
        """Choices given back before the first draw that the tape does not have; None: there was none."""
        return self.replay.diverged_at

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Who runs next."""
        return self._turns.next(super().pick(runnable, current), runnable, current)
