"""The choice tape: every non-deterministic decision of a run, in order, with its label and bound.

A draw is recorded only if it had more than one possible answer. The value 0 always means "the default":
keep running the current task if it can, else the oldest; no fault; the first waiter. So shrinking a tape
towards zeros removes preemptions and faults.

Choices are keyed by (task, call, label), not by their position: `call` is the number of the workload
operation that the task is executing. A lenient replay looks a draw up under its key, so deleting one
operation of a workload leaves the choices of all others in place.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import NamedTuple

from .errors import TapeMismatch


class Choice(NamedTuple):
    """One recorded draw: who drew it, in which of its calls, what it was about, the answer and the bound."""

    task: str
    call: int
    label: str
    value: int
    bound: int


class Tape:
    """An append-only list of choices.

    Attributes:
        steps: after so many the tape ends although the run would go on, as in a loop that no step leaves; None: it is
            of a whole run.
    """

    __slots__ = ("raw", "steps")

    def __init__(self, choices: Iterable[tuple[str, int, str, int, int]] = ()) -> None:
        #: Plain tuples in the field order of `Choice`: building a named one would double the cost of a step.
        self.raw: list[tuple[str, int, str, int, int]] = list(choices)
        self.steps: int | None = None

    @property
    def choices(self) -> list[Choice]:
        return [Choice(*raw) for raw in self.raw]

    def __len__(self) -> int:
        return len(self.raw)


class Replay:
    """Answers draws from a recorded tape.

    Args:
        tape: the choices to give back.
        strict: raise `TapeMismatch` at the first draw that differs from the tape in key or bound; otherwise
            answer unknown draws with 0, and values beyond the bound with `bound - 1`.

    Attributes:
        diverged_at: number of draws answered before the first mismatch, or None.
    """

    def __init__(self, tape: Tape, strict: bool = True) -> None:
        self.strict = strict
        self.diverged_at: int | None = None
        self._given = 0
        self._in_order = deque(tape.choices)
        self._by_key: defaultdict[tuple[str, int, str], deque[Choice]] = defaultdict(deque)
        if not strict:
            for choice in tape.choices:
                self._by_key[choice[:3]].append(choice)

    def answer(self, task: str, call: int, label: str, bound: int) -> int:
        """The recorded answer to this draw."""
        if self.strict:
            if not self._in_order:
                raise TapeMismatch(
                    f"draw {self._given}: the tape ends, but {task} draws {label} (of {bound})"
                )
            choice = self._in_order.popleft()
            if (choice.task, choice.call, choice.label, choice.bound) != (task, call, label, bound):
                raise TapeMismatch(
                    f"draw {self._given}: {task} call {call} draws {label} (of {bound}), the tape has "
                    f"{choice.task} call {choice.call} {choice.label} (of {choice.bound})"
                )
            self._given += 1
            return choice.value
        queue = self._by_key.get((task, call, label))
        if not queue:
            if self.diverged_at is None:
                self.diverged_at = self._given
            return 0
        self._given += 1
        return min(queue.popleft().value, bound - 1)
