"""Failures to report: small workloads on versions and mutants that show them, and where a search finds each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
from tests.explore.mutants import NoRecheck, ZapsNothing

from gmemsim.engine.cell import Cell
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Found, Limits, search
from gmemsim.scenarios.scenario import loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task
    from gmemsim.explore.runs import Program

__all__ = ["CASES", "Case", "Random", "find"]

_HEAD = """
[scenario]
name = "{name}"
summary = "For tests of the failure report"
question = "What does the report say?"

[[vm]]
id = "vm0"

[[file]]
id = "gmem0"
pages = {pages}

[[slot]]
file = "gmem0"
gfn = 0x100
"""

_ABBA = """
[setup]
ops = [{ op = "allocate" }]

[[task]]
name = "mce"
ops = [{ op = "memory_failure" }]

[[task]]
name = "punch"
ops = [{ op = "punch" }]
"""

_RECHECK = """
[[task]]
role = "vcpu"
ops = [{ op = "prefault", count = 1 }]

[[task]]
name = "punch"
ops = [{ op = "punch", start = 1, count = 1 }]
"""

_ALONE = """
[[task]]
role = "vcpu"
ops = [{ op = "prefault" }]

[[task]]
name = "punch"
ops = [{ op = "allocate" }, { op = "punch" }]
"""

_UNMET = """
[[task]]
name = "closer"
ops = [{ op = "close", file = "gmem0" }]

[[task]]
name = "deleter"
ops = [{ op = "unbind", slot = 0 }]

[[task]]
role = "vcpu"
ops = [{ op = "prefault", count = 1, expect = "ok" }]
"""

_LIVELOCK = """
[[task]]
role = "vcpu"
ops = [{ op = "prefault", count = 1 }]

[[task]]
name = "deleter"
ops = [{ op = "unbind", slot = 0 }]
"""

_CROWD = """
[setup]
ops = [{ op = "allocate" }]

[[task]]
name = "mce"
ops = [{ op = "memory_failure", start = 0, count = 1 }]

[[task]]
name = "punch"
ops = [{ op = "punch" }]

[[task]]
name = "allocate"
instances = 2
ops = [{ op = "allocate", slice = true }]
"""


class Random(RandomStrategy):
    """Random schedules as a search strategy."""

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "random"
    complete: ClassVar[bool] = False
    bound: ClassVar[str] = ""


@attrs.frozen
class Case:
    """One failure; `seed` begins a random search that finds it within `schedules` runs."""

    name: str
    rule: str
    make: Callable[[], Program]
    seed: int = 0
    schedules: int = 2_000
    steps: int = 20_000


def _scenario(name: str, text: str, pages: int = 1, **rest: object) -> Callable[[], Program]:
    toml = _HEAD.format(name=name, pages=pages) + text
    return lambda: ScenarioProgram(scenario=loads(toml, f"{name}.toml"), **rest)  # type: ignore[arg-type] # as named


def _torn(engine: Engine) -> Callable[[], object]:
    """Two tasks add 1 as load and store; one of them insists on the sum."""
    cell: Cell[int] = Cell("counter", 0)
    lock = Mutex("guard")

    async def add(t: Task, guarded: bool) -> None:
        t.call = 1
        if guarded:
            await lock.lock(t)
        value = await cell.load(t)
        await cell.store(t, value + 1)
        if guarded:
            await lock.unlock(t)
            t.call = 2
            total = await cell.load(t)
            if total == 1 and other.done:
                raise ValueError("one addition is lost")

    engine.spawn("careful", add, True)
    other = engine.spawn("careless", add, False)
    return lambda: cell.value


def _behind(engine: Engine) -> Callable[[], object]:
    """A reader holds two semaphores shared; a writer queues for each, and behind it a second reader of the other."""
    first, second = RwSem("first"), RwSem("second")

    async def nested(t: Task, one: RwSem, other: RwSem) -> None:
        t.call = 1
        await one.down_read(t)
        await other.down_read(t)
        await other.up_read(t)
        await one.up_read(t)

    async def write(t: Task, lock: RwSem) -> None:
        t.call = 1
        await lock.down_write(t)
        await lock.up_write(t)

    engine.spawn("reader0", nested, first, second)
    engine.spawn("reader1", nested, second, first)
    engine.spawn("writer0", write, first)
    engine.spawn("writer1", write, second)
    return lambda: ""


def _kept(engine: Engine) -> Callable[[], object]:
    """A task ends with a mutex in its hands."""
    lock = Mutex("kept")

    async def take(t: Task, back: bool) -> None:
        t.call = 1
        await lock.lock(t)
        if back:
            await lock.unlock(t)

    engine.spawn("keeper", take, False)
    engine.spawn("heir", take, True)
    return lambda: ""


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("abba", "deadlock", _scenario("abba", _ABBA)),
        Case("recheck", "I18", _scenario("recheck", _RECHECK, 2, patch=NoRecheck)),
        Case("alone", "I19", _scenario("alone", _ALONE, patch=ZapsNothing)),
        Case("unmet", "unexpected_outcome", _scenario("unmet", _UNMET)),
        Case(
            "livelock",
            "step_limit",
            _scenario("livelock", _LIVELOCK, patch="baseline", release="6.12", arch="sw-protected"),
            steps=800,
        ),
        Case("crowd", "deadlock", _scenario("crowd", _CROWD, 2)),
        Case("behind", "deadlock", lambda: TaskProgram("behind", _behind)),
        Case("kept", "deadlock", lambda: TaskProgram("kept", _kept)),
        Case("torn", "crash", lambda: TaskProgram("torn", _torn)),
    )
}


def find(case: Case) -> tuple[Program, Found]:
    """The program, and the first failing run of the wanted rule."""
    program = case.make()
    limits = Limits(schedules=case.schedules, steps=case.steps)
    result = search(program, Random(case.seed), limits)
    (found,) = result.found
    assert found.failure.rule == case.rule, found.failure
    return program, found
