"""Make a failure small: first the workload, then the schedule.

What is kept is the failure's rule, kind and known finding, so a shrunk run shows the same kind of failure, not
necessarily the same cause. The result is small, not minimal: the moves are greedy and the number of runs is bounded.
Everything is deterministic. Candidates run under fair schedules, so a run that goes on for ever because somebody never
gets a turn stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..engine.errors import TapeMismatch
from ..engine.strategy import ReplayStrategy
from .failure import NotReproduced
from .measure import Measure, attempt
from .program import ScenarioProgram
from .search import Found
from .shrink_schedule import shrink_schedule
from .shrink_try import Judge
from .shrink_workload import shrink_workload
from .strategies.preemption_bound import PreemptionBound
from .workload_tables import operations

if TYPE_CHECKING:
    from .measure import Attempt
    from .runs import Program

#: Runs that a shrinker makes at most.
ATTEMPTS = 2_000
#: A candidate that takes this many times the steps is given up.
_SLOWER = 4
#: Runs of the search for a schedule with fewer preemptions.
_FEW = 200


@attrs.frozen(kw_only=True)
class Shrunk:
    """A smaller failure.

    Attributes:
        program: with the smaller workload.
        found: the run; its tape replays on `program`, strictly.
        before, after: sizes of the two runs.
        operations_before, operations_after: calls of the workload; 0 for a program in Python.
        attempts: runs that were made.
        finished: no move helped any more; False: the budget was spent first.
    """

    program: Program
    found: Found
    before: Measure
    after: Measure
    operations_before: int
    operations_after: int
    attempts: int
    finished: bool


def shrink(
    program: Program,
    found: Found,
    *,
    attempts: int = ATTEMPTS,
    max_steps: int = 20_000,
    seconds: float | None = None,
) -> Shrunk:
    """Make `found`, a failing run of `program`, smaller.

    Args:
        attempts: runs to make at most; 0 only measures.
        max_steps: as in the search that found it.
        seconds: to take at most.

    Raises:
        NotReproduced: the tape does not fail on this program in that way.
    """
    signature = found.failure.signature
    first: Attempt | None
    try:
        first = attempt(program, ReplayStrategy(found.tape), max_steps=max_steps)
    except TapeMismatch:
        first = None
    if first is None or first.failure is None or first.failure.signature != signature:
        raise NotReproduced(f"the tape does not show {' '.join(signature).rstrip()} on {program.name}")
    slow = signature[0] == "step_limit"
    limit = max_steps if slow else min(max_steps, _SLOWER * first.measure.steps + 2_000)
    small: Program = program
    best: Attempt = first
    before = after = 0
    judge = Judge(first.failure, attempts * 2 // 3, limit, seconds)
    if isinstance(program, ScenarioProgram):
        before = after = operations(program)
        judge.needs_right = signature[0] == "unexpected_outcome" and judge.comes_right(program)
        shrunk, best = shrink_workload(program, first, judge)
        small = shrunk
        after = operations(shrunk)
    finished = not judge.spent
    judge.limit = attempts
    best = shrink_schedule(small, best, judge)
    fewer = _fewer_preemptions(small, best, judge)
    if fewer is not None:
        best = shrink_schedule(small, fewer, judge)
    assert best.failure is not None
    return Shrunk(
        program=small,
        found=Found(best.failure, best.tape, found.schedule, best.measure.steps),
        before=first.measure,
        after=best.measure,
        operations_before=before,
        operations_after=after,
        attempts=judge.attempts,
        finished=finished and not judge.spent,
    )


def _fewer_preemptions(program: Program, best: Attempt, judge: Judge) -> Attempt | None:
    """The failure with fewer preemptions, if a short search of schedules with so few comes to it.

    Making a schedule simpler step by step can end where every change for the better goes through one for the worse.
    """
    if not best.measure.preemptions:
        return None
    few = PreemptionBound(best.measure.preemptions - 1)
    for _ in range(_FEW):
        if judge.spent or few.complete:
            return None
        done = judge.run(program, few)
        if done is not None and done.measure < best.measure:
            return done
    return None
