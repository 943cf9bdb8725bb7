"""The bounded searches run exactly what is within their bound, each schedule once, cheap ones first."""

from __future__ import annotations

from random import Random

import pytest
from tests.explore.strategies.schedules import PROGRAMS, blocking, preemptions, retrying, schedules, steps

from gmemsim.engine.answers import candidate
from gmemsim.engine.errors import StepLimit, TapeMismatch
from gmemsim.engine.task import Task
from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies.delay_bound import DelayBound
from gmemsim.explore.strategies.dfs import DepthFirst
from gmemsim.explore.strategies.preemption_bound import PreemptionBound


def names(program: TaskProgram) -> str:
    return program.name


@pytest.mark.parametrize("program", PROGRAMS, ids=names)
@pytest.mark.parametrize("limit", range(4))
@pytest.mark.parametrize("shuffled", [False, True], ids=["latest", "shuffled"])
def test_preemption_bound_is_the_filtered_search(program: TaskProgram, limit: int, shuffled: bool) -> None:
    every = schedules(program, DepthFirst())
    wanted = sorted(schedule for schedule, number, _ in every if number <= limit)
    assert len(every) < 10_000
    strategy = PreemptionBound(limit, Random(7) if shuffled else None)
    found = schedules(program, strategy)
    assert sorted(schedule for schedule, _, _ in found) == wanted
    assert preemptions(found) == sorted(preemptions(found))
    assert strategy.complete
    assert strategy.left == 0


@pytest.mark.parametrize("program", PROGRAMS, ids=names)
@pytest.mark.parametrize("limit", range(4))
def test_delay_bound_is_the_filtered_search(program: TaskProgram, limit: int) -> None:
    wanted = sorted(schedule for schedule, _, delays in schedules(program, DepthFirst()) if delays <= limit)
    found = schedules(program, DelayBound(limit))
    assert sorted(schedule for schedule, _, _ in found) == wanted
    assert [delays for _, _, delays in found] == sorted(delays for _, _, delays in found)


def test_bounds_leave_something_out_here() -> None:
    every = schedules(blocking, DepthFirst())
    assert {0, 1, 2, 3, 4} <= set(preemptions(every))
    assert max(delays for _, _, delays in every) > 4


@pytest.mark.parametrize("cls", [PreemptionBound, DelayBound])
def test_high_limit_is_the_whole_search(cls: type[PreemptionBound | DelayBound]) -> None:
    found = schedules(steps(2, 3), cls(50))
    every = schedules(steps(2, 3), DepthFirst())
    assert sorted(found) == sorted(every)


def test_faults_cost_nothing() -> None:
    faulty = PROGRAMS[-1]
    found = schedules(faulty, DelayBound(0))
    assert {schedule[-2:] for schedule, _, _ in found} > {
        ("a enomem 0", "b enomem 0"),
        ("a enomem 0", "b enomem 1"),
    }
    assert all(delays == 0 for _, _, delays in found)


@pytest.mark.parametrize("cls", [PreemptionBound, DelayBound])
def test_retry_loops_end(cls: type[PreemptionBound | DelayBound]) -> None:
    """Two tasks spin until a third, which was preempted, goes on."""
    result = search(retrying, cls(1), Limits(schedules=None, steps=300), keep_going=True)
    assert result.complete
    assert not result.found
    assert "equal steps in a row" in result.bound


def test_without_the_watch_the_loop_would_not_end() -> None:
    class Stubborn(DelayBound):
        def pick(self, runnable: list[Task], current: Task | None) -> Task:
            return candidate(runnable, current, self._answer(len(runnable), self.tariff(None)))

    result = search(retrying, Stubborn(1), Limits(schedules=200, steps=300))
    assert isinstance(result.found[0].failure.error, StepLimit)


def test_stopped_search_is_not_complete_and_says_what_is_left() -> None:
    strategy = PreemptionBound(1)
    result = search(steps(2, 3), strategy, Limits(schedules=3))
    assert not result.complete
    assert result.bound.startswith("at most 1 preemption,")
    # Two schedules without preemption, then of the six with one the first.
    whole = schedules(steps(2, 3), PreemptionBound(1))
    assert strategy.cost == 1
    assert strategy.left == len(whole) - 3


def test_changed_program_is_noticed() -> None:
    strategy = PreemptionBound(1)
    schedules(steps(2, 2), strategy, 2)
    with pytest.raises(TapeMismatch, match="not deterministic"):
        search(steps(3, 2), strategy, Limits(schedules=20))
