"""DPOR finds what plain depth-first search finds, in fewer runs; and would not if its idea of dependence were wrong."""

from __future__ import annotations

from functools import cache as remembers
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.explore.strategies.micro_programs import FLAVOURS, micro_program

from gmemsim.engine.cell import Cell
from gmemsim.engine.errors import ModelError, Pruned, TapeMismatch
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.op import Op
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Limits, SearchResult, search
from gmemsim.explore.strategies import dpor_order
from gmemsim.explore.strategies.dfs import DepthFirst
from gmemsim.explore.strategies.dpor import Dpor
from gmemsim.explore.strategies.dpor_order import EVERYTHING, Order, conflict
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.scenarios.scenario import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task
    from gmemsim.explore.runs import Program
    from gmemsim.explore.strategies.base import SearchStrategy

#: Schedules that a micro-program may have, so that depth-first search stays quick.
SMALL = 1_500
#: Programs of each flavour.
EACH = 4


def explore(program: Program, strategy: SearchStrategy, schedules: int | None = None) -> SearchResult:
    return search(
        program, strategy, Limits(schedules=schedules, steps=2_000), keep_going=True, collect_outcomes=True
    )


@remembers
def small_programs(flavour: str) -> list[tuple[TaskProgram, SearchResult]]:
    """The first few micro-programs of a flavour that depth-first search gets through, with what it found."""
    found: list[tuple[TaskProgram, SearchResult]] = []
    seed = 0
    while len(found) < EACH:
        program = micro_program(seed, flavour)
        seed += 1
        result = explore(program, DepthFirst(), SMALL)
        if result.complete:
            found.append((program, result))
    return found


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("cache", [0, 1])
def test_same_outcomes_as_depth_first_in_no_more_runs(flavour: str, cache: int) -> None:
    for program, plain in small_programs(flavour):
        reduced = explore(program, Dpor(cache))
        assert reduced.complete
        assert reduced.outcomes.keys() == plain.outcomes.keys(), program.name
        assert reduced.schedules <= plain.schedules, program.name


def test_races_with_what_was_cut_off_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a run is cut at a known state, the steps behind that state still race with those of the run."""
    program = micro_program(110, "folio")
    plain = explore(program, DepthFirst())
    strategy = Dpor()
    assert explore(program, strategy).outcomes.keys() == plain.outcomes.keys()
    assert strategy.cached
    assert strategy.remembered

    def forgets(self: Dpor, finished: Any) -> None:
        self._cut = True
        raise Pruned

    monkeypatch.setattr(Dpor, "_cut_at", forgets)
    assert explore(program, Dpor()).outcomes.keys() < plain.outcomes.keys()


def test_a_fault_against_a_hole_is_complete() -> None:
    program = ScenarioProgram(
        scenario=load(Path(__file__).with_name("pair.toml")), patch="v3", rules=frozenset()
    )
    reduced, cached = explore(program, Dpor()), explore(program, Stateful())
    assert reduced.complete
    assert cached.complete
    assert reduced.outcomes.keys() == cached.outcomes.keys()
    assert reduced.schedules * 2 < cached.schedules


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_same_outcomes_with_states_remembered(flavour: str) -> None:
    for program, plain in small_programs(flavour):
        strategy = Stateful()
        cached = explore(program, strategy)
        assert cached.complete
        assert cached.outcomes.keys() == plain.outcomes.keys(), program.name
        assert cached.schedules <= plain.schedules, program.name
        assert strategy.states


@pytest.mark.parametrize("wrong", ["nothing", "writes only"])
def test_wrong_dependence_is_noticed(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = [case for flavour in ("cells", "mutex", "rwsem", "range") for case in small_programs(flavour)]

    def dependent(a: Op, b: Op) -> bool:
        return wrong != "nothing" and a.obj == b.obj and a.mode == b.mode == "w"

    monkeypatch.setattr(dpor_order, "dependent", dependent)
    missed = [
        program.name
        for program, plain in programs
        if explore(program, Dpor()).outcomes.keys() != plain.outcomes.keys()
    ]
    assert missed


def program_of(*bodies: Callable[..., object], shared: Callable[[], object]) -> TaskProgram:
    """One task a body, called with the task and the shared object; the outcome is the shared object's `repr`."""

    def setup(engine: Engine) -> Callable[[], object]:
        what = shared()
        for number, body in enumerate(bodies):
            engine.spawn(f"t{number}", body, what)  # type: ignore[arg-type] # coroutine functions
        return lambda: what

    return TaskProgram("by hand", setup)


def both(program: TaskProgram) -> tuple[SearchResult, SearchResult]:
    return explore(program, DepthFirst()), explore(program, Dpor())


@pytest.mark.parametrize(("readers", "writers", "classes"), [(3, 0, 1), (1, 1, 2), (2, 1, 4), (0, 3, 6)])
def test_one_run_a_class_of_reads_and_writes(readers: int, writers: int, classes: int) -> None:
    async def read(t: Task, cell: Cell[int]) -> None:
        await cell.load(t)

    async def write(t: Task, cell: Cell[int]) -> None:
        await cell.store(t, t.ident)

    strategy = Dpor()
    result = explore(program_of(*[read] * readers, *[write] * writers, shared=lambda: Cell("x", 0)), strategy)
    assert (result.complete, result.schedules - strategy.blocked) == (True, classes)


def test_disjoint_ranges_commute_and_overlapping_ones_do_not() -> None:
    def touch(lo: int, hi: int) -> Callable[[Task, object], object]:
        async def body(t: Task, _: object) -> None:
            await t.point(Op("rmw", "pages", lo, hi))

        return body

    def runs(*ranges: tuple[int, int]) -> int:
        return explore(program_of(*(touch(*r) for r in ranges), shared=object), Dpor()).schedules

    assert runs((0, 2), (2, 4), (4, 6)) == 1
    assert runs((0, 3), (2, 4)) == 2


def test_abba_deadlock() -> None:
    def locks(first: int) -> Callable[[Task, list[Mutex]], object]:
        async def body(t: Task, pair: list[Mutex]) -> None:
            await pair[first].lock(t)
            await pair[1 - first].lock(t)
            await pair[1 - first].unlock(t)
            await pair[first].unlock(t)

        return body

    plain, reduced = both(
        program_of(locks(0), locks(1), shared=lambda: [Mutex("one.lock"), Mutex("two.lock")])
    )
    assert "deadlock lock" in reduced.outcomes
    assert {o.partition(" ")[0] for o in reduced.outcomes} == {o.partition(" ")[0] for o in plain.outcomes}
    assert reduced.complete
    assert reduced.schedules < plain.schedules / 4


def test_reader_that_recurses_behind_a_queued_writer_deadlocks() -> None:
    async def reads_twice(t: Task, sem: RwSem) -> None:
        await sem.down_read(t)
        await sem.down_read(t)
        await sem.up_read(t)
        await sem.up_read(t)

    async def writes(t: Task, sem: RwSem) -> None:
        await sem.down_write(t)
        await sem.up_write(t)

    plain, reduced = both(program_of(reads_twice, writes, shared=lambda: RwSem("m.rwsem")))
    assert reduced.complete
    assert plain.outcomes.keys() == {"deadlock rwsem"} | {
        o for o in plain.outcomes if not o.startswith("deadlock")
    }
    assert "deadlock rwsem" in reduced.outcomes
    assert len(reduced.outcomes) > 1


def test_lost_wake_up() -> None:
    class Flag:
        """Looks, then sleeps: a wake-up in between is lost."""

        label = "flag"

        def __init__(self) -> None:
            self.up = Cell("flag.up", 0)
            self.sleeper: Task | None = None

        def holders(self) -> Iterable[str]:
            return ()

        def __repr__(self) -> str:
            return f"up={self.up.value}"

    async def waits(t: Task, flag: Flag) -> None:
        if not await flag.up.load(t):
            await t.point(Op("store", "flag.sleeper"))
            flag.sleeper = t
            await t.park(flag, Op("wait", "flag.sleeper"))

    async def raises(t: Task, flag: Flag) -> None:
        await flag.up.store(t, 1)
        await t.point(Op("load", "flag.sleeper", mode="r"))
        if flag.sleeper is not None:
            t.engine.wake(flag.sleeper)

    plain, reduced = both(program_of(waits, raises, shared=Flag))
    assert plain.outcomes.keys() == reduced.outcomes.keys() == {"deadlock flag", "up=1"}
    assert reduced.complete


def test_all_answers_of_draws() -> None:
    async def draws(t: Task, seen: list[int]) -> None:
        await t.point(Op("rmw", "seen"))
        seen.append(t.draw("one", 3) * 10 + t.draw("two", 2))

    plain, reduced = both(program_of(draws, draws, shared=list))
    assert plain.outcomes.keys() == reduced.outcomes.keys()
    assert len(reduced.outcomes) == 36
    assert reduced.schedules < plain.schedules


def test_step_that_ends_the_run_comes_before_what_the_others_had_to_do() -> None:
    async def fails(t: Task, cell: Cell[int]) -> None:
        await t.point(Op("step", t.name))
        raise ModelError(f"{t.name} after {cell.value}")

    async def counts(t: Task, cell: Cell[int]) -> None:
        await cell.store(t, 1)
        await t.point(Op("step", t.name))
        raise KeyError(t.name)

    plain, reduced = both(program_of(fails, counts, shared=lambda: Cell("x", 0)))
    assert plain.outcomes.keys() == reduced.outcomes.keys() == {"model_error ModelError", "crash KeyError"}
    assert reduced.complete


def test_loop_that_waits_for_another_task_ends() -> None:
    async def polls(t: Task, cell: Cell[int]) -> None:
        while not await cell.load(t):
            pass

    async def sets(t: Task, cell: Cell[int]) -> None:
        await cell.store(t, 1)

    strategy = Dpor()
    result = explore(program_of(polls, sets, shared=lambda: Cell("x", 0)), strategy)
    assert result.complete
    assert not result.found
    assert strategy.spins


def test_loop_that_nobody_ends_meets_the_step_limit() -> None:
    async def polls(t: Task, cell: Cell[int]) -> None:
        while not await cell.load(t):
            pass

    async def looks(t: Task, cell: Cell[int]) -> None:
        await cell.load(t)

    result = explore(program_of(polls, looks, shared=lambda: Cell("x", 0)), Dpor())
    assert not result.complete
    assert {found.failure.rule for found in result.found} == {"step_limit"}


def test_program_that_is_not_deterministic_is_refused() -> None:
    count = iter(range(100))

    def setup(engine: Engine) -> Callable[[], object]:
        label = f"x{next(count)}"

        async def body(t: Task) -> None:
            await t.point(Op("step", f"{label}.{t.name}"))
            await t.point(Op("rmw", "shared"))

        engine.spawn("a", body)
        engine.spawn("b", body)
        return str

    with pytest.raises(TapeMismatch, match="not deterministic"):
        search(TaskProgram("fickle", setup), Dpor())


def test_order_forgets_what_is_cut_off() -> None:
    order = Order()
    write, read = (Op("rmw", "x"),), (Op("load", "x", mode="r"),)
    assert order.add(0, write, ()) == []
    assert order.add(1, read, ()) == [0]
    order.cut(1)
    assert order.add(2, read, ()) == [0]
    assert order.add(1, read, ()) == [0]
    # Both reads race with the next write; the first write is behind them.
    assert sorted(order.add(3, write, ())) == [1, 2]
    # What woke a task comes before its next step, and is no race.
    assert order.add(4, write, (5,)) == [3]
    assert order.add(5, write, ()) == []
    assert conflict(EVERYTHING, read)
