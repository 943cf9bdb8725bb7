"""A search of states says what plain depth-first search would say, and knows which loops have no way out."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.engine.cell import Cell
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.explore.campaign import Campaign, run_campaign
from gmemsim.explore.judges.livelock import judge
from gmemsim.explore.judges.races import Claim, GuardedBy, HappensBefore
from gmemsim.explore.judges.waiting import BoundedWaiting
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies.complete_first import CompleteFirst
from gmemsim.explore.strategies.dfs import DepthFirst
from gmemsim.explore.strategies.dpor import Dpor
from gmemsim.explore.strategies.random_walk import RandomWalk
from gmemsim.explore.strategies.state_graph import END, StateGraph
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named, zoo_names
from gmemsim.scenarios.scenario import loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task
    from gmemsim.explore.search import SearchResult

CLAIM = Claim("count", "m", None, "w", "the test")


def random_program(seed: int) -> TaskProgram:
    """Two or three tasks that touch plain memory, a word and a claimed field, mostly with a lock."""
    rng = Random(seed)
    tasks = rng.randrange(2, 4)
    length = 4 if tasks == 2 else 2
    kinds = ["plain", "word", "count", "down", "up", "down"]
    bodies = [[rng.choice(kinds) for _ in range(length)] for _ in range(tasks)]

    def setup(engine: Engine) -> Callable[[], object]:
        lock = RwSem("m") if seed % 2 else Mutex("m")
        cells = {name: Cell(name, 0) for name in ("plain", "word", "count")}

        async def let_go(t: Task) -> None:
            await (lock.up_write(t) if isinstance(lock, RwSem) else lock.unlock(t))

        async def body(t: Task, what: list[str]) -> None:
            held = False
            for step in what:
                if step in cells:
                    await cells[step].rmw(t, lambda value: value + 1)
                elif step == "down" and not held:
                    await (lock.down_write(t) if isinstance(lock, RwSem) else lock.lock(t))
                    held = True
                elif step == "up" and held:
                    await let_go(t)
                    held = False
            if held:
                await let_go(t)

        for number, what in enumerate(bodies):
            engine.spawn(f"t{number}", body, what)
        return lambda: [cell.value for cell in cells.values()]

    return TaskProgram(f"random{seed}", setup)


def verdict(
    program: Any, strategy: Any, observers: Any = (), **limits: Any
) -> tuple[SearchResult, set[Any], set[str]]:
    """What a search finds, by signature, and the outcomes."""
    result = search(
        program,
        strategy,
        Limits(**{"schedules": 6_000, "steps": 400, **limits}),
        observers=observers,
        keep_going=True,
        collect_outcomes=True,
        judge=judge,
    )
    return result, {found.failure.signature for found in result.found}, set(result.outcomes)


def test_oracles_find_the_same_with_states_cached() -> None:
    makers: list[Callable[[], Any]] = [
        lambda: HappensBefore(["plain"]),
        lambda: GuardedBy([CLAIM]),
        lambda: BoundedWaiting({"m": 0}),
    ]
    compared = failing = 0
    for seed in range(24):
        for make in makers:
            whole, found, outcomes = verdict(random_program(seed), DepthFirst(), [make()], schedules=1_500)
            if not whole.complete:
                continue
            cached = verdict(random_program(seed), Stateful(), [make()])
            assert cached[0].complete
            assert (found, outcomes) == cached[1:]
            compared += 1
            failing += bool(found)
    assert compared > 25
    assert 5 < failing < compared


@pytest.mark.long
@pytest.mark.parametrize("name", zoo_names())
def test_scenarios_come_to_the_same_with_states_cached(name: str) -> None:
    """Those that depth-first search can finish; the others are skipped, by name."""
    program = ScenarioProgram(scenario=load_named(name), patch="v3")
    whole, found, outcomes = verdict(program, DepthFirst(), schedules=30_000, steps=20_000, seconds=60)
    if not whole.complete:
        pytest.skip(f"{name} is too large for depth-first search")
    assert verdict(program, Stateful(), schedules=None, steps=20_000)[1:] == (found, outcomes)


PAIR = """
[scenario]
name = "pair"
summary = "Two calls"
vm_types = ["sw-protected"]
[[file]]
id = "gmem0"
pages = 1
[[slot]]
file = "gmem0"
gfn = 0x10000
[[task]]
name = "one"
ops = [{ op = "ONE", ONEWHAT }]
[[task]]
name = "two"
ops = [{ op = "TWO", TWOWHAT }]
"""
CALLS = {"close": 'file = "gmem0"', "unbind": "slot = 0"}


def pair(one: str, two: str, patch: Any = "v3") -> ScenarioProgram:
    """Two calls on one page."""
    text = PAIR
    for name, call in (("ONE", one), ("TWO", two)):
        text = text.replace(f"{name}WHAT", CALLS.get(call, 'file = "gmem0"')).replace(
            f'"{name}"', f'"{call}"'
        )
    return ScenarioProgram(scenario=loads(text, "pair.toml"), patch=patch)


class FileFirst(V3):
    """A release that takes the file's lock before the slots' and lets go of it last."""

    name = "file-first"

    async def kvm_gmem_release(self, t: Task, file: Any) -> None:
        inode, vm = file.inode, file.vm
        await inode.invalidate_lock.down_write(t)
        await vm.slots_lock.lock(t)
        for slot in list(file.bindings.values()):
            slot.gmem_file = None
        await self.kvm_gmem_file_invalidate_start(t, file, 0, inode.pages, self.release_filter(inode))
        await self.kvm_gmem_file_invalidate_end(t, file, 0, inode.pages)
        await vm.slots_lock.unlock(t)
        inode.files.remove(file)
        await inode.invalidate_lock.up_write(t)
        file.bindings.clear()
        file.released = True
        vm.files.pop(inode.label, None)
        if not inode.files and not inode.mappings:
            await self.evict_inode(t, inode, vm)


def test_bindings_that_the_last_close_let_go_of_are_nobodys() -> None:
    """Between the end of the slots' lock and the destruction of the bindings another thread deletes the slot."""
    program = pair("close", "unbind", FileFirst)
    for strategy in (Stateful(), Dpor(), RandomWalk(1)):
        sampled = isinstance(strategy, RandomWalk)
        result, found, _ = verdict(program, strategy, schedules=200 if sampled else None)
        assert not found
        assert result.complete is not sampled


def test_what_a_reduction_does_not_preserve_is_left_out_by_name() -> None:
    program = pair("allocate", "unbind")
    whole = verdict(program, Stateful(), schedules=None)[0]
    reduced = verdict(program, Dpor(), schedules=None)[0]
    assert whole.complete
    assert reduced.complete
    assert not whole.left_out
    assert {"I12", "guarded_by"} <= set(whole.rules)
    assert "I12" in reduced.left_out
    assert {"guarded_by", "deadlock"} <= set(reduced.rules)
    assert set(whole.outcomes) == set(reduced.outcomes)
    forgetful = verdict(program, Stateful(ledger=False), schedules=None)[0]
    assert "I12" in forgetful.left_out


# -- loops -----------------------------------------------------------------------------------------------


def waiting_for(value: int) -> TaskProgram:
    """A task that polls a word, and one that stores a value there."""

    def setup(engine: Engine) -> Callable[[], object]:
        cell = Cell("x", 0)

        async def polls(t: Task) -> None:
            while not await cell.load(t):
                pass

        async def sets(t: Task) -> None:
            await cell.store(t, value)

        engine.spawn("polls", polls)
        engine.spawn("sets", sets)
        return lambda: cell.value

    return TaskProgram("waiting", setup)


@pytest.mark.parametrize(("value", "rules"), [(1, set()), (0, {"livelock"})])
def test_a_loop_is_a_livelock_if_nobody_can_leave_it(value: int, rules: set[str]) -> None:
    result = search(waiting_for(value), Stateful(), Limits(schedules=None), keep_going=True)
    assert result.complete
    assert {found.failure.rule for found in result.found} == rules
    for found in result.found:
        assert "no step leads out of a loop" in found.failure.summary
        assert found.steps < 200


def embrace(engine: Engine) -> Callable[[], object]:
    first, second, flag = Mutex("a.mutex"), Mutex("b.mutex"), Cell("flag", 0)

    async def takes(t: Task, one: Mutex, other: Mutex) -> None:
        await one.lock(t)
        await other.lock(t)
        await other.unlock(t)
        await one.unlock(t)
        await flag.rmw(t, lambda value: value + 1)

    async def spins(t: Task) -> None:
        while await flag.load(t) < 2:
            pass

    engine.spawn("one", takes, first, second)
    engine.spawn("two", takes, second, first)
    engine.spawn("spins", spins)
    return lambda: flag.value


def test_a_deadlock_is_one_although_another_task_spins() -> None:
    program = TaskProgram("embrace", embrace)
    result = search(program, Stateful(), Limits(schedules=None), keep_going=True)
    assert result.complete
    (found,) = result.found
    assert found.failure.signature == ("deadlock", "mutex")
    assert "spins" not in found.failure.summary
    sampled = search(program, RandomWalk(0), Limits(schedules=200, steps=300), judge=judge)
    assert {one.failure.signature for one in sampled.found} == {("deadlock", "mutex")}


def test_traps_are_components_without_a_way_out() -> None:
    graph = StateGraph()
    for number in range(6):
        graph.add(bytes([number]), number - 1 if number else END, (number,))
    for before, after in ((0, 1), (1, 2), (2, 1), (1, 3), (3, 4), (4, 3), (0, 5), (5, END)):
        graph.link(before, after)
    assert graph.traps(set()) == [[3, 4]]
    assert graph.traps({4}) == []
    assert graph.answers(3) == [0, 1, 2, 3]
    graph.link(4, END)
    assert graph.traps(set()) == []


# -- complete first --------------------------------------------------------------------------------------


def test_sampling_comes_after_the_budget() -> None:
    program = pair("allocate", "punch")
    small = run_campaign(Campaign(program=program, limits=Limits(schedules=7, states=10))).search
    assert (small.complete, small.sampled, small.stopped) == (False, 7, "schedules")
    assert small.states >= 10
    whole = run_campaign(Campaign(program=program)).search
    assert (whole.complete, whole.sampled) == (True, 0)
    assert whole.states > 10


@pytest.mark.parametrize("strategy", ["auto", "portfolio"])
def test_a_vcpu_that_spins_beside_a_deadlock(strategy: str) -> None:
    """The fault waits by retry for the hole, which waits for the memory failure, and that for the hole."""
    text = Path(__file__).with_name("mce_punch.toml").read_text(encoding="utf-8")
    program = ScenarioProgram(scenario=loads(text, "mce_punch.toml"), patch="v3")
    limits = Limits(schedules=400, states=5_000, steps=3_000)
    campaign = Campaign(program=program, strategy=strategy, limits=limits, classes=False)
    (found,) = run_campaign(campaign).search.found
    assert found.failure.signature == ("deadlock", "folio invalidate_lock")


def test_a_budget_ends_within_a_run() -> None:
    # A loop over the pages of a file has a state a step.
    def walks(engine: Engine) -> Callable[[], object]:
        cell = Cell("x", 0)

        async def walk(t: Task) -> None:
            for _ in range(300):
                await cell.rmw(t, lambda value: value + 1)

        engine.spawn("walks", walk)
        return lambda: cell.value

    strategy = CompleteFirst(budget=20)
    result = search(TaskProgram("walks", walks), strategy, Limits(schedules=3), collect_outcomes=True)
    assert strategy.states == 20
    assert not result.complete
    assert set(result.outcomes) == {"300"}
