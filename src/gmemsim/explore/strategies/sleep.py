"""Sleep sets for a search that remembers states.

A task whose step was tried from a state need not take it again behind another one's step that is independent of it:
both orders lead to one state (Godefroid, "Partial-order methods for the verification of concurrent systems", LNCS
1032, chapter 5). It sleeps until somebody takes a step that is not independent. So every state is still met, by fewer
steps.

Two steps are independent if neither touches what the other one changes, as in `dpor`. That keeps every state of the
model, and not what the oracles remember of the past, which is state as well. For these one of the two has to be
*silent* besides: it only reads, no audit event is told, and nothing but the position of its own task is changed,
neither in the model nor in what an oracle remembers, as a look at both states shows. Then the other one does the same
in the same model, and whoever looks on sees the same in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...engine.op import dependent, footprint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...engine.engine import Engine
    from ...engine.op import Op
    from ...engine.task import Task


class Step(NamedTuple):
    """What is known of a step: what it touched, and whether it was silent."""

    ops: tuple[Op, ...]
    silent: bool


#: Tasks that sleep, by number, with the step that each would take.
Sleepers = dict[int, Step]


def independent(one: Step, other: Step, *, silent: bool) -> bool:
    """Whether both orders of two steps of different tasks are the same; with `silent`, for the oracles as well."""
    return (one.silent or other.silent or not silent) and not any(
        dependent(a, b) for a in one.ops for b in other.ops
    )


class Choice:
    """A state in which a task is chosen.

    Attributes:
        order: the answers to try, in this order.
        idents: number of the task behind each answer of `order`.
        done: tasks that have been tried, with their steps.
        last: the task that was tried last, and its step; None if it is not to be put to sleep.
    """

    __slots__ = ("done", "idents", "last", "order")

    def __init__(self, order: tuple[int, ...], idents: tuple[int, ...]) -> None:
        self.order = order
        self.idents = idents
        self.done: Sleepers = {}
        self.last: tuple[int, Step] | None = None

    def next(self) -> None:
        """Everything behind the last answer has been explored."""
        if self.last is not None:
            ident, step = self.last
            self.done[ident] = step
        self.last = None


class StepWatch:
    """Looks at the steps of one run that is taken back and forth.

    Attributes:
        task: whose step is under way or was the last.
        drew: another choice was made in it.
        choice: where it was chosen, if there were others.
    """

    #: Goes on from run to run (see `state.heap`).
    __kept__ = True

    def __init__(self, engine: Engine) -> None:
        self.task: Task | None = None
        self.drew = False
        self.choice: Choice | None = None
        self._op: Op | None = None
        self._events = self._before = 0
        engine.ask_touched([])
        first = engine.rec

        def rec(task: Task, event: object) -> None:
            self._events += 1
            if first is not None:
                first(task, event)

        engine.rec = rec

    def begins(self, task: Task, choice: Choice | None) -> None:
        """A task is about to take a step."""
        touched = task.engine.touched
        assert touched is not None
        touched.clear()
        self.task = task
        self.choice = choice
        self.drew = False
        self._op = task.pending
        self._before = self._events
        if choice is not None:
            choice.last = None

    def ended(self, changed: Iterable[object]) -> Step:
        """The step under way is over; `changed` is what it changed beside the coroutines of its task."""
        task, op = self.task, self._op
        assert task is not None
        assert op is not None
        ops = footprint(op, task.engine.touched or ())
        silent = (
            not (self.drew or task.done)
            and task.parked_on is None
            and self._events == self._before
            and all(op.mode == "r" for op in ops)
            and all(one is task for one in changed)
        )
        step = Step(ops, silent)
        if self.choice is not None and not self.drew:
            self.choice.last = task.ident, step
        return step
