"""A search of states over several processes comes to what one comes to."""

from __future__ import annotations

from concurrent.futures import Future
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.explore.strategies.micro_programs import FLAVOURS, micro_program

from gmemsim.engine.cell import Cell
from gmemsim.engine.tape import Tape
from gmemsim.explore import search, spread_states
from gmemsim.explore.campaign import Campaign, run_campaign
from gmemsim.explore.judges.livelock import Trapped
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.scope import scope
from gmemsim.explore.search import Limits, SearchResult
from gmemsim.explore.spread_states import Done, Spread
from gmemsim.explore.state.claimed import Claimed
from gmemsim.explore.strategies.state_graph import StateGraph
from gmemsim.explore.strategies.stateful_part import Part
from gmemsim.jobs.workers import WorkerKilled
from gmemsim.scenarios.catalogue import load_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task
    from gmemsim.explore.campaign_values import Batch
    from gmemsim.explore.runs import Program


class Inline:
    """Workers that do a part when it is handed out, in this process."""

    runs = 0

    def __init__(self, jobs: int) -> None:
        pass

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call(*args))
        return future

    @staticmethod
    def result(future: Future[Any]) -> Any:
        return future.result()

    @staticmethod
    def stop(pending: set[Future[Any]]) -> list[Any]:
        return [future.result() for future in pending]


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small parts, all in this process."""
    monkeypatch.setattr(spread_states, "Workers", Inline)
    monkeypatch.setattr(spread_states, "_FEW", 15)
    monkeypatch.setattr(spread_states, "_MANY", 40)


def run(program: Program, jobs: int, strategy: str = "stateful", **changes: Any) -> SearchResult:
    plan: dict[str, Any] = {"limits": Limits(schedules=None), "keep_going": True, "outcomes": True} | changes
    return run_campaign(Campaign(program=program, jobs=jobs, strategy=strategy, **plan)).search


def verdict(result: SearchResult) -> tuple[object, ...]:
    sorts = {one.sort for one in result.found}
    return result.complete, result.stopped, result.states, sorts, result.outcomes.keys(), result.rules


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_programs_have_the_same_verdict(flavour: str) -> None:
    program = micro_program(1, flavour)
    one, two = run(program, 1), run(program, 2)
    assert verdict(one) == verdict(two)


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    ("scenario", "patch", "arch"),
    [("munmap", "v3", None), ("populate_twice", "v3", "snp"), ("prefault_early", "v3", None)],
)
def test_scenarios_have_the_same_verdict(scenario: str, patch: str, arch: str | None) -> None:
    program = ScenarioProgram(scenario=load_named(scenario), patch=patch, arch=arch)
    assert verdict(run(program, 2)) == verdict(run(program, 1))


def spinning(engine: Engine) -> Callable[[], object]:
    """Two tasks; if the second comes first, both wait for a cell that nobody sets."""
    first, flag = Cell("first", 0), Cell("flag", 0)

    async def sets(t: Task) -> None:
        if await first.rmw(t, lambda old: old or 1) == 0:
            await flag.store(t, 1)
        while not await flag.load(t):
            pass

    async def polls(t: Task) -> None:
        await first.rmw(t, lambda old: old or 2)
        while not await flag.load(t):
            pass

    engine.spawn("sets", sets)
    engine.spawn("polls", polls)
    return lambda: (first.value, flag.value)


@pytest.mark.usefixtures("inline")
def test_a_livelock_is_found_in_all_graphs_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_states, "_FEW", 2)
    program = TaskProgram("spinning", spinning)
    one, two = run(program, 1), run(program, 2)
    assert verdict(one) == verdict(two)
    assert [found.failure.rule for found in two.found] == ["livelock"]
    assert two.schedules > 1, "several parts"


@pytest.mark.usefixtures("inline")
def test_a_limit_of_states_ends_it() -> None:
    program = ScenarioProgram(scenario=load_named("hole"), patch="v3")
    result = run(program, 2, limits=Limits(schedules=None, states=150))
    assert (result.complete, result.stopped) == (False, "states")
    assert 150 <= result.states < 250
    sampled = run(program, 2, "auto", limits=Limits(schedules=5, states=60))
    assert not sampled.complete
    assert (sampled.sampled, sampled.states >= 60) == (5, True)


@pytest.mark.usefixtures("inline")
def test_a_limit_of_schedules_ends_it() -> None:
    program = ScenarioProgram(scenario=load_named("hole"), patch="v3")
    for schedules in (1, 5):
        result = run(program, 2, limits=Limits(schedules=schedules))
        assert (result.complete, result.stopped, result.schedules) == (False, "schedules", schedules)


def looping(batch: Batch) -> Done:
    """A part that knows of a loop; from its second state another process has a step to take."""
    graph = StateGraph()
    graph.add(b"first", -1, ())
    graph.add(b"second", 0, (0,))
    graph.link(0, 1)
    graph.link(1, 0)
    return Done(batch, graph, Part(((0, 2),), 0), [b"first", b"second"])


@pytest.mark.parametrize("comes_back", [True, False])
def test_what_was_not_gone_through_is_no_livelock(monkeypatch: pytest.MonkeyPatch, comes_back: bool) -> None:
    """Ctrl-C, or a limit, while a part is under way: whether its loop can be left nobody has seen."""
    batch = run_campaign(
        Campaign(program=micro_program(0, "cells"), strategy="random", limits=Limits(schedules=1))
    )
    parts = iter([looping(cast("Batch", batch)), looping(cast("Batch", batch))._replace(rest=None)])
    monkeypatch.setattr(spread_states, "Workers", Inline)
    monkeypatch.setattr(Inline, "result", staticmethod(interrupted_at(2)))
    if not comes_back:
        monkeypatch.setattr(Inline, "stop", staticmethod(lambda pending: []))
    spread = Spread(
        1,
        lambda part, table, limits: next(parts),
        lambda batch: False,
        lambda states: Limits(),
        lambda runs, states: None,
    )
    spread.search()
    assert spread.stopped == "interrupted"
    assert spread.joined.traps() == []


def interrupted_at(call: int) -> Callable[[Future[Any]], Any]:
    calls: list[Future[Any]] = []

    def result(future: Future[Any]) -> Any:
        calls.append(future)
        if len(calls) == call:
            raise KeyboardInterrupt
        return future.result()

    return result


@pytest.mark.usefixtures("inline")
def test_a_loop_that_only_the_graph_sees_leaves_it_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that ends by itself is no more complete than the search that it is all of."""
    monkeypatch.setattr(spread_states, "_FEW", 1_000)
    ends = Trapped(failure=None, tape=Tape(), steps=1, outcome="")
    monkeypatch.setattr(search, "trapped", lambda *_: ends)
    program = TaskProgram("spinning", spinning)
    one, two = run(program, 1), run(program, 2)
    assert verdict(one) == verdict(two)
    assert (two.complete, two.schedules > 0) == (False, True)


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("jobs", [1, 2])
def test_loops_that_there_was_no_time_for_leave_it_incomplete(
    jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_GRACE", -1_000)
    limits = Limits(schedules=None, seconds=999)
    found = run(TaskProgram("spinning", spinning), jobs, limits=limits)
    assert (found.complete, found.stopped, found.found) == (False, "seconds", ())


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_while_loops_are_looked_at_keeps_what_was_done(
    jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trapped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "trapped", trapped)
    found = run(TaskProgram("spinning", spinning), jobs)
    assert (found.complete, found.stopped, found.states > 1) == (False, "interrupted", True)


@pytest.mark.usefixtures("inline")
def test_the_first_violation_ends_it_unless_told_otherwise() -> None:
    program = ScenarioProgram(scenario=load_named("zoo-poison_punch"), patch="v3")
    result = run(program, 2, keep_going=False)
    assert (result.stopped, result.complete) == ("violation", False)
    assert [one.sort for one in result.found] == [
        ("deadlock", "folio invalidate_lock", "memory-failure-against-punch")
    ]


def test_real_processes_have_the_same_verdict() -> None:
    program = ScenarioProgram(scenario=load_named("munmap"), patch="v3")
    assert verdict(run(program, 2)) == verdict(run(program, 1))


@pytest.mark.usefixtures("inline")
def test_a_killed_worker_leaves_it_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def result(future: Future[Any]) -> Any:
        calls.append(future)
        if len(calls) == 3:
            raise WorkerKilled
        return future.result()

    monkeypatch.setattr(Inline, "result", staticmethod(result))
    found = run(ScenarioProgram(scenario=load_named("hole"), patch="v3"), 2)
    assert (found.complete, found.stopped) == (False, "worker")
    assert found.states
    assert scope(found) == f"not complete: a worker process was killed; {found.states:,} states"


@pytest.mark.usefixtures("inline")
def test_ctrl_c_keeps_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inline, "result", staticmethod(interrupted_at(3)))
    found = run(ScenarioProgram(scenario=load_named("hole"), patch="v3"), 2)
    assert (found.complete, found.stopped) == (False, "interrupted")
    assert found.states


def test_a_digest_is_new_once() -> None:
    draw = Random(1)
    digests = [draw.randbytes(16) for _ in range(150)]
    with Claimed(places=256) as table, Claimed(table.name) as other:
        assert all(table.add(digest) for digest in digests)
        assert not any(other.add(digest) for digest in digests)
    with Claimed(places=256) as full:
        for number in range(1, 400):
            # All in one place: where there is no room a state is looked at again.
            full.add(bytes(8) + number.to_bytes(8, "little"))
        assert full.add(bytes(8) + (399).to_bytes(8, "little"))
        assert not full.add(bytes(8) + (1).to_bytes(8, "little"))


@pytest.mark.parametrize("strategy", ["stateful:1", "stateful:2", "dpor"])
def test_what_knows_who_sleeps_is_done_by_one_process(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_states, "Workers", None)
    program = ScenarioProgram(scenario=load_named("prefault_early"), patch="v3")
    assert verdict(run(program, 2, strategy)) == verdict(run(program, 1, strategy))


def test_halves_have_all_that_is_left() -> None:
    path = ((0, 3), (1, 2), (0, 2), (2, 4), (0, 1))

    def untried(part: Part) -> set[tuple[int, int]]:
        places = range(part.floor, len(part.path))
        return {
            (place, answer)
            for place in places
            for answer in range(part.path[place][0] + 1, part.path[place][1])
        }

    whole = Part(path, 0)
    one, two = whole.halves()
    assert untried(one) | untried(two) == untried(whole) == {(0, 1), (0, 2), (2, 1), (3, 3)}
    assert not untried(one) & untried(two)
    assert Part(path, 3).halves() == (Part(path, 3),)


def test_answers_on_the_way_are_those_of_one_process() -> None:
    graphs = [StateGraph(), StateGraph()]
    for graph, (first, second) in zip(graphs, (((0,), (1,)), ((2,), (3,))), strict=True):
        graph.add(b"root", -1, ())
        graph.add(b"half", 0, first)
        graph.link(0, 1)
        if graph is graphs[1]:
            graph.add(b"loop", 1, second)
            graph.link(1, 2)
            graph.link(2, 2)
    joined = spread_states.Joined()
    for graph in graphs:
        joined.add(graph)
    assert len(joined.graph) == 3
    assert joined.traps() == [(1, [2, 3])]
    joined.unfinished = [b"loop"]
    assert joined.traps() == []
