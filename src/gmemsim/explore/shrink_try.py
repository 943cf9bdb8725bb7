"""The judge of a shrinker: run a candidate, within a budget, and keep it only if it fails in the same way.

In the same way is more than the same sort. An assertion of a patch is another failure than one ten lines above that
only a smaller workload breaks, and what a call should come to was written for the workload as it was: of a read that
expects what somebody stores, without the store, every version would be called wrong. So a crash keeps its place, and an
unexpected outcome its operation and what that came to, in a workload in which it can come out right.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from ..engine.strategy import FirstRunnable, RandomStrategy
from ..scenarios.errors import ScenarioError
from .findings.table import sort_of
from .lenient import LenientReplay
from .measure import attempt
from .shrink_strategies import FewPreemptions, InOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..engine.strategy import Strategy
    from ..engine.tape import Tape
    from .failure import Failure
    from .measure import Attempt
    from .runs import Program

#: Runs of the short search for a workload whose schedule no longer fits.
_SEARCH = 24
#: Steps of an average run, for the budget: a livelock takes longer, and must not take all day.
_STEPS = 500
#: Schedules at random in which a workload may come out right, beside the one without preemptions.
_RIGHT = 6


def reason_of(failure: Failure) -> tuple[object, ...]:
    """What a failure keeps beside its sort while it is made small."""
    if failure.rule == "unexpected_outcome":
        return failure.details.get("operation"), failure.details.get("outcome")
    return (failure.place,)


class Judge:
    """Runs candidates.

    Args:
        failure: what a candidate has to fail with, by its sort (`findings.table.sort_of`) and reason.
        limit: runs that it may make; together they may take 500 steps for each.
        max_steps: of one run.
        seconds: that it may take; None: no limit. Ctrl-C ends it as well, with what there is.

    Attributes:
        attempts, steps: so far.
    """

    def __init__(self, failure: Failure, limit: int, max_steps: int, seconds: float | None = None) -> None:
        self.sort = sort_of(failure)
        self._reason = reason_of(failure)
        #: A smaller workload has to come out right in some schedule, as the one given does.
        self.needs_right = False
        self.limit = limit
        self.max_steps = max_steps
        self.attempts = 0
        self.steps = 0
        self._deadline = inf if seconds is None else monotonic() + seconds

    @property
    def spent(self) -> bool:
        """No more runs."""
        over = self.attempts >= self.limit or self.steps >= _STEPS * self.limit
        return over or monotonic() >= self._deadline

    def run(self, program: Program, strategy: Strategy) -> Attempt | None:
        """The run, if it failed in the same way and there was budget for it."""
        try:
            return self._run(program, strategy)
        except ScenarioError:
            return None

    def _run(self, program: Program, strategy: Strategy) -> Attempt | None:
        if self.spent:
            return None
        self.attempts += 1
        try:
            done = attempt(program, strategy, max_steps=self.max_steps)
        except KeyboardInterrupt:
            self._deadline = 0.0
            return None
        self.steps += done.measure.steps
        if done.failure is None or sort_of(done.failure) != self.sort:
            return None
        return done if reason_of(done.failure) == self._reason else None

    def comes_right(self, program: Program) -> bool:
        """Whether some of a few schedules of it fail in no way."""
        strategies: tuple[Strategy, ...] = (FirstRunnable(), *map(RandomStrategy, range(_RIGHT)))
        for strategy in strategies:
            if self.spent:
                return False
            self.attempts += 1
            try:
                done = attempt(program, strategy, max_steps=self.max_steps)
            except KeyboardInterrupt:
                self._deadline = 0.0
                return False
            self.steps += done.measure.steps
            if done.failure is None:
                return True
        return False

    def find(self, program: Program, tape: Tape, order: tuple[str, ...]) -> Attempt | None:
        """A failing run of another workload, from a schedule that failed before: as it is, or by a short search."""
        for make in self._ways(tape, order):
            try:
                done = self._run(program, make())
            except ScenarioError:
                # It cannot be built: no schedule will change that.
                return None
            if done is not None and self.needs_right and not self.comes_right(program):
                return None
            if done is not None or self.spent:
                return done
        return None

    @staticmethod
    def _ways(tape: Tape, order: tuple[str, ...]) -> Iterator[Callable[[], Strategy]]:
        yield lambda: LenientReplay(tape)
        yield lambda: InOrder(order, tape)
        for seed in range(_SEARCH):
            if seed % 4 == 3:
                yield lambda seed=seed: RandomStrategy(seed)  # type: ignore[misc] # bound early
            else:
                yield lambda seed=seed: FewPreemptions(seed, seed % 4, len(order), tape)  # type: ignore[misc]
