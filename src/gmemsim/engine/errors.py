"""What a run can end with, other than normally."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .task import Task


class EngineError(Exception):
    """Base of every error that the engine itself raises."""


class ModelError(EngineError):
    """Model code broke a rule of the engine (released a lock it does not hold, and the like)."""


class StepLimit(EngineError):
    """The run took more steps than allowed: a livelock, or a limit set too low."""

    def __init__(self, steps: int) -> None:
        super().__init__(f"no end after {steps} steps; raise max_steps if the workload is really this long")
        self.steps = steps


class Pruned(EngineError):
    """A strategy ends a run: whatever follows has been covered by another run, or will be.

    Raise it in `pick` or while watching a step, never in `draw`: that is called from inside model code.
    """


class TapeMismatch(EngineError):
    """A strict replay met a draw that the tape does not have."""


class Deadlock(EngineError):
    """Every unfinished task waits for something that no one will do.

    Attributes:
        waits: one `(task, object waited for, holders)` per blocked task, in task order.
        tasks: the blocked tasks themselves, for who wants to know modes and queues.
    """

    def __init__(self, blocked: list[Task]) -> None:
        self.tasks = tuple(blocked)
        self.waits: list[tuple[str, str, tuple[str, ...]]] = []
        for task in blocked:
            on = task.parked_on
            holders = () if on is None else tuple(on.holders())
            self.waits.append((task.name, "nothing" if on is None else on.label, holders))
        text = "; ".join(
            f"{n} waits for {o}" + (f" held by {', '.join(h)}" if h else "") for n, o, h in self.waits
        )
        super().__init__(f"deadlock: {text}")
