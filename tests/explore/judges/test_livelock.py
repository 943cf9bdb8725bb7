"""A livelock survives fair schedules; a spinning task that is never let off is no failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from gmemsim.engine.answers import candidate
from gmemsim.engine.cell import Cell
from gmemsim.engine.strategy import FirstRunnable, RandomStrategy
from gmemsim.explore.judges.livelock import carry_on, judge
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Limits, SearchResult, search
from gmemsim.scenarios.scenario import loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task


class Dull(FirstRunnable):
    """Every task goes on until it blocks: as unfair as can be."""

    name: ClassVar[str] = "dull"
    summary: ClassVar[str] = ""
    complete = False
    bound = ""


class AtRandom(RandomStrategy):
    """Uniform."""

    name: ClassVar[str] = "at random"
    summary: ClassVar[str] = ""
    complete = False
    bound = ""


def spinning(engine: Engine) -> Callable[[], object]:
    """The first task spins until the second has set the flag."""
    flag = Cell("flag", 0)

    async def spin(t: Task) -> None:
        while not await flag.load(t):
            pass

    async def put(t: Task) -> None:
        await flag.store(t, 1)

    engine.spawn("spin", spin)
    engine.spawn("put", put)
    return str


def polite(engine: Engine) -> Callable[[], object]:
    """Two tasks that wait for each other's flag before they set their own."""
    one, two = Cell("one", 0), Cell("two", 0)

    async def body(t: Task, mine: Cell[int], other: Cell[int]) -> None:
        while not await other.load(t):
            pass
        await mine.store(t, 1)

    engine.spawn("a", body, one, two)
    engine.spawn("b", body, two, one)
    return str


def long(engine: Engine) -> Callable[[], object]:
    """Ten thousand calls."""
    cell = Cell("x", 0)

    async def body(t: Task) -> None:
        for call in range(10_000):
            t.call = call
            await cell.load(t)

    engine.spawn("a", body)
    engine.spawn("b", body)
    return str


def lockstep(engine: Engine) -> Callable[[], object]:
    """Peterson's first attempt: raise the flag, look at the other's, lower it again; turns of one never end."""
    flags = (Cell("flag0", 0), Cell("flag1", 0))

    async def body(t: Task, me: int) -> None:
        while True:
            await flags[me].store(t, 1)
            if not await flags[1 - me].load(t):
                break
            await flags[me].store(t, 0)
        await flags[me].store(t, 0)

    engine.spawn("a", body, 0)
    engine.spawn("b", body, 1)
    return str


def one_run(setup: Callable[[Engine], Callable[[], object]], steps: int = 500) -> SearchResult:
    return search(TaskProgram("x", setup), Dull(), Limits(schedules=1, steps=steps), judge=judge)


def test_unfair_schedule_is_no_failure() -> None:
    plain = search(TaskProgram("x", spinning), Dull(), Limits(schedules=1, steps=500))
    assert [found.failure.rule for found in plain.found] == ["step_limit"]
    result = one_run(spinning)
    assert not result.found
    assert result.dismissed == 1
    assert not result.complete


def test_livelock_is_one() -> None:
    result = one_run(polite)
    (found,) = result.found
    assert found.failure.rule == "livelock"
    assert found.failure.kind == "one two"
    live = found.failure.details["liveness"]
    assert {(task, op) for task, op, _ in live.loop} == {("a", "load two"), ("b", "load one")}


def test_limit_that_is_too_low_stays_what_it_is() -> None:
    (found,) = one_run(long).found
    assert found.failure.rule == "step_limit"


def test_lockstep_alone_is_no_livelock() -> None:
    """Turns of one step miss each other for ever; turns of another length do not."""
    program = TaskProgram("x", lockstep)

    class Alternate(Dull):
        """Strictly in turns."""

        def pick(self, runnable: list[Task], current: Task | None) -> Task:
            return candidate(runnable, current, 1 if current is not None else 0)

    (found,) = search(program, Alternate(), Limits(schedules=1, steps=500)).found
    assert found.failure.rule == "step_limit"
    live = carry_on(program, found.tape, found.steps)
    assert live.verdict == "unfair"
    assert live.turn > 1


PREFAULT_DELETE = """
[scenario]
name = "prefault-delete"
summary = "a pre-fault of a slot that is being deleted"
question = "does it end?"

[[vm]]
id = "vm0"

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
gfn = 0x1000

[[task]]
role = "vcpu"
ops = [{ op = "prefault" }]

[[task]]
name = "delete"
ops = [{ op = "unbind", slot = 0 }]
"""


@pytest.mark.parametrize(("patch", "release", "rule"), [("baseline", "6.12", "livelock"), ("v3", None, "")])
def test_prefault_of_a_slot_that_goes(patch: str, release: str | None, rule: str) -> None:
    """Before 6.18 it retries inside the SRCU section that the deletion waits for."""
    what = ScenarioProgram(
        scenario=loads(PREFAULT_DELETE), patch=patch, release=release, arch="sw-protected", rules=frozenset()
    )
    rules = set()
    for seed in range(40):
        result = search(what, AtRandom(seed), Limits(schedules=1, steps=2_000), judge=judge)
        rules |= {found.failure.rule for found in result.found}
    assert rules == ({rule} if rule else set())
