"""The search loop: what it claims, what it keeps, when it stops."""

from __future__ import annotations

from gc import get_threshold
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from gmemsim.audit.events import Lock
from gmemsim.engine.answers import candidate
from gmemsim.engine.cell import Cell
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import Deadlock, Pruned, StepLimit, TapeMismatch
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.strategy import FirstRunnable, ReplayStrategy
from gmemsim.explore import search as searching
from gmemsim.explore.failure import CRASH, Failure, failure_of
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Limits, search, watch_events
from gmemsim.explore.strategies.dfs import DepthFirst
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.oracles import Violation
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.units import duration, size_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.task import Task
    from gmemsim.explore.runs import Run


async def lose_update(t: Task, cell: Cell[int]) -> None:
    value = await cell.load(t)
    await cell.store(t, value + 1)


def lost_update(engine: Engine) -> Callable[[], object]:
    cell = Cell("x", 0)
    for name in ("a", "b"):
        engine.spawn(name, lose_update, cell)
    return lambda: cell.value


LOST = TaskProgram("lost update", lost_update)


def abba(engine: Engine) -> Callable[[], object]:
    one, two = Mutex("one.lock"), Mutex("two.lock")

    async def body(t: Task, first: Mutex, second: Mutex) -> None:
        await first.lock(t)
        await second.lock(t)
        await second.unlock(t)
        await first.unlock(t)

    engine.spawn("a", body, one, two)
    engine.spawn("b", body, two, one)
    return str


ABBA = TaskProgram("abba", abba)


def test_exhausted_search_is_complete() -> None:
    result = search(LOST, DepthFirst(), collect_outcomes=True)
    assert result.stopped == "exhausted"
    assert result.complete
    # 6 steps, 3 a task.
    assert result.schedules == 20
    assert set(result.outcomes) == {"1", "2"}
    assert sum(result.outcomes.values()) == 20
    assert not result.found


@pytest.mark.parametrize(
    ("limits", "stopped"),
    [(Limits(schedules=19), "schedules"), (Limits(schedules=None, seconds=0), "seconds")],
)
def test_limit_means_incomplete(limits: Limits, stopped: str) -> None:
    result = search(LOST, DepthFirst(), limits)
    assert result.stopped == stopped
    assert not result.complete
    assert result.schedules == (limits.schedules or 0)


def test_step_limit_is_a_failure_and_spoils_completeness() -> None:
    def spin(engine: Engine) -> Callable[[], object]:
        cell = Cell("x", 0)

        async def wait(t: Task) -> None:
            while not await cell.load(t):
                pass

        async def set_it(t: Task) -> None:
            await cell.store(t, 1)

        engine.spawn("waits", wait)
        engine.spawn("sets", set_it)
        return str

    result = search(
        TaskProgram("spin", spin), DepthFirst(), Limits(schedules=2_000, steps=12), keep_going=True
    )
    assert "step_limit" in {found.failure.rule for found in result.found}
    assert not result.complete


def test_a_run_that_was_cut_short_and_dismissed_came_to_nothing() -> None:
    def waits(engine: Engine) -> Callable[[], object]:
        cell = Cell("x", 0)

        async def wait(t: Task) -> None:
            while not await cell.load(t):
                pass

        async def set_it(t: Task) -> None:
            await cell.store(t, 1)

        engine.spawn("waits", wait)
        engine.spawn("sets", set_it)
        return lambda: cell.value

    result = search(
        TaskProgram("waits", waits),
        DepthFirst(),
        Limits(schedules=50, steps=12),
        keep_going=True,
        collect_outcomes=True,
        judge=lambda program, failure, tape, steps: None,
    )
    assert result.dismissed
    assert set(result.outcomes) == {"1"}


def test_failure_stops_the_search_and_replays() -> None:
    result = search(ABBA, DepthFirst())
    assert result.stopped == "violation"
    assert not result.complete
    (found,) = result.found
    assert found.failure.signature == ("deadlock", "lock")
    assert found.schedule == result.schedules
    again = ABBA.build(ReplayStrategy(found.tape))
    with pytest.raises(Deadlock):
        again.run()
    assert again.engine.steps == found.steps


def test_keep_going_keeps_one_of_each_signature() -> None:
    result = search(ABBA, DepthFirst(), keep_going=True, collect_outcomes=True)
    assert result.complete
    assert len(result.found) == 1
    assert result.outcomes["deadlock lock"] > 1


def test_pruned_runs_are_counted_apart() -> None:
    class Cutting(DepthFirst):
        name: ClassVar[str] = "cutting"

        def pick(self, runnable: list[Task], current: Task | None) -> Task:
            task = super().pick(runnable, current)
            if task is not candidate(runnable, current, 0):
                raise Pruned
            return task

    result = search(LOST, Cutting(), collect_outcomes=True)
    assert result.pruned == result.schedules - 1
    assert result.outcomes == {"2": 1}


def test_program_that_is_not_deterministic_is_refused() -> None:
    count = iter(range(100))

    def setup(engine: Engine) -> Callable[[], object]:
        for number in range(2 + next(count) % 2):
            engine.spawn(f"t{number}", lose_update, Cell("x", 0))
        return str

    with pytest.raises(TapeMismatch, match="not deterministic"):
        search(TaskProgram("fickle", setup), DepthFirst())


def test_crash_of_model_code_is_found_not_raised() -> None:
    def setup(engine: Engine) -> Callable[[], object]:
        async def body(t: Task) -> None:
            raise KeyError(t.name)

        engine.spawn("a", body)
        return str

    (found,) = search(TaskProgram("broken", setup), DepthFirst()).found
    assert found.failure.rule == CRASH
    assert "KeyError: 'a'" in found.failure.summary


async def reads_a_size(t: Task, text: str, units: Callable[[str], object]) -> None:
    units(text)


async def has_no_key(t: Task, key: str) -> None:
    raise KeyError(key)


async def has_no_key_either(t: Task, key: str) -> None:
    raise KeyError(key)


async def has_no_stack(t: Task, depth: int) -> None:
    await (has_no_stack(t, depth + 1) if depth else has_no_stack(t, 1))


@pytest.mark.parametrize(
    ("bodies", "crashes"),
    [
        # In other functions of a user's file.
        ([(has_no_key, "x"), (has_no_key_either, "x")], 2),
        # In other functions of this package, called in one place.
        ([(reads_a_size, "x", size_bytes), (reads_a_size, "x", duration)], 2),
        # What was at hand is another, and the crash is the same.
        ([(has_no_key, "x"), (has_no_key, "y")], 1),
        # Where the stack ended is chance.
        ([(has_no_stack, 0), (has_no_stack, 1)], 1),
    ],
    ids=["users", "ours", "same", "stack"],
)
@pytest.mark.parametrize("strategy", [DepthFirst, lambda: Stateful(2)], ids=["dfs", "stateful"])
def test_crashes_are_told_apart_by_where_they_arise(
    bodies: list[tuple[Any, ...]], crashes: int, strategy: Callable[[], Any]
) -> None:
    """Whoever runs first ends the run, so that each is met in some schedule."""

    def setup(engine: Engine) -> Callable[[], object]:
        for number, (body, *arguments) in enumerate(bodies):
            engine.spawn(f"t{number}", body, *arguments)
        return str

    found = search(TaskProgram("broken", setup), strategy(), keep_going=True).found
    assert [one.failure.rule for one in found] == [CRASH] * crashes
    assert len({one.failure.signature for one in found}) == 1
    assert len({one.failure.place for one in found}) == crashes


def test_interrupt_keeps_what_was_finished() -> None:
    class Interrupts:
        def attach(self, run: Run) -> None:
            pass

        def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

        left = 3

    result = search(LOST, DepthFirst(), observers=[Interrupts()])
    assert result.stopped == "interrupted"
    # The third was not looked at to its end.
    assert result.schedules == 2
    assert not result.complete


def test_observers_see_events_of_every_run() -> None:
    class Listener:
        runs = 0
        locks = 0

        def attach(self, run: Run) -> None:
            self.runs += 1
            watch_events(run.engine, self.rec)

        def rec(self, _task: object, event: object) -> None:
            self.locks += isinstance(event, Lock)

        def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
            pass

    listener = Listener()
    result = search(ABBA, DepthFirst(), observers=[listener], keep_going=True)
    assert listener.runs == result.schedules
    assert listener.locks > result.schedules


SCENARIO = """
[scenario]
name = "small"
summary = "One fault against one punch"
question = "None"

[[vm]]
id = "vm0"
accept = "tolerant"

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
gfn = 0x10000

[[task]]
role = "vcpu"
repeat = 1
ops = [{ op = "touch", write = "x" }]

[[task]]
name = "punch"
repeat = 1
ops = [{ op = "punch", expect = "EXPECTED" }]
"""


def program(expected: str = "ok") -> ScenarioProgram:
    scenario = loads(SCENARIO.replace("EXPECTED", expected), "small.toml")
    return ScenarioProgram(scenario=scenario, patch="v3", arch="sw-protected")


def test_scenario_program_tells_outcomes_apart() -> None:
    result = search(program(), DepthFirst(), Limits(schedules=400), collect_outcomes=True)
    assert not result.found
    kept = {outcome.rpartition("gmem0")[2] for outcome in result.outcomes}
    assert kept == {"[]", "[0u]"}


def test_expectations_of_the_workload_count() -> None:
    (found,) = search(program("ENOMEM"), DepthFirst()).found
    assert found.failure.rule == "unexpected_outcome"
    assert "expected ENOMEM" in found.failure.summary


def test_every_step_is_shown_forced_ones_included() -> None:
    seen: list[str] = []
    run = program().build(FirstRunnable())
    run.engine.watch_steps(lambda task: seen.append(task.name))
    run.run()
    # The last call of `next_task` finds nobody left and is no step.
    assert len(seen) in (run.engine.steps, run.engine.steps - 1)
    assert set(seen) == {"vcpu0", "punch"}


def test_names_of_failures() -> None:
    assert failure_of(Violation("I2", "text")).signature == ("I2", "rest")
    assert failure_of(StepLimit(5)).rule == "step_limit"


class NotCompared:
    """Raises when it is compared."""

    def __eq__(self, other: object) -> bool:
        raise KeyError("not to be compared")

    __hash__ = None  # type: ignore[assignment] # as of whatever has an `__eq__`


class _Told:
    """Says of itself, wrongly, that it goes on from run to run."""

    __kept__ = True

    def __init__(self) -> None:
        self.count = 0


def test_a_failure_that_comes_of_going_back_is_none() -> None:
    def setup(engine: Engine) -> Callable[[], object]:
        told = _Told()
        cells = [Cell("x", 0), Cell("y", 0)]

        async def body(t: Task, cell: Cell[int]) -> None:
            await cell.store(t, 1)
            told.count += 1
            if told.count > 2:
                raise RuntimeError("more than two tasks ended")

        for number, cell in enumerate(cells):
            engine.spawn(f"t{number}", body, cell)
        return lambda: [cell.value for cell in cells]

    strategy = Stateful()
    collecting = get_threshold()
    result = search(TaskProgram("told", setup), strategy, Limits(), keep_going=True)
    assert get_threshold() == collecting
    assert not result.found
    assert result.complete
    assert not strategy.restores


@pytest.mark.parametrize("kind", [Random, NotCompared])
def test_what_the_last_step_leaves_may_be_what_cannot_be_put_back(kind: type) -> None:
    """It is met first on the way back to an earlier state."""

    def setup(engine: Engine) -> Callable[[], object]:
        cell = Cell("x", 0)
        ended: list[str] = []
        kept: list[object] = [kind()]
        engine.roots += [ended, kept]

        async def body(t: Task) -> None:
            await cell.store(t, 1)
            await cell.rmw(t, lambda value: value * 2)
            if ended:
                kept[0] = kind()
            ended.append(t.name)

        if kind is Random:
            kept.clear()
            kept.append(0)
        for name in ("a", "b"):
            engine.spawn(name, body)
        return lambda: (ended, cell.value)

    strategy = Stateful()
    result = search(TaskProgram("last", setup), strategy, Limits(), keep_going=True)
    assert not strategy.restores
    assert result.complete
    assert not result.found


def test_what_was_found_stays_when_every_run_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run fails; in a later one something cannot be put back, and then the time is up."""

    def setup(engine: Engine) -> Callable[[], object]:
        cell = Cell("x", 0)

        async def fails(t: Task) -> None:
            if not await cell.rmw(t, lambda value: value * 2):
                raise RuntimeError("first")

        async def holds(t: Task) -> None:
            await cell.store(t, 1)
            clock[0] += 100
            for _ in {1: 2}.items():
                await cell.load(t)

        for body in (fails, holds):
            engine.spawn(body.__name__, body)
        return lambda: cell.value

    clock = [monotonic()]
    monkeypatch.setattr(searching, "monotonic", lambda: clock[0])
    strategy = Stateful()
    result = search(TaskProgram("both", setup), strategy, Limits(seconds=90), keep_going=True)
    assert not strategy.restores
    assert [one.failure.rule for one in result.found] == [CRASH]
    assert not result.complete
