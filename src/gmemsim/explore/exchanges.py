"""Is it right to look once at states that differ only in which of several tasks that do the same is where?

`stateful:3` does (`state.symmetry`). It is right if two such states always have the same steps before them: each leads
to states that again differ only so. Here a search without that looks at every state, and compares.
"""

from __future__ import annotations

from functools import partial
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Final

import attrs

from ..bad_input import BadInput
from ..engine.errors import EngineError
from .clock import Clock, OutOfTime
from .search import Limits, search
from .state import LiveState, supported
from .strategies.state_graph import END
from .strategies.stateful import Stateful

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..engine.engine import Engine
    from ..engine.task import Task
    from .runs import Program
    from .search import SearchResult
    from .state.symmetry import Renaming


#: Schedules that are run and exchanged before a search.
_SCHEDULES: Final = 8
#: Steps that lead to no state which is new in a schedule, before it is ended: it may go round for ever.
_ROUND: Final = 200


@attrs.frozen
class Compared:
    """What came of it.

    Attributes:
        alike: names of the tasks that do the same; none: there was nothing to compare.
        states: that there are.
        left: of these, how many a search looks at that exchanges tasks.
        unlike: answers on the way to two states that were taken for one and whose steps lead elsewhere; empty if none.
        result: of the search.
    """

    alike: tuple[tuple[str, ...], ...]
    states: int
    left: int
    unlike: tuple[tuple[list[int], list[int]], ...]
    result: SearchResult


class AsksWho(BadInput):
    """The patch, or a rule, makes a difference between tasks that do the same."""


class _Apart(Stateful):
    """States apart, with the name that they share with others."""

    def __init__(self, reduce: int = 3, *, ledger: bool = True, budget: int | None = None) -> None:
        super().__init__(reduce, ledger=ledger, budget=budget)
        self.shared: dict[bytes, bytes] = {}

    def name_of(self, live: LiveState) -> bytes:
        readings = live.readings()
        self.shared[readings[0]] = min(readings)
        return readings[0]


class _Walk:
    """One schedule, with what each of its states reads as before the next step.

    Args:
        choose: the next task; given those that can run, and how many steps there were.
    """

    #: No part of the state that it looks at (see `state.heap`).
    __kept__: ClassVar[bool] = True

    def __init__(self, choose: Callable[[list[Task], int], Task]) -> None:
        self._choose = choose
        self.groups: tuple[tuple[str, ...], ...] = ()
        self._live: LiveState | None = None
        self.names: list[str] = []
        self.readings: list[list[bytes]] = []
        self._met: set[bytes] = set()
        self._stale = 0
        #: What the tasks are called under each renaming.
        self.renamings: Sequence[Renaming] = ()

    def begin(self, engine: Engine) -> bool:
        engine.watch_steps(self._before_step)
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        return self._choose(runnable, len(self.names))

    def draw(self, task: Task, label: str, bound: int) -> int:
        return 0

    def _before_step(self, task: Task) -> None:
        if self._live is None:
            self._live = LiveState(task.engine, groups=self.groups)
            self.renamings = self._live.renamings
        self.names.append(task.name)
        row = self._live.readings()
        self.readings.append(row)
        self._live.ran.add(task)
        # With the tasks exchanged the same steps are the ones that lead to nothing new.
        self._stale = self._stale + 1 if row[0] in self._met else 0
        self._met.add(row[0])
        if self._stale == _ROUND:
            raise _Enough


class _Enough(EngineError):
    """The schedule goes round."""


class _Gone(Exception):
    """The task that the other schedule ran cannot run."""


def must_be_alike(program: Program, limits: Limits) -> None:
    """Run some schedules, and each with the tasks exchanged, before a search leaves out any.

    Args:
        limits: of time, and of the steps of a run; the others are the search's.

    Raises:
        AsksWho: the states that they come to differ in more than that.
        OutOfTime: before that was known.
    """
    if not supported():
        return
    clock = Clock(float("inf") if limits.seconds is None else monotonic() + limits.seconds)
    run = partial(_run, program, clock, limits.steps)
    for seed in range(_SCHEDULES):
        walk = run(partial(_any, Random(seed)))
        for view, renaming in enumerate(walk.renamings, 1):
            wanted = [renaming.name(name) for name in walk.names]
            other = run(partial(_as_wanted, wanted), exchanged=False)
            if [row[0] for row in other.readings] != [row[view] for row in walk.readings]:
                names = "; ".join(", ".join(group) for group in walk.groups)
                raise AsksWho(
                    f"stateful:3 would exchange tasks that do the same ({names}), but a schedule comes to other "
                    "states with them exchanged: expected stateful"
                )


def _any(draw: Random, runnable: list[Task], step: int) -> Task:
    return draw.choice(runnable)


def _as_wanted(wanted: list[str], runnable: list[Task], step: int) -> Task:
    for task in runnable:
        if step < len(wanted) and task.name == wanted[step]:
            return task
    raise _Gone


def _run(
    program: Program,
    clock: Clock,
    steps: int,
    choose: Callable[[list[Task], int], Task],
    *,
    exchanged: bool = True,
) -> _Walk:
    """A schedule.

    Args:
        exchanged: read its states with the tasks exchanged, too.
    """
    walk = _Walk(choose)
    run = program.build(walk, max_steps=steps)
    walk.groups = getattr(run, "alike", ()) if exchanged else ()
    if walk.groups or not exchanged:
        walk.begin(run.engine)
        run.engine.watch_steps(clock)
        try:
            run.run()
        except OutOfTime:
            raise
        except Exception:  # what a run comes to is the search's concern; here: how far two go alike
            pass
    return walk


def compare(program: Program, states: int = 100_000) -> Compared:
    """Look at every state of a program, and compare those that exchanging tasks makes one.

    Args:
        states: at most; if there are more, those are compared from which every step was taken by then.
    """
    strategy = _Apart()
    result = search(program, strategy, Limits(schedules=None, states=states), keep_going=True)
    graph = strategy.graph
    shared = [strategy.shared[digest] for digest in graph.digests()]
    leads = [
        frozenset(b"" if after == END else shared[after] for after in graph.following(state))
        for state in range(len(graph))
    ]
    first: dict[bytes, int] = {}
    unlike = []
    for state, name in enumerate(shared):
        if state in strategy.unfinished:
            continue
        other = first.setdefault(name, state)
        if leads[other] != leads[state]:
            unlike.append((graph.answers(other), graph.answers(state)))
    return Compared(strategy.exchanged, len(graph), len(set(shared)), tuple(unlike), result)
