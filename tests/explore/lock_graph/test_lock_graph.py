"""The lock-order graph: what it finds in schedules that end well, and what directed search makes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

import pytest

from gmemsim.engine.cell import Cell
from gmemsim.engine.locks.folio_lock import FolioLock, FolioLockClass
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.srcu import Srcu
from gmemsim.engine.mailbox import Mailbox
from gmemsim.engine.strategy import FirstRunnable, RandomStrategy, ReplayStrategy
from gmemsim.explore.lock_graph import LockGraph, decide
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies.dfs import DepthFirst
from gmemsim.scenarios.catalogue import load_named, names
from gmemsim.scenarios.errors import ScenarioError
from gmemsim.scenarios.scenario import loads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task

    Body = Callable[[Task], Awaitable[None]]


class AtRandom(RandomStrategy):
    """Uniform."""

    name: ClassVar[str] = "at random"
    summary: ClassVar[str] = ""
    complete = False
    bound = ""


class Once(FirstRunnable):
    """One run, in which every task goes on until it blocks."""

    name: ClassVar[str] = "once"
    summary: ClassVar[str] = ""
    complete = False
    bound = ""


def program(setup: Callable[[], dict[str, Body]]) -> TaskProgram:
    def spawn(engine: Engine) -> Callable[[], object]:
        for name, body in setup().items():
            engine.spawn(name, body, daemon=name == "server")  # type: ignore[arg-type] # bodies are coroutine functions
        return str

    return TaskProgram("test", spawn)


def after_one_run(what: TaskProgram | ScenarioProgram) -> LockGraph:
    """The graph after one run that ends well."""
    graph = LockGraph(what.name)
    result = search(what, Once(), Limits(schedules=1), observers=[graph])
    assert not result.found
    return graph


def nested(first: Mutex, second: Mutex, around: Mutex | None = None) -> Body:
    async def body(t: Task) -> None:
        if around is not None:
            await around.lock(t)
        await first.lock(t)
        await second.lock(t)
        await second.unlock(t)
        await first.unlock(t)
        if around is not None:
            await around.unlock(t)

    return body


def abba() -> dict[str, Body]:
    one, two = Mutex("x.one"), Mutex("x.two")
    return {"a": nested(one, two), "b": nested(two, one)}


def gated() -> dict[str, Body]:
    one, two, gate = Mutex("x.one"), Mutex("x.two"), Mutex("x.gate")
    return {"a": nested(one, two, gate), "b": nested(two, one, gate)}


def test_abba_shows_in_a_schedule_that_ends_well_and_is_witnessed() -> None:
    what = program(abba)
    graph = after_one_run(what)
    (cycle,) = graph.cycles()
    assert sorted(cycle.classes) == ["one", "two"]
    assert not cycle.needs_writer
    assert {edge.witness.task for edge in cycle.edges} == {"a", "b"}
    decided = decide(what, cycle, tries=20)
    assert decided.verdict == "witnessed"
    # Steering gets there at once, and its tape replays it.
    assert decided.schedules == 1
    assert decided.found is not None
    run = what.build(ReplayStrategy(decided.found.tape))
    with pytest.raises(Exception, match="deadlock"):
        run.run()


def test_witness_of_an_edge_says_where_it_was_seen() -> None:
    graph = after_one_run(program(abba))
    edge = graph.edges["one", "w", "two", "w"]
    assert (edge.held, edge.wants, edge.seen) == ("x.one", "x.two", 1)
    # a starts, takes one, takes two.
    assert (edge.witness.task, edge.witness.step) == ("a", 3)


def test_gate_makes_it_infeasible_within_the_bound() -> None:
    what = program(gated)
    (cycle,) = (cycle for cycle in after_one_run(what).cycles() if len(cycle.edges) == 2)
    assert cycle.gate == {"gate"}
    decided = decide(what, cycle, tries=20)
    assert decided.verdict == "infeasible within the bound"
    assert decided.bound == "test, dfs"
    # Cut short, it is no more than potential.
    assert decide(what, cycle, tries=20, schedules=3).verdict == "potential"
    assert decide(what, cycle, tries=20, schedules=0).verdict == "potential"


def reads(*sems: RwSem) -> Body:
    async def body(t: Task) -> None:
        for sem in sems:
            await sem.down_read(t)
        for sem in reversed(sems):
            await sem.up_read(t)

    return body


def writes(sem: RwSem) -> Body:
    async def body(t: Task) -> None:
        await sem.down_write(t)
        await sem.up_write(t)

    return body


def test_shared_twice_needs_a_writer_in_the_queue() -> None:
    """KVM's populate-then-fault shape: shared inside shared is harmless until somebody writes."""

    def without() -> dict[str, Body]:
        sem = RwSem("gmem0.invalidate_lock", spinning=False)
        return {"populate": reads(sem, sem)}

    def with_writer() -> dict[str, Body]:
        sem = RwSem("gmem0.invalidate_lock", spinning=False)
        return {"populate": reads(sem, sem), "punch": writes(sem)}

    assert not after_one_run(program(without)).cycles()
    what = program(with_writer)
    (cycle,) = after_one_run(what).cycles()
    assert cycle.needs_writer == {"invalidate_lock"}
    decided = decide(what, cycle)
    assert decided.verdict == "witnessed"


def test_shared_in_both_orders_needs_a_writer_too() -> None:
    def setup() -> dict[str, Body]:
        one, two = RwSem("x.one", spinning=False), RwSem("x.two", spinning=False)
        return {"a": reads(one, two), "b": reads(two, one)}

    def with_writers() -> dict[str, Body]:
        one, two = RwSem("x.one", spinning=False), RwSem("x.two", spinning=False)
        return {"a": reads(one, two), "b": reads(two, one), "c": writes(one), "d": writes(two)}

    assert not after_one_run(program(setup)).cycles()
    (cycle,) = after_one_run(program(with_writers)).cycles()
    assert cycle.needs_writer == {"one", "two"}


def test_every_link_of_a_cycle_has_to_block() -> None:
    """Exclusive at one end is not enough where the other end is shared on both sides and nobody writes it."""

    def setup() -> dict[str, Body]:
        one, two = Mutex("x.one"), RwSem("x.two", spinning=False)

        async def down(t: Task) -> None:
            await one.lock(t)
            await two.down_read(t)
            await two.up_read(t)
            await one.unlock(t)

        async def up(t: Task) -> None:
            await two.down_read(t)
            await one.lock(t)
            await one.unlock(t)
            await two.up_read(t)

        return {"a": down, "b": up}

    what = program(setup)
    assert not after_one_run(what).cycles()
    assert not search(what, DepthFirst()).found


@pytest.mark.parametrize("seed", range(5))
def test_steering_brings_tasks_together_that_are_far_apart(seed: int) -> None:
    """The second task comes a hundred steps late, when a random schedule is past the first one's locks."""

    def late() -> dict[str, Body]:
        bodies = abba()
        cell, second = Cell("x", 0), bodies["b"]

        async def body(t: Task) -> None:
            for _ in range(100):
                await cell.load(t)
            await second(t)

        return {"a": bodies["a"], "b": body}

    what = program(late)
    (cycle,) = after_one_run(what).cycles()
    decided = decide(what, cycle, tries=5, schedules=0, seed=seed)
    assert decided.verdict == "witnessed"
    assert decided.schedules == 1


def test_deadlock_of_other_locks_is_no_witness() -> None:
    def both() -> dict[str, Body]:
        three, four = Mutex("x.three"), Mutex("x.four")
        return {**gated(), "c": nested(three, four), "d": nested(four, three)}

    what = program(both)
    cycles = {frozenset(cycle.classes): cycle for cycle in after_one_run(what).cycles()}
    cycle = cycles[frozenset({"one", "two"})]
    assert decide(what, cycle, tries=30, schedules=0).verdict == "potential"
    assert decide(what, cycles[frozenset({"three", "four"})], tries=30, schedules=0).verdict == "witnessed"


def test_gate_has_to_be_there_at_every_sighting() -> None:
    def setup() -> dict[str, Body]:
        one, two, gate = Mutex("x.one"), Mutex("x.two"), Mutex("x.gate")
        return {"a": nested(one, two, gate), "b": nested(two, one, gate), "c": nested(one, two)}

    graph = after_one_run(program(setup))
    (cycle,) = (cycle for cycle in graph.cycles() if len(cycle.edges) == 2)
    assert not cycle.gate


def test_shared_inside_exclusive_of_the_same_lock() -> None:
    """Population that takes the invalidate lock again: no schedule ends well, the request is what shows it."""

    def setup() -> dict[str, Body]:
        sem = RwSem("gmem0.invalidate_lock")

        async def body(t: Task) -> None:
            await sem.down_write(t)
            await sem.down_read(t)

        return {"populate": body}

    what = program(setup)
    graph = LockGraph(what.name)
    search(what, Once(), Limits(schedules=1), observers=[graph])
    (cycle,) = graph.cycles()
    assert cycle.classes == ("invalidate_lock",)
    assert decide(what, cycle).verdict == "witnessed"


def folios(*indices: int) -> Callable[[], dict[str, Body]]:
    def setup() -> dict[str, Body]:
        cls = FolioLockClass("folio")
        locks = [FolioLock("gmem0.folio", index, cls) for index in range(2)]

        def body(first: FolioLock, second: FolioLock) -> Body:
            async def both(t: Task) -> None:
                await first.lock(t)
                await second.lock(t)
                await second.unlock(t)
                await first.unlock(t)

            return both

        return {f"t{index}": body(locks[index], locks[1 - index]) for index in indices}

    return setup


def test_two_folios_always_in_one_order_are_no_cycle() -> None:
    graph = after_one_run(program(folios(0, 0)))
    assert len(graph.edges) == 1
    assert not graph.cycles()


def test_two_folios_in_both_orders_are_one() -> None:
    what = program(folios(0, 1))
    (cycle,) = after_one_run(what).cycles()
    assert {edge.held for edge in cycle.edges} == {"gmem0.folio[0]", "gmem0.folio[1]"}
    assert decide(what, cycle).verdict == "witnessed"


def test_trylock_waits_for_nobody() -> None:
    def setup() -> dict[str, Body]:
        one, two = Mutex("x.one"), Mutex("x.two")

        async def tries(t: Task) -> None:
            await two.lock(t)
            if await one.trylock(t):
                await one.unlock(t)
            await two.unlock(t)

        return {"a": nested(one, two), "b": tries}

    graph = after_one_run(program(setup))
    assert set(graph.edges) == {("one", "w", "two", "w")}


def test_what_a_trylock_took_is_held() -> None:
    def setup() -> dict[str, Body]:
        one, two = Mutex("x.one"), Mutex("x.two")

        async def tries(t: Task) -> None:
            if await two.trylock(t):
                await one.lock(t)
                await one.unlock(t)
                await two.unlock(t)

        return {"a": nested(one, two), "b": tries}

    (cycle,) = after_one_run(program(setup)).cycles()
    assert sorted(cycle.classes) == ["one", "two"]


def test_grace_period_inside_a_lock_that_a_section_takes() -> None:
    def setup() -> dict[str, Body]:
        srcu, slots = Srcu("vm0.srcu"), Mutex("vm0.slots_lock")

        async def delete(t: Task) -> None:
            await slots.lock(t)
            await srcu.synchronize(t)
            await slots.unlock(t)

        async def read(t: Task) -> None:
            index = await srcu.read_lock(t)
            nested_index = await srcu.read_lock(t)
            await srcu.read_unlock(t, nested_index)
            await slots.lock(t)
            await slots.unlock(t)
            await srcu.read_unlock(t, index)

        return {"delete": delete, "read": read}

    what = program(setup)
    (cycle,) = after_one_run(what).cycles()
    assert set(cycle.classes) == {"srcu", "slots_lock"}
    assert decide(what, cycle).verdict == "witnessed"


def test_request_to_a_server_that_needs_the_lock() -> None:
    """A mailbox is no lock, and waits all the same for what its server takes."""

    def setup() -> dict[str, Body]:
        box: Mailbox[str] = Mailbox("psp")
        lock = Mutex("vm0.lock")

        async def server(t: Task) -> None:
            while True:
                sender, _ = await box.receive(t)
                await lock.lock(t)
                await lock.unlock(t)
                await box.reply(t, sender, None)

        async def outside(t: Task) -> None:
            await box.call(t, "x")

        async def inside(t: Task) -> None:
            if await lock.trylock(t):
                await lock.unlock(t)

        return {"server": server, "outside": outside, "inside": inside}

    graph = after_one_run(program(setup))
    assert set(graph.edges) == {("psp", "w", "lock", "w")}


def test_graph_is_kept_from_program_to_program() -> None:
    """Neither of the two can deadlock alone."""
    graph = LockGraph()
    for name in ("a", "b"):

        def alone(name: str = name) -> dict[str, Body]:
            return {name: abba()[name]}

        what = program(alone)
        graph.program = f"only {name}"
        assert not after_one_run(what).cycles()
        search(what, Once(), Limits(schedules=1), observers=[graph])
    (cycle,) = graph.cycles()
    assert {edge.witness.program for edge in cycle.edges} == {"only a", "only b"}
    assert graph.runs == 2


def test_report_is_plain_data() -> None:
    graph = after_one_run(program(abba))
    told = json.loads(json.dumps(graph.report()))
    assert told["runs"] == 1
    assert len(told["edges"]) == 2
    (cycle,) = told["potential_cycles"]
    assert sorted(cycle["classes"]) == ["one", "two"]
    decided = decide(program(abba), graph.cycles()[0], tries=5)
    assert json.loads(json.dumps(decided.as_dict()))["verdict"] == "witnessed"


@pytest.mark.parametrize(
    ("arch", "cycles"), [("sw-protected", []), ("default", [{"folio", "invalidate_lock"}]), ("snp", [])]
)
def test_library_has_the_known_cycle_and_no_other(arch: str, cycles: list[set[str]]) -> None:
    """All scenarios of a VM type in one graph; poisoning is in those of the default type only."""
    graph = LockGraph()
    for name in names():
        try:
            what = ScenarioProgram(scenario=load_named(name), arch=arch)
            search(what, AtRandom(1), Limits(schedules=15), observers=[graph], keep_going=True)
        except ScenarioError:
            continue  # makes no sense for this VM type
    assert graph.runs > 80
    assert [set(cycle.classes) for cycle in graph.cycles()] == cycles


MEMORY_FAILURE = """
[scenario]
name = "abba"
summary = "memory failure against punch"
question = "in which order?"

[[vm]]
id = "vm0"

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
gfn = 0x1000

[setup]
ops = [{ op = "allocate" }]

[[task]]
name = "allocate"
ops = [{ op = "allocate" }]

[[task]]
name = "mce"
ops = [{ op = "memory_failure" }]

[[task]]
name = "punch"
ops = [{ op = "punch" }]
"""


@pytest.mark.parametrize("patch", ["baseline", "v3"])
def test_memory_failure_against_punch(patch: str) -> None:
    """One run that ends well shows folio lock and invalidate lock in both orders (docs/findings).

    The allocation's order of the two is enough for the suspicion; the deadlock that is found is another one's.
    """
    what = ScenarioProgram(scenario=loads(MEMORY_FAILURE), patch=patch)
    graph = after_one_run(what)
    (cycle,) = (cycle for cycle in graph.cycles() if set(cycle.classes) == {"folio", "invalidate_lock"})
    asks = {edge.held_class: edge.witness.task for edge in cycle.edges}
    assert asks == {"folio": "mce", "invalidate_lock": "allocate"}
    decided = decide(what, cycle, tries=50)
    assert decided.verdict == "witnessed"
    assert decided.found is not None
    assert "mce" in {edge.task for edge in decided.found.failure.details["wait_for"].cycle}
