"""The search: run after run of a program under one strategy, until something is found, nothing is left, or a limit.

A search never claims more than it did. `SearchResult.complete` needs a strategy that ran out of schedules by itself
and no run that met the step limit; what the strategy leaves out on purpose is in `bound`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from gc import get_threshold, set_threshold
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol, cast, runtime_checkable

import attrs

from ..audit.recorder import fan_out
from ..engine.blame import blame
from ..engine.errors import Pruned, StepLimit, TapeMismatch
from ..engine.interrupts import TimeUp, heard
from ..engine.strategy import ReplayStrategy
from ..engine.unawaited import NeverAwaited, forever_kept
from ..patches.entered import holds_state
from .clock import Clock, OutOfTime
from .failure import Failure, failure_of
from .findings.table import apart
from .judges.livelock import trapped
from .lasting import Looks
from .measure import attempt
from .scene import with_scene
from .search_values import Found, Judge, Key, Limits, Observer, SearchResult, Stopped
from .state import NotRestorable, supported

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..audit.recorder import Rec
    from ..engine.engine import Engine
    from ..engine.tape import Tape
    from ..oracles.exact import LookedAt
    from .runs import Program, Run
    from .strategies.base import SearchStrategy

__all__ = ["Found", "Judge", "Key", "Limits", "Observer", "SearchResult", "Stopped", "search", "watch_events"]

#: Rules that the engine looks after.
_ALWAYS: Final = ("deadlock", "lost_wakeup", "livelock", "crash", "unexpected_outcome")
#: Seconds beyond the limit for a look at what the states so far say of loops.
_GRACE: Final = 0.3
#: Loops without a way out that are looked at one by one.
_TRAPS: Final = 64
#: A search of states keeps nearly all that it makes, so that the garbage collector finds next to nothing.
_RARELY: Final = (20_000, 20, 20)


@attrs.define
class State:
    """How far a search is, for who shows progress."""

    schedules: int = 0
    running: bool = False
    cut_in: str = ""
    states: int = 0
    oracles: Sequence[LookedAt] = ()
    pruned: int = 0
    steps: int = 0
    depth: int = 0
    began: float = attrs.field(factory=monotonic)
    step_limits: int = 0
    dismissed: int = 0
    found: dict[Hashable, Found] = attrs.field(factory=dict)
    key: Key = apart
    outcomes: dict[str, int] = attrs.field(factory=dict)
    witnesses: dict[str, Tape] = attrs.field(factory=dict)

    def begun(self) -> None:
        """One more run is under way."""
        self.schedules += 1
        self.running = True

    def keep(self, failure: Failure, tape: Tape, steps: int) -> None:
        """Remember a run that failed, if it is the first with its key."""
        self.found.setdefault(self.key(failure), Found(failure, tape, self.schedules, steps))

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return monotonic() - self.began


@runtime_checkable
class FindsTraps(Protocol):
    """A strategy that knows loops which nobody can leave."""

    def traps(self) -> list[tuple[int, list[int]]]:
        """The size of each, and the answers that lead into it."""


def look_for_traps(
    program: Program, strategy: FindsTraps, state: State, limits: Limits, collect: bool
) -> bool:
    """Livelocks, once the graph of states is known; False: there was no time for all loops."""
    for size, answers in strategy.traps()[:_TRAPS]:
        if limits.seconds is not None and state.seconds >= limits.seconds + _GRACE:
            return False
        trap = trapped(program, answers, size)
        failure = trap.failure
        if failure is not None:
            state.keep(failure, trap.tape, trap.steps)
        else:
            state.step_limits += 1
        if collect:
            outcome = trap.outcome if failure is None else f"{failure.rule} {failure.kind}".rstrip()
            state.outcomes[outcome] = state.outcomes.get(outcome, 0) + 1
            state.witnesses.setdefault(outcome, trap.tape)
    return True


def _looked_at(oracles: Sequence[LookedAt], strategy: SearchStrategy, *, exact: bool) -> tuple[str, ...]:
    """Rules whose oracles are exact under this strategy, or those of the others."""
    reduces, caches = getattr(strategy, "reduces", False), getattr(strategy, "caches", False)
    if getattr(strategy, "forgets", False):
        return () if exact else tuple(rule for oracle in oracles for rule in sorted(oracle.rules))
    return tuple(
        rule
        for oracle in oracles
        for rule in sorted(oracle.rules)
        if exact == ((oracle.exact.reduction or not reduces) and (oracle.exact.caching or not caches))
    )


def watch_events(engine: Engine, rec: Rec) -> None:
    """Have `rec` see every audit event of a run that has not started, before the oracles do."""
    engine.rec = fan_out(rec, cast("Rec | None", engine.rec))


def search(  # noqa: PLR0915 # one loop, and what ends it
    program: Program,
    strategy: SearchStrategy,
    limits: Limits | None = None,
    *,
    observers: Iterable[Observer] = (),
    progress: Callable[[State], object] | None = None,
    keep_going: bool = False,
    collect_outcomes: bool = False,
    judge: Judge | None = None,
    key: Key = apart,
) -> SearchResult:
    """Run `program` again and again under `strategy`.

    Args:
        progress: called after every run.
        keep_going: go on after a failure; the first run with each `key` of its failure is kept.
        collect_outcomes: count final outcomes of runs that ended well, and signatures of those that did not.
        judge: has the last word on a failure (`judges.livelock.judge`); None from it: it is none.

    Raises:
        PatchError: a run of a user's patch that is watched (`program.watched`) changed what it does not begin anew.
        Exception: what building a run raises (`ScenarioError`, …), and `TapeMismatch` if the program is not
            deterministic. An exception of model code is a failure with rule `crash`, not raised.
    """
    limits = limits or Limits()
    observers = tuple(observers)
    state = State(key=key)
    stopped: Stopped = "exhausted"
    run: Run | None = None
    looks = Looks() if holds_state() else None
    restores = _restores(strategy, observers)
    ended = 0
    collecting = get_threshold()
    if restores:
        set_threshold(*_RARELY)
    try:
        while True:
            used_up = _used_up(limits, state)
            if used_up is not None:
                stopped = used_up
                break
            fresh = run is None or not restores
            if run is None or fresh:
                run = program.build(strategy, max_steps=limits.steps)
                if getattr(strategy, "exchanges", False):
                    if collect_outcomes:
                        raise ValueError(
                            f"{strategy.name}:3 leaves out outcomes that differ in names of tasks only"
                        )
                    strategy.alike = getattr(run, "alike", ())  # type: ignore[attr-defined] # it exchanges them
            sorts, cut = len(state.found), state.pruned + state.dismissed
            try:
                if not strategy.begin(run.engine):
                    break
                if fresh:
                    for observer in observers:
                        observer.attach(run)
                    if looks is not None:
                        run.engine.watch_steps(looks)
                    if limits.seconds is not None:
                        run.engine.watch_steps(Clock(state.began + limits.seconds))
                    state.oracles = getattr(run, "looked_at", ())
                state.begun()
                failure = _one(
                    run,
                    state,
                    observers,
                    collect_outcomes,
                    None if judge is None else partial(judge, program),
                )
                if looks is not None:
                    looks.between_runs()
                if restores and failure is not None and len(state.found) > sorts:
                    _must_come_again(program, failure, run.engine.tape, limits.steps)
                if restores and failure is None and state.pruned + state.dismissed == cut:
                    ended += 1
                    # The first, the second, the fourth and so on.
                    if not ended & (ended - 1):
                        _must_end_again(program, run, limits.steps)
            except NotRestorable:
                strategy.restart()  # type: ignore[attr-defined] # it is one that restores
                forever_kept()  # What the run that ends here would still have awaited is no error.
                # What was found before came again in a run of its own; what has just been found did not.
                found = dict(list(state.found.items())[:sorts])
                run, restores, state = None, False, State(began=state.began, key=key, found=found)
                continue
            except OutOfTime:
                stopped = "seconds"
                break
            state.running = False
            state.states = getattr(strategy, "states", 0)
            if progress is not None:
                progress(state)
            if failure is not None and not keep_going:
                stopped = "violation"
                break
        looks_for_traps = isinstance(strategy, FindsTraps) and stopped != "violation"
        if looks_for_traps and not look_for_traps(
            program, cast("FindsTraps", strategy), state, limits, collect_outcomes
        ):
            stopped = "seconds"
    except KeyboardInterrupt as stop:
        heard(stop)
        stopped = "seconds" if isinstance(stop, TimeUp) else "interrupted"
        state.cut_in = str(blame(stop) or "")
    finally:
        set_threshold(*collecting)
        if restores:
            strategy.close()  # type: ignore[attr-defined] # it is one that restores
            forever_kept()  # Nor of the last run, if it was cut short.
    return _result(program, strategy, state, stopped)


def _result(program: Program, strategy: SearchStrategy, state: State, stopped: Stopped) -> SearchResult:
    """What came of it; of a run that did not end nothing can be said."""
    without = tuple(sorted(getattr(program, "without", ())))
    return SearchResult(
        strategy=strategy.name,
        schedules=state.schedules - state.running,
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
        states=state.states,
        rules=(
            *_looked_at(state.oracles, strategy, exact=True),
            *(rule for rule in _ALWAYS if rule not in without),
        ),
        left_out=_looked_at(state.oracles, strategy, exact=False),
        without=without,
        exchanged=getattr(strategy, "exchanged", ()),
        step_limits=state.step_limits,
        cut_in=state.cut_in,
        witnesses=state.witnesses,
    )


def _used_up(limits: Limits, state: State) -> Stopped | None:
    """The limit that is met, if one is."""
    if limits.schedules is not None and state.schedules >= limits.schedules:
        return "schedules"
    if limits.seconds is not None and state.seconds >= limits.seconds:
        return "seconds"
    return "states" if limits.states is not None and state.states >= limits.states else None


def _restores(strategy: SearchStrategy, observers: tuple[Observer, ...]) -> bool:
    """Have the strategy go back to earlier states of one run, if it can and all who look on can stand it."""
    if not hasattr(strategy, "restores"):
        return False
    strategy.restores = supported() and all(hasattr(observer, "__kept__") for observer in observers)
    return bool(strategy.restores)


def _must_come_again(program: Program, failure: Failure, tape: Tape, max_steps: int) -> None:
    """Make a run that failed anew: if it does not fail so, what it began from was not what it had been.

    Raises:
        NotRestorable: it does not.
    """
    if failure.rule in ("livelock", "step_limit"):
        return  # Said of a run that did not end, by who looked at more than that run.
    try:
        again = attempt(program, ReplayStrategy(tape), max_steps=max_steps).failure
    except TapeMismatch:
        again = None
    except NeverAwaited:
        return  # Of the run that stands still meanwhile, and which may await it later.
    if again is None or again.signature != failure.signature:
        raise NotRestorable(f"something that makes a run end with {failure.rule}")


def _must_end_again(program: Program, run: Run, max_steps: int) -> None:
    """Make a run that ended well anew, which has to come to the same.

    What a user's code keeps in some place that nobody looks into is not put back; a sample is enough to see most of it.

    Raises:
        NotRestorable: it does not.
    """
    try:
        again = attempt(program, ReplayStrategy(run.engine.tape), max_steps=max_steps)
    except TapeMismatch:
        raise NotRestorable("something that makes a run draw otherwise when it is made anew") from None
    except NeverAwaited:
        return  # as above
    if again.failure is not None or again.run.outcome() != run.outcome():
        raise NotRestorable("something that makes a run end otherwise when it is made anew")


def _one(
    run: Run,
    state: State,
    observers: tuple[Observer, ...],
    collect: bool,
    judge: Callable[[Failure, Tape, int], Failure | None] | None,
) -> Failure | None:
    failure: Failure | None = None
    pruned = dismissed = False
    before = run.engine.steps
    try:
        run.run()
        failure = run.found()
    except Pruned:
        pruned = True
    except (TapeMismatch, NotRestorable, OutOfTime):
        raise
    except Exception as error:  # whatever model code raises is what the search looks for
        failure = failure_of(error)
        state.step_limits += isinstance(error, StepLimit)
    engine = run.engine
    if failure is not None and judge is not None:
        try:
            judged = judge(failure, engine.tape, engine.steps)
        except KeyboardInterrupt:
            # It stays what it looked like: nobody has said that it is none.
            unjudged = attrs.evolve(
                failure,
                summary=f"{failure.summary} (interrupted before it was judged)",
                details={**failure.details, "unjudged": True},
            )
            state.keep(unjudged, engine.tape, engine.steps)
            raise
        dismissed = judged is None
        state.dismissed += dismissed
        failure = judged
    if failure is not None:
        failure = with_scene(failure, run)
    state.steps += engine.steps - before
    state.pruned += pruned
    state.depth = max(state.depth, len(engine.tape))
    for observer in observers:
        observer.done(run, failure, pruned=pruned)
    if failure is not None:
        state.keep(failure, engine.tape, engine.steps)
    if collect and not pruned and not dismissed:  # what was cut short came to nothing yet
        outcome = run.outcome() if failure is None else f"{failure.rule} {failure.kind}".rstrip()
        state.outcomes[outcome] = state.outcomes.get(outcome, 0) + 1
        state.witnesses.setdefault(outcome, engine.tape)
    return failure
