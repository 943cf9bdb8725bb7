"""A run that is taken back and forth comes to what a run built anew comes to: same states, outcomes and failures."""

from __future__ import annotations

from random import Random
from types import coroutine
from typing import TYPE_CHECKING, Any

import pytest
from tests.explore.strategies.micro_programs import FLAVOURS, micro_program

import gmemsim.explore.search as searching
from gmemsim.engine.cell import Cell
from gmemsim.engine.engine import Engine
from gmemsim.engine.op import Op
from gmemsim.explore.classes import ClassCounter
from gmemsim.explore.lock_graph import LockGraph
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.state import LiveState, StateDigest
from gmemsim.explore.state.coroutines import Image, chain_of, drop, put_back, supported
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.scenarios.catalogue import load_named

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from gmemsim.engine.task import Task
    from gmemsim.explore.runs import Program

needs_frames = pytest.mark.skipif(not supported(), reason="coroutines cannot be put back on this interpreter")


@coroutine
def trap() -> Generator[None, None, None]:
    yield


async def inner(log: list[Any], count: int) -> int:
    total = 0
    for number in range(count):
        try:
            await trap()
        finally:
            log.append(number)
        total += number
    return total


async def outer(log: list[Any], items: list[int]) -> int:
    total = 0
    for item in items:
        total += await inner(log, item)
        try:
            raise KeyError(item)
        except KeyError:
            await trap()
    return total


@needs_frames
@pytest.mark.parametrize("seed", range(20))
def test_a_coroutine_goes_on_from_wherever_it_is_put_back_to(seed: int) -> None:
    items = [2, 0, 3, 1]
    result = None
    straight: list[tuple[int, ...]] = []
    log: list[Any] = []
    reference = outer(log, items)
    while True:
        straight.append(tuple(log))
        try:
            reference.send(None)
        except StopIteration as stop:
            result = stop.value
            break
    random = Random(seed)
    log = []
    coro = outer(log, items)
    step = 0
    kept: list[tuple[int, list[Image], list[Any]]] = []
    for _ in range(60):
        if random.random() < 0.3 and step < len(straight):
            kept.append((step, [Image(part) for part in chain_of(coro)], list(log)))
        elif random.random() < 0.4 and kept:
            del kept[random.randrange(len(kept)) + 1 :]
            step, images, before = kept[-1]
            alive = {id(image.coro) for image in images}
            for part in reversed(chain_of(coro)):
                if id(part) not in alive:
                    drop(part)
            put_back(images)
            log[:] = before
        elif step < len(straight):
            assert tuple(log) == straight[step]
            step += 1
            ended = None
            try:
                coro.send(None)
            except StopIteration as stop:
                ended = stop.value
            assert ended == (result if step == len(straight) else None)
    for part in reversed(chain_of(coro)):
        drop(part)


def rerun(monkeypatch: pytest.MonkeyPatch, program: Program, limits: Limits) -> tuple[Any, ...]:
    """The search with every run built anew."""
    with monkeypatch.context() as patch:
        patch.setattr(searching, "supported", lambda: False)
        return searched(program, limits)


def searched(program: Program, limits: Limits, *observers: Any) -> tuple[Any, ...]:
    strategy = Stateful()
    found = search(program, strategy, limits, keep_going=True, collect_outcomes=True, observers=observers)
    failures = [(one.failure.signature, one.failure.summary, one.tape.raw, one.steps) for one in found.found]
    return (
        strategy.states, strategy.cycles, found.schedules, found.pruned, found.depth, found.complete, found.outcomes,
        failures,
    )  # fmt: skip


@needs_frames
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_micro_programs_come_to_the_same(flavour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        program = micro_program(seed, flavour)
        limits = Limits(schedules=100)
        assert searched(program, limits) == rerun(monkeypatch, program, limits)


@needs_frames
@pytest.mark.parametrize(
    ("scenario", "patch", "arch"),
    [
        ("hole", "v3", "snp"),
        ("memory_failure", "v3", None),
        ("conv1_punch1", "inplace-v8", "tdx"),
        ("populate_busy", "mainline-7.3", "snp"),
        ("close", "baseline", None),
    ],
)
def test_scenarios_come_to_the_same(
    scenario: str, patch: str, arch: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ScenarioProgram(scenario=load_named(scenario), patch=patch, arch=arch)
    limits = Limits(schedules=40)
    assert searched(program, limits) == rerun(monkeypatch, program, limits)


@needs_frames
@pytest.mark.parametrize(
    ("scenario", "patch"), [("hole", "v3"), ("conv1", "inplace"), ("populate_busy", "v3")]
)
def test_both_digests_tell_the_same_states_apart(
    scenario: str, patch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = StateDigest()
    pairs: set[tuple[bytes, bytes]] = set()
    digest = LiveState.digest

    def both(self: LiveState) -> bytes:
        found = digest(self)
        pairs.add((found, written.of(self.engine)))
        return found

    monkeypatch.setattr(LiveState, "digest", both)
    program = ScenarioProgram(scenario=load_named(scenario), patch=patch)
    search(program, Stateful(), Limits(schedules=150), keep_going=True)
    assert len(pairs) > 100
    assert len({one for one, _ in pairs}) == len({other for _, other in pairs}) == len(pairs)


def two(body: Callable[[Task, Any], Any], shared: Callable[[], Any]) -> TaskProgram:
    """Two tasks with the same body on one object."""

    def setup(engine: Engine) -> Callable[[], object]:
        common = shared()
        engine.roots.append(common)
        for name in ("a", "b"):
            engine.spawn(name, body, common)
        return lambda: [getattr(part, "value", part) for part in common]

    return TaskProgram("two", setup)


@needs_frames
def test_a_container_that_gives_way_to_an_equal_one_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(t: Task, lists: list[list[str]]) -> None:
        mine = lists[0]
        await t.point(Op("step", "x"))
        # Equal at this moment, and yet not the same: `mine` of the other task is left behind.
        lists[0] = []
        await t.point(Op("step", "x"))
        mine.append(t.name)
        await t.point(Op("step", "x"))
        lists[0].append(t.name.upper())

    program = two(body, lambda: [[], []])
    assert searched(program, Limits()) == rerun(monkeypatch, program, Limits())


@needs_frames
def test_what_cannot_be_put_back_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(t: Task, cells: list[Cell[int]]) -> None:
        for cell, number in {cells[0]: 1, cells[1]: 2}.items():
            await cell.rmw(t, lambda value, number=number: value * 2 + number)  # type: ignore[misc] # bound at once

    program = two(body, lambda: [Cell("x", 0), Cell("y", 0)])
    strategy = Stateful()
    result = search(program, strategy, Limits())
    assert not strategy.restores
    assert result.complete
    assert searched(program, Limits()) == rerun(monkeypatch, program, Limits())


@needs_frames
def test_observers_say_what_they_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    program = ScenarioProgram(scenario=load_named("memory_failure"), patch="v3")
    limits = Limits(schedules=40)

    def graph_and_classes() -> tuple[Any, ...]:
        graph, classes = LockGraph(), ClassCounter()
        result = searched(program, limits, graph, classes)
        return result, sorted(graph.edges), graph.written, classes.counts

    live = graph_and_classes()
    with monkeypatch.context() as patch:
        patch.setattr(searching, "supported", lambda: False)
        assert graph_and_classes() == live

    class Unsaid(ClassCounter):
        def __getattribute__(self, name: str) -> Any:
            if name == "__kept__":
                raise AttributeError(name)
            return super().__getattribute__(name)

    strategy = Stateful()
    search(program, strategy, limits, observers=[Unsaid()])
    assert not strategy.restores
