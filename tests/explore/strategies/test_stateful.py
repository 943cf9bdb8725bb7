"""States as values: what makes two of them equal, how many there are, and what goes round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.engine import bare
from gmemsim.engine.answers import candidate
from gmemsim.engine.cell import Cell
from gmemsim.engine.engine import Engine
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.op import Op
from gmemsim.engine.strategy import FirstRunnable
from gmemsim.explore.findings.table import known
from gmemsim.explore.lock_graph import LockGraph
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.state import StateDigest
from gmemsim.explore.strategies import dfs
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.scenario import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gmemsim.engine.task import Task


def digests(body: Callable[[Task, Any], Coroutine[Any, Any, None]], shared: Any) -> list[bytes]:
    """The digests before every step of one task that works on `shared`."""
    engine = Engine(FirstRunnable())
    engine.roots.append(shared)
    engine.spawn("t", body, shared)
    digest = StateDigest()
    seen: list[bytes] = []
    engine.watch_steps(lambda task: seen.append(digest.of(engine)))
    bare.run(engine)
    return seen


async def walk(t: Task, items: Any) -> None:
    for _ in items:
        await t.point(Op("step", "here"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        # What a loop still has to walk is on the stack only.
        ([1, 2, 3], [1, 2, 3], True),
        ([1, 2, 3], [1, 2, 4], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({3, 1, 2}, {1, 2, 3}, True),
        ((1, "1"), (1, 1), False),
        ((True,), (1,), False),
    ],
)
def test_equal_values_are_equal_states(one: Any, other: Any, same: bool) -> None:
    async def waits(t: Task, items: Any) -> None:
        await t.point(Op("step", "here"))

    assert (digests(waits, one) == digests(waits, other)) is same


def test_position_in_a_loop_is_state() -> None:
    seen = digests(walk, ["x", "x", "x"])
    assert len(set(seen)) == len(seen) == 4


def test_left_side_of_a_comparison_is_state() -> None:
    async def compares(t: Task, cells: list[Cell[int]]) -> None:
        # The sum is on the evaluation stack and in no variable while the load waits.
        assert (cells[0].value + 1000) != await cells[1].load(t)
        cells[0].value = 0

    first = [Cell("x", 1), Cell("y", 0)]
    before = digests(compares, first)
    after = digests(compares, [Cell("x", 2), Cell("y", 0)])
    assert before[1] != after[1]


def test_identity_is_state_and_addresses_are_not() -> None:
    async def waits(t: Task, pair: list[list[int]]) -> None:
        await t.point(Op("step", "here"))

    shared: list[int] = []
    assert digests(waits, [shared, shared]) != digests(waits, [[], []])
    assert digests(waits, [[], []]) == digests(waits, [[], []])


def test_counters_of_locks_are_not_state() -> None:
    async def waits(t: Task, lock: Mutex) -> None:
        await t.point(Op("step", "here"))

    used, new = Mutex("m"), Mutex("m")
    used.cls.write.acquisitions = 7
    assert digests(waits, used) == digests(waits, new)
    used.owner = Engine(FirstRunnable()).spawn("other", walk, [])
    assert digests(waits, used) != digests(waits, new)
    used.owner.handle.close()


def test_attributes_can_be_left_out_by_their_class() -> None:
    class Mine:
        __digest_skip__ = ("count",)

        def __init__(self, count: int, value: int) -> None:
            self.count = count
            self.value = value

    async def waits(t: Task, mine: Mine) -> None:
        await t.point(Op("step", "here"))

    assert digests(waits, Mine(1, 1)) == digests(waits, Mine(2, 1))
    assert digests(waits, Mine(1, 1)) != digests(waits, Mine(1, 2))


def grid(tasks: int, traps: int) -> TaskProgram:
    """Tasks that have nothing to do with each other: states are the points of a grid."""

    async def body(t: Task) -> None:
        for _ in range(traps):
            await t.point(Op("step", t.name))

    def setup(engine: Engine) -> Callable[[], object]:
        for number in range(tasks):
            engine.spawn(f"t{number}", body)
        return str

    return TaskProgram("grid", setup)


@pytest.mark.parametrize(("tasks", "traps"), [(1, 3), (2, 1), (2, 3), (3, 1)])
def test_states_of_independent_tasks_are_a_grid(tasks: int, traps: int) -> None:
    strategy = Stateful()
    result = search(grid(tasks, traps), strategy)
    assert result.complete
    # A task is at its start, at one of its traps, or done; the state in which all are is the end, and not counted.
    assert strategy.states == (traps + 2) ** tasks - 1
    assert strategy.cycles == 0


def polling(engine: Engine) -> Callable[[], object]:
    cell = Cell("x", 0)

    async def polls(t: Task) -> None:
        while not await cell.load(t):
            pass

    async def sets(t: Task) -> None:
        await cell.store(t, 1)

    engine.spawn("polls", polls)
    engine.spawn("sets", sets)
    return lambda: cell.value


def test_loop_is_a_cycle_and_not_the_step_limit() -> None:
    strategy = Stateful()
    result = search(TaskProgram("polling", polling), strategy, Limits(steps=50), collect_outcomes=True)
    assert result.complete
    assert strategy.cycles
    assert not result.found
    assert result.outcomes.keys() == {"1"}


def test_limit_means_incomplete() -> None:
    result = search(grid(2, 3), Stateful(), Limits(schedules=3))
    assert not result.complete


def test_what_oracles_remember_is_state_unless_told_otherwise() -> None:
    program = ScenarioProgram(scenario=load_named("munmap"), patch="v3")
    counts = []
    for ledger in (True, False):
        strategy = Stateful(ledger=ledger)
        result = search(program, strategy, collect_outcomes=True)
        assert result.complete
        counts.append((strategy.states, frozenset(result.outcomes)))
    assert counts[0][1] == counts[1][1]
    assert counts[0][0] >= counts[1][0]


def test_what_is_known_leads_to_what_is_known_after_going_back() -> None:
    """A set of held locks that came and changed behind an object which stayed: the digest had lost it."""
    text = """
    [scenario]
    name = "unbind-prefault"
    summary = "a slot goes while a vCPU writes and pre-faults"
    vm_types = ["default"]
    [[vm]]
    [[file]]
    id = "gmem0"
    pages = 1
    [[slot]]
    file = "gmem0"
    gfn = 0x10000
    [[task]]
    role = "vcpu"
    ops = [{ op = "write", value = "new" }, { op = "prefault" }]
    [[task]]
    name = "host"
    ops = [{ op = "unbind", slot = 0 }]
    """
    program = ScenarioProgram(
        scenario=loads(text, "unbind-prefault"), patch="mainline-7.3", rules=frozenset()
    )
    found = search(program, Stateful(0), keep_going=True, observers=[LockGraph("unbind-prefault")])
    assert found.complete
    assert {finding and finding.ident for finding in (known(each.failure) for each in found.found)} == {
        "prefault-keeps-obsolete-root"
    }


TWO_QUEUE = """
[scenario]
name = "two_queue"
summary = "Two tasks that punch"
question = "Does it matter which is tried first?"
vm_types = ["sw-protected"]
[[file]]
id = "gmem0"
pages = 1
[[slot]]
file = "gmem0"
gfn = 0x10000
[setup]
ops = [{ op = "allocate", count = 1 }]
[[task]]
name = "p"
instances = 2
ops = [{ op = "punch", count = 1 }, { op = "allocate", count = 1 }]
"""


def test_states_do_not_depend_on_what_is_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who came before in a queue that is empty by now, and how many did, makes no other state."""
    program = ScenarioProgram(scenario=loads(TWO_QUEUE, "two_queue.toml"), patch="v3")
    found = []
    for backwards in (False, True):
        if backwards:

            def last_first(runnable: list[Task], current: Task | None, answer: int) -> Task:
                return candidate(runnable, current, len(runnable) - 1 - answer)

            monkeypatch.setattr(dfs, "candidate", last_first)
        strategy = Stateful()
        search(program, strategy, Limits(schedules=None))
        found.append(set(strategy.graph.digests()))
    assert found[0] == found[1]
