"""From a cycle in the graph to a deadlock, or to the statement that there is none within a bound.

A cycle is a suspicion: a lock taken before both, a flag, or the order of a thread's calls may rule the deadlock out.
Each is put to the test by schedules that aim at it, after DeadlockFuzzer (Joshi, Park, Sen, Naik, PLDI 2009): a random
schedule that holds every task back which is about to ask for the second lock of an edge while it holds the first, so
that the others get to their first locks. If that finds nothing, a complete search of bounded size is tried.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, ClassVar, Final, Literal, cast

import attrs

from ...engine.answers import candidate
from ...engine.locks.kinds import class_of
from ..judges.deadlock import WaitFor
from ..search import Limits, search, watch_events
from ..strategies.dfs import DepthFirst
from .book import Book, op_label

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...audit.recorder import Rec
    from ...engine.engine import Engine
    from ...engine.task import Task
    from ..failure import Failure
    from ..runs import Program
    from ..search import Found, SearchResult
    from ..strategies.base import SearchStrategy
    from .cycles import Cycle

#: What a directed search can say of a cycle.
Verdict = Literal["witnessed", "potential", "infeasible within the bound"]

#: Choices in a row with a task held back, before one is let go: somebody may spin until it moves.
_MAX_WAITED: Final = 300


@attrs.frozen(kw_only=True)
class Decided:
    """What came of a cycle.

    Attributes:
        verdict: `witnessed`: a deadlock of these classes was found; `potential`: it was not, and the search was not
            complete; `infeasible within the bound`: a complete search of `bound` did not find it.
        found: the deadlock, with its tape.
        schedules: runs made for it.
        bound: what a complete search left out, and the program that it was complete for; empty if it was not.
        interrupted: why the search for it ended before its time; empty if it did not.
    """

    cycle: Cycle
    verdict: Verdict
    found: Found | None
    schedules: int
    bound: str
    interrupted: str = ""

    def as_dict(self) -> dict[str, object]:
        """For JSON; of the deadlock only its summary."""
        return {
            **self.cycle.as_dict(),
            "verdict": self.verdict,
            "schedules": self.schedules,
            "bound": self.bound,
            "interrupted": self.interrupted,
            "deadlock": None if self.found is None else self.found.failure.summary,
        }


class Steering:
    """Random schedules that aim at a cycle."""

    name: ClassVar[str] = "steering"
    summary: ClassVar[str] = "random, holding tasks back at the second lock of a suspected cycle"
    complete: ClassVar[bool] = False
    bound: ClassVar[str] = ""

    def __init__(self, cycle: Cycle, seed: int = 0) -> None:
        self._pairs = {(edge.held_class, edge.wants_class) for edge in cycle.edges}
        self._random = Random(seed)
        self._book = Book()
        self._waited = 0

    def begin(self, engine: Engine) -> bool:
        """Start a run."""
        self._book = Book()
        self._waited = 0
        watch_events(engine, cast("Rec", self._book.rec))
        engine.watch_steps(self._book.step)
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Anyone who is not about to close an edge; if all are, any of them."""
        tasks = [candidate(runnable, current, answer) for answer in range(len(runnable))]
        free = [task for task in tasks if not self._closes(task)]
        if len(free) < len(runnable):
            self._waited += 1
        if not free or self._waited > _MAX_WAITED:
            self._waited = 0
            return self._random.choice(tasks)
        return self._random.choice(free)

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Any other choice, at random."""
        return self._random.randrange(bound)

    def _closes(self, task: Task) -> bool:
        op = task.pending
        if op.kind not in {"acquire", "wait", "call"}:
            return False
        held = self._book.held.get(task)
        if not held:
            return False
        wants = class_of(op_label(op))
        return any((class_of(label), wants) in self._pairs for label in held)


def decide(
    program: Program,
    cycle: Cycle,
    *,
    tries: int = 200,
    schedules: int = 5_000,
    steps: int = 20_000,
    seed: int = 0,
    exhaust: Callable[[], SearchStrategy] = DepthFirst,
) -> Decided:
    """Look for the deadlock that a cycle suggests.

    Args:
        tries: steered schedules.
        schedules: limit of the complete search behind them; 0: none.
        steps: within one run.
        exhaust: makes the strategy of the complete search.

    Raises:
        Exception: as `search`.
    """
    steered = Steering(cycle, seed)
    made = 0
    while made < tries:
        result = search(program, steered, Limits(schedules=tries - made, steps=steps))
        made += result.schedules
        if early := _early(result):
            return Decided(
                cycle=cycle, verdict="potential", found=None, schedules=made, bound="", interrupted=early
            )
        for found in result.found:
            if is_it(found.failure, cycle):
                return Decided(cycle=cycle, verdict="witnessed", found=found, schedules=made, bound="")
    if not schedules:
        return Decided(cycle=cycle, verdict="potential", found=None, schedules=made, bound="")
    result = search(program, exhaust(), Limits(schedules=schedules, steps=steps), keep_going=True)
    made += result.schedules
    early = _early(result)
    for found in result.found:
        if is_it(found.failure, cycle):
            return Decided(cycle=cycle, verdict="witnessed", found=found, schedules=made, bound="")
    if result.complete:
        bound = f"{program.name}, {result.strategy}" + (f", {result.bound}" if result.bound else "")
        return Decided(
            cycle=cycle, verdict="infeasible within the bound", found=None, schedules=made, bound=bound
        )
    return Decided(cycle=cycle, verdict="potential", found=None, schedules=made, bound="", interrupted=early)


def _early(result: SearchResult) -> str:
    """Why a search ended before its time; empty if it did not."""
    return {"interrupted": "interrupted", "seconds": "--max-seconds is over"}.get(result.stopped, "")


def is_it(failure: Failure, cycle: Cycle) -> bool:
    """Whether a failure is a deadlock of the cycle's classes."""
    stuck = failure.details.get("wait_for")
    return isinstance(stuck, WaitFor) and {class_of(edge.on) for edge in stuck.cycle} == set(cycle.classes)
