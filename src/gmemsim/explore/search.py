"""The search: run after run of a program under one strategy, until something is found, nothing is left, or a limit.

A search never claims more than it did. `SearchResult.complete` needs a strategy that ran out of schedules by itself
and no run that met the step limit; what the strategy leaves out on purpose is in `bound`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Literal, Protocol, cast

import attrs

from ..audit.recorder import fan_out
from ..engine.errors import StepLimit, TapeMismatch
from .failure import Failure, failure_of
from .state.coroutines import NotRestorable, supported
from .strategies.base import Pruned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..audit.recorder import Rec
    from ..engine.engine import Engine
    from ..engine.tape import Tape
    from .program import Program, Run
    from .strategies.base import SearchStrategy

__all__ = ["Found", "Judge", "Limits", "Observer", "SearchResult", "Stopped", "search", "watch_events"]

#: Why a search ended: something was found; the strategy has nothing left; a limit; Ctrl-C.
Stopped = Literal["violation", "exhausted", "schedules", "seconds", "interrupted"]


@attrs.frozen(kw_only=True)
class Limits:
    """When to stop.

    Attributes:
        schedules: runs, pruned ones included; None: no limit.
        seconds: wall-clock; None: no limit.
        steps: resumptions within one run; more of them is reported as `step_limit`.
    """

    schedules: int | None = 10_000
    seconds: float | None = None
    steps: int = 20_000


class Judge(Protocol):
    """Looks at a failure once more."""

    def __call__(self, program: Program, failure: Failure, tape: Tape, steps: int) -> Failure | None:
        """What it really is; None: nothing. `steps` is the number of resumptions in the run."""


class Observer(Protocol):
    """Something that looks at every run of a search: coverage, a lock-order graph, a log.

    A search that goes back to earlier states of one run attaches it once, and takes back what it remembers together
    with the run. It does so only if the class names, in an attribute `__kept__`, what goes on from run to run: a tuple
    of attributes, or True for all of them.
    """

    def attach(self, run: Run) -> None:
        """`run` is about to start; its tasks do not exist yet."""

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """It ended."""


@attrs.frozen
class Found:
    """A run that failed.

    Attributes:
        failure: what was wrong.
        tape: every choice of the run: replays it on the same program.
        schedule: its number in the search, from 1.
        steps: resumptions until the failure.
    """

    failure: Failure
    tape: Tape
    schedule: int
    steps: int


@attrs.frozen(kw_only=True)
class SearchResult:
    """What a search did and found.

    Attributes:
        strategy: its name.
        schedules: runs begun, pruned ones included.
        pruned: runs that the strategy cut short because they repeat others.
        steps: resumptions in all runs together.
        depth: the most draws of who goes next, faults and the like in one run.
        seconds: wall-clock.
        complete: every schedule within `bound` is covered, and no run met the step limit.
        bound: what the strategy leaves out on purpose; empty if nothing.
        stopped: why it ended.
        found: the runs that failed, first of each signature, in the order in which they were found.
        outcomes: how often each final outcome was seen, if the search was asked to collect them.
        dismissed: failures that the judge said are none; a search with one is not complete if it was a step limit.
    """

    strategy: str
    schedules: int
    pruned: int
    steps: int
    depth: int
    seconds: float
    complete: bool
    bound: str
    stopped: Stopped
    found: tuple[Found, ...]
    outcomes: dict[str, int]
    dismissed: int = 0


@attrs.define
class State:
    """How far a search is, for who shows progress."""

    schedules: int = 0
    pruned: int = 0
    steps: int = 0
    depth: int = 0
    began: float = attrs.field(factory=monotonic)
    step_limits: int = 0
    dismissed: int = 0
    found: dict[tuple[str, str], Found] = attrs.field(factory=dict)
    outcomes: dict[str, int] = attrs.field(factory=dict)

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return monotonic() - self.began


def watch_events(engine: Engine, rec: Rec) -> None:
    """Have `rec` see every audit event of a run that has not started, before the oracles do."""
    engine.rec = fan_out(rec, cast("Rec | None", engine.rec))


def search(
    program: Program,
    strategy: SearchStrategy,
    limits: Limits | None = None,
    *,
    observers: Iterable[Observer] = (),
    progress: Callable[[State], object] | None = None,
    keep_going: bool = False,
    collect_outcomes: bool = False,
    judge: Judge | None = None,
) -> SearchResult:
    """Run `program` again and again under `strategy`.

    Args:
        progress: called after every run.
        keep_going: go on after a failure; the first run of each signature is kept.
        collect_outcomes: count final outcomes of runs that ended well, and signatures of those that did not.
        judge: has the last word on a failure (`oracles.livelock.judge`); None from it: it is none.

    Raises:
        Exception: what building a run raises (`ScenarioError`, …), and `TapeMismatch` if the program is not
            deterministic. An exception of model code is a failure with rule `crash`, not raised.
    """
    limits = limits or Limits()
    observers = tuple(observers)
    state = State()
    stopped: Stopped = "exhausted"
    run: Run | None = None
    restores = _restores(strategy, observers)
    try:
        while True:
            if limits.schedules is not None and state.schedules >= limits.schedules:
                stopped = "schedules"
                break
            if limits.seconds is not None and state.seconds >= limits.seconds:
                stopped = "seconds"
                break
            fresh = run is None or not restores
            if run is None or fresh:
                run = program.build(strategy, max_steps=limits.steps)
            if not strategy.begin(run.engine):
                break
            if fresh:
                for observer in observers:
                    observer.attach(run)
            state.schedules += 1
            try:
                failure = _one(
                    run,
                    state,
                    observers,
                    collect_outcomes,
                    None if judge is None else partial(judge, program),
                )
            except NotRestorable:
                strategy.restart()  # type: ignore[attr-defined] # it is one that restores
                run, restores, state = None, False, State(began=state.began)
                continue
            if progress is not None:
                progress(state)
            if failure is not None and not keep_going:
                stopped = "violation"
                break
    except KeyboardInterrupt:
        stopped = "interrupted"
    finally:
        if restores:
            strategy.close()  # type: ignore[attr-defined] # it is one that restores
    return SearchResult(
        strategy=strategy.name,
        schedules=state.schedules,
        pruned=state.pruned,
        steps=state.steps,
        depth=state.depth,
        seconds=state.seconds,
        complete=stopped == "exhausted" and strategy.complete and not state.step_limits,
        bound=strategy.bound,
        stopped=stopped,
        found=tuple(state.found.values()),
        outcomes=state.outcomes,
        dismissed=state.dismissed,
    )


def _restores(strategy: SearchStrategy, observers: tuple[Observer, ...]) -> bool:
    """Have the strategy go back to earlier states of one run, if it can and all who look on can stand it."""
    if not hasattr(strategy, "restores"):
        return False
    strategy.restores = supported() and all(hasattr(observer, "__kept__") for observer in observers)
    return bool(strategy.restores)


def _one(
    run: Run,
    state: State,
    observers: tuple[Observer, ...],
    collect: bool,
    judge: Callable[[Failure, Tape, int], Failure | None] | None,
) -> Failure | None:
    failure: Failure | None = None
    pruned = False
    before = run.engine.steps
    try:
        run.run()
        failure = run.found()
    except Pruned:
        pruned = True
    except (TapeMismatch, NotRestorable):
        raise
    except Exception as error:  # whatever model code raises is what the search looks for
        failure = failure_of(error)
        state.step_limits += isinstance(error, StepLimit)
    engine = run.engine
    if failure is not None and judge is not None:
        judged = judge(failure, engine.tape, engine.steps)
        state.dismissed += judged is None
        failure = judged
    state.steps += engine.steps - before
    state.pruned += pruned
    state.depth = max(state.depth, len(engine.tape))
    for observer in observers:
        observer.done(run, failure, pruned=pruned)
    if failure is not None:
        state.found.setdefault(failure.signature, Found(failure, engine.tape, state.schedules, engine.steps))
    if collect and not pruned:
        outcome = run.outcome() if failure is None else f"{failure.rule} {failure.kind}".rstrip()
        state.outcomes[outcome] = state.outcomes.get(outcome, 0) + 1
    return failure
