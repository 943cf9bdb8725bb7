"""The nearest passing schedule: change one choice of a failing tape, and see whether that is enough.

First the choices that stopped a task, or let a fault happen, get the default answer 0, the last first and time-outs of
locks last, and everything else stays as it was, as far as it still fits. Then all choices get every other answer, again
from the end. If none of these runs passes, the tape is cut behind the changed choice, so that from there on nobody is
stopped. The first run that passes is the one reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..engine.strategy import ReplayStrategy
from ..engine.tape import Tape
from .model import Nearest, Turn
from .recording import record
from .words import event_text, is_message, op_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..explore.runs import Program
    from .model import Step
    from .recording import Recording

#: Runs that the search for a passing schedule may take.
TRIES: Final = 256
#: Steps that they may take together: a livelock is long.
BUDGET: Final = 200_000

#: Draws of a lock about time.
_TIMEOUTS: Final = ("rwsem.deadline",)

Raw = tuple[str, int, str, int, int]


def changes(raw: Sequence[Raw]) -> Iterator[tuple[int, int, bool]]:
    """Position, new answer, and whether the rest is kept, of every change in the order in which they are tried."""
    # When a waiter times out decides little by itself, and turns much round: a deadlock that needs no time-out
    # is not explained by one. So it comes last.
    back = sorted(range(len(raw) - 1, -1, -1), key=lambda position: raw[position][2].startswith(_TIMEOUTS))
    stops = [position for position in back if raw[position][3]]
    others = [
        (position, answer)
        for position in back
        for answer in range(1, raw[position][4])
        if answer != raw[position][3]
    ]
    yield from ((position, 0, True) for position in stops)
    yield from ((position, answer, True) for position, answer in others)
    yield from ((position, 0, False) for position in stops)
    yield from ((position, answer, False) for position, answer in others)


def find_nearest(
    program: Program, failing: Recording, *, max_steps: int, tries: int = TRIES
) -> tuple[Nearest | None, Recording | None, int]:
    """The nearest passing schedule with its recording, if one was found, and how many changes were run."""
    raw = failing.engine.tape.raw
    tried = steps = 0
    for position, answer, keep in changes(raw):
        if tried >= tries or steps >= BUDGET:
            break
        tried += 1
        task, call, label, _, bound = raw[position]
        changed: Raw = (task, call, label, answer, bound)
        tape = Tape([*raw[:position], changed, *(raw[position + 1 :] if keep else ())])
        recording = record(program, ReplayStrategy(tape, strict=False), max_steps)
        steps += len(recording.steps)
        if recording.failure is None:
            return _describe(failing, recording, position, tried, keep), recording, tried
    return None, None, tried


def _describe(failing: Recording, passing: Recording, position: int, tried: int, kept: bool) -> Nearest:
    task, call, label, was, bound = failing.engine.tape.raw[position]
    now = passing.engine.tape.raw[position][3]
    at = _decided(failing.steps, position, label)
    other = _decided(passing.steps, position, label)
    # The step before is the same in both: nothing differed until then.
    before = _turn(failing.steps[at - 1]) if at else None
    return Nearest(
        tried,
        kept,
        position,
        label,
        task,
        call,
        was,
        now,
        bound,
        failing.steps[at].number,
        before,
        _turn(failing.steps[at]),
        _turn(passing.steps[other]),
        tuple(passing.engine.tape.raw),
        len(passing.steps),
    )


def _decided(steps: Sequence[Step], position: int, label: str) -> int:
    """Index of the step that the choice decides about: the one it lets run, or the one in which it is drawn."""
    if label == "sched":
        for index, step in enumerate(steps):
            if step.choice == position:
                return index
    # A draw inside a step: the first step at whose end it was on the tape.
    return next((index for index, step in enumerate(steps) if step.drawn > position), len(steps) - 1)


def _turn(step: Step) -> Turn:
    events = tuple(
        event_text(happening.event) for happening in step.happenings if not is_message(happening.event)
    )
    return Turn(step.task, step.then, step.function, op_text(step.op, step.primitive), events)
