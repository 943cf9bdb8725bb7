"""The random strategies: what they reach, that a seed fixes them, and what each promises."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.explore.strategies.schedules import PROGRAMS, blocking, preemptions, retrying, schedules, steps

from gmemsim.engine.op import Op
from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.explore.strategies.dfs import DepthFirst
from gmemsim.explore.strategies.pct import Pct
from gmemsim.explore.strategies.portfolio import TURNS, Portfolio
from gmemsim.explore.strategies.pos import Pos
from gmemsim.explore.strategies.random_walk import RandomWalk
from gmemsim.explore.strategies.surw import Surw

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task

SPECS = ("portfolio", "random", "pos", "pct:4", "surw")


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("program", [steps(2, 2), steps(2, 3)], ids=lambda program: program.name)
def test_every_small_schedule_is_reached(spec: str, program: TaskProgram) -> None:
    every = schedules(program, DepthFirst())
    found = {schedule for schedule, _, _ in schedules(program, make_strategy(spec, 3), 4_000)}
    if spec == "pct:4":
        # Three change points: no more than three switches away from a task that could go on.
        assert found >= {schedule for schedule, number, _ in every if number <= 3}
    else:
        assert found == {schedule for schedule, _, _ in every}


@pytest.mark.parametrize("spec", SPECS)
def test_every_outcome_with_faults_is_reached(spec: str) -> None:
    program = PROGRAMS[-1]
    every = search(program, DepthFirst(), Limits(schedules=None), collect_outcomes=True)
    found = search(program, make_strategy(spec, 3), Limits(schedules=500), collect_outcomes=True)
    assert every.complete
    assert set(found.outcomes) == set(every.outcomes)
    assert len(every.outcomes) == 4


@pytest.mark.parametrize("spec", [*SPECS, "pct:1"])
@pytest.mark.parametrize("program", [steps(3, 3), blocking], ids=lambda program: program.name)
def test_seed_fixes_the_schedules(spec: str, program: TaskProgram) -> None:
    first = schedules(program, make_strategy(spec, 5), 100)
    assert schedules(program, make_strategy(spec, 5), 100) == first
    assert schedules(program, make_strategy(spec, 6), 100) != first


@pytest.mark.parametrize("spec", [*SPECS, "pct:1"])
def test_retry_loops_end(spec: str) -> None:
    result = search(retrying, make_strategy(spec, 1), Limits(schedules=500, steps=1_000))
    assert not result.found
    assert result.schedules == 500
    assert not result.complete


# -- PCT -------------------------------------------------------------------------------------------


def test_pct_of_depth_one_is_the_orders_of_the_tasks() -> None:
    found = Counter(schedule for schedule, _, _ in schedules(steps(3, 2), Pct(1, 1), 600))
    # Nobody is ever preempted, and the six orders are equally likely: 100 each, sigma 9.
    assert len(found) == 6
    assert min(found.values()) > 60
    assert set(preemptions(schedules(steps(3, 2), Pct(1, 1), 600))) == {0}


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_pct_preempts_at_most_once_per_change_point(depth: int) -> None:
    found = preemptions(schedules(steps(3, 3), Pct(2, depth), 2_000))
    assert max(found) == depth - 1
    assert found[0] == 0


def marked(depth: int) -> TaskProgram:
    """The bug needs `depth` + 1 steps of two tasks to alternate."""

    def setup(engine: Engine) -> Callable[[], object]:
        stage = 0

        async def body(t: Task, first: int) -> None:
            nonlocal stage
            for number in range(first, depth + 1, 2):
                await t.point(Op("rmw", "stage"))
                stage += stage == number

        engine.spawn("a", body, 0)
        engine.spawn("b", body, 1)
        engine.spawn("c", body, depth + 1)
        return lambda: stage > depth

    return TaskProgram(f"depth {depth}", setup)


@pytest.mark.parametrize(("depth", "runs"), [(1, 500), (2, 1_000), (3, 4_000), (4, 10_000)])
def test_pct_keeps_its_bound(depth: int, runs: int) -> None:
    strategy = Pct(1, depth)
    result = search(marked(depth), strategy, Limits(schedules=runs), collect_outcomes=True)
    assert strategy.floor == 1 / (strategy.tasks * strategy.choices ** (depth - 1))
    assert strategy.tasks == 3
    assert result.outcomes["True"] / runs >= strategy.floor


@pytest.mark.parametrize("depth", [2, 3])
def test_pct_misses_what_is_deeper(depth: int) -> None:
    result = search(marked(depth), Pct(1, depth - 1), Limits(schedules=2_000), collect_outcomes=True)
    assert set(result.outcomes) == {"False"}


def test_pct_counts_choices() -> None:
    strategy = Pct(0, 2)
    schedules(steps(2, 3), strategy, 50)
    # Eight steps; the last task's tail is no choice, and it is one step at least.
    assert strategy.tasks == 2
    assert strategy.floor == 1 / (2 * strategy.choices)
    assert 4 <= strategy.choices <= 7


def test_pct_makes_a_task_in_a_retry_loop_wait() -> None:
    strategy = Pct(1, 2)
    schedules(retrying, strategy, 500)
    assert strategy.demotions


# -- POS -------------------------------------------------------------------------------------------


def independent(writes: int) -> TaskProgram:
    """Two tasks write `x` once each at the end of `writes` steps of their own."""

    def setup(engine: Engine) -> Callable[[], object]:
        order = ""

        async def body(t: Task, own: int) -> None:
            nonlocal order
            for _ in range(own):
                await t.point(Op("rmw", t.name))
            await t.point(Op("store", "x"))
            order += t.name

        engine.spawn("a", body, writes)
        engine.spawn("b", body, 0)
        return lambda: order

    return TaskProgram("late", setup)


def test_pos_is_not_misled_by_steps_that_race_with_nothing() -> None:
    """The long task's write comes first in few random walks; POS leaves the other one's priority alone."""
    walk = search(independent(8), RandomWalk(1), Limits(schedules=4_000), collect_outcomes=True).outcomes[
        "ab"
    ]
    pos = search(independent(8), Pos(1), Limits(schedules=4_000), collect_outcomes=True).outcomes["ab"]
    # 2^-10 and, with all priorities drawn once, 1 in 10 or so.
    assert walk < 40
    assert pos > 160


def test_pos_draws_again_after_a_race() -> None:
    """Where all pending steps race every priority is new at every step, as in a uniform walk."""
    found = [schedule for schedule, _, _ in schedules(steps(2, 2), Pos(1), 4_000)]
    # Both have begun, which races with nothing, so that two steps on x are pending. If the one that lost kept its
    # priority, the other would win again in one of three runs, not in every second one.
    racing = [schedule for schedule in found if schedule[0] != schedule[1]]
    again = sum(schedule[2] == schedule[3] for schedule in racing)
    assert len(racing) > 1_000
    assert 0.45 < again / len(racing) < 0.55


# -- SURW ------------------------------------------------------------------------------------------


def uneven(engine: Engine) -> Callable[[], object]:
    """One task writes x five times, the other once."""
    order = ""

    async def body(t: Task, number: int) -> None:
        nonlocal order
        for _ in range(number):
            await t.point(Op("store", "x"))
            order += t.name

    engine.spawn("a", body, 5)
    engine.spawn("b", body, 1)
    return lambda: order


UNEVEN = TaskProgram("uneven", uneven)


def test_surw_is_uniform_over_the_interesting_orders() -> None:
    surw = search(UNEVEN, Surw(1), Limits(schedules=6_000), collect_outcomes=True).outcomes
    walk = search(UNEVEN, RandomWalk(1), Limits(schedules=6_000), collect_outcomes=True).outcomes
    assert len(surw) == 6
    # Half of the runs take the first steps of the tasks into account as well, so not quite 1000 each.
    assert min(surw.values()) > 700
    assert max(surw.values()) < 1_400
    assert min(walk.values()) < 300


def test_surw_takes_one_object_at_a_time() -> None:
    strategy = Surw(1)
    seen = set()
    for _ in range(40):
        schedules(PROGRAMS[3], strategy, 1)
        seen.add(strategy.interesting)
    assert seen == {None, "lock", "x"}


# -- Portfolio -------------------------------------------------------------------------------------


def test_members_of_the_portfolio_are_what_their_names_say() -> None:
    for name, member in Portfolio(1)._members.items():
        kind, _, number = name.partition(":")
        assert member.name == kind
        if number:
            assert getattr(member, "depth" if kind == "pct" else "limit") == int(number)


def test_portfolio_gives_its_members_their_turns() -> None:
    strategy = Portfolio(1)
    turns = []
    for _ in range(2 * len(TURNS)):
        schedules(steps(3, 3), strategy, 1)
        turns.append(strategy.last)
    assert tuple(turns) == TURNS * 2
    assert strategy.runs == {"random": 14, "pos": 8, "pct:2": 2, "pct:3": 2, "pct:4": 2, "preemption:2": 4}


def test_portfolio_goes_on_when_a_member_has_nothing_left() -> None:
    strategy = Portfolio(1)
    result = search(steps(2, 1), strategy, Limits(schedules=200))
    assert result.schedules == 200
    assert not result.complete
    # Two tasks of two steps: six schedules, all with two preemptions at most.
    assert strategy.runs["preemption:2"] == 6
    assert sum(strategy.runs.values()) == 200


def test_members_of_a_portfolio_are_seeded_differently() -> None:
    first, second = Portfolio(1), Portfolio(2)
    assert schedules(steps(3, 3), first, 16) != schedules(steps(3, 3), second, 16)


def test_bounded_members_of_two_portfolios_do_not_repeat_each_other() -> None:
    def bounded(seed: int) -> list[object]:
        found = schedules(steps(3, 3), Portfolio(seed), 10 * len(TURNS))
        return [run for number, run in enumerate(found) if TURNS[number % len(TURNS)] == "preemption:2"]

    assert len(bounded(1)) == 20
    assert bounded(1) != bounded(2)
