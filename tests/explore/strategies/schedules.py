"""Programs of a few steps, and the schedules that a strategy runs of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmemsim.engine.answers import answer_of
from gmemsim.engine.cell import Cell
from gmemsim.engine.errors import EngineError
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.op import Op
from gmemsim.explore.program import TaskProgram

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task
    from gmemsim.explore.strategies.base import SearchStrategy

__all__ = ["PROGRAMS", "Schedule", "blocking", "faulty", "preemptions", "retrying", "schedules", "steps"]

#: Who took each step and what was drawn, with the answers to "who goes next" left out: they follow.
Schedule = tuple[str, ...]


def steps(tasks: int, number: int) -> TaskProgram:
    """Tasks that take `number` steps on one object."""

    async def body(t: Task) -> None:
        for _ in range(number):
            await t.point(Op("rmw", "x"))

    def setup(engine: Engine) -> Callable[[], object]:
        for task in range(tasks):
            engine.spawn(f"t{task}", body)
        return str

    return TaskProgram(f"{tasks} x {number} steps", setup)


def _blocking(engine: Engine) -> Callable[[], object]:
    lock, cell = Mutex("lock"), Cell("x", 0)

    async def body(t: Task) -> None:
        await lock.lock(t)
        await cell.rmw(t, lambda value: value + 1)
        await lock.unlock(t)

    for name in ("a", "b", "c"):
        engine.spawn(name, body)
    return lambda: cell.value


def _faulty(engine: Engine) -> Callable[[], object]:
    cell = Cell("x", "-")
    failed: list[str] = []

    async def body(t: Task) -> None:
        await cell.load(t)
        if t.fault("enomem"):
            failed.append(t.name)
            return
        await t.sleep(5)
        await cell.store(t, t.name)

    for name in ("a", "b"):
        engine.spawn(name, body)
    return lambda: (cell.value, failed)


def _retrying(engine: Engine) -> Callable[[], object]:
    busy = Cell("busy", 0)

    async def invalidate(t: Task) -> None:
        await busy.store(t, 1)
        await t.point(Op("rmw", "tlb"))
        await busy.store(t, 0)

    async def fault(t: Task) -> None:
        while await busy.load(t):
            pass

    engine.spawn("invalidate", invalidate)
    engine.spawn("fault", fault)
    engine.spawn("fault2", fault)
    return lambda: busy.value


blocking = TaskProgram("mutex", _blocking)
faulty = TaskProgram("faults and timers", _faulty, {"enomem": 1})
#: Has schedules without end.
retrying = TaskProgram("retry loop", _retrying)

PROGRAMS = (steps(2, 2), steps(2, 3), steps(3, 2), blocking, faulty)


def schedules(
    program: TaskProgram, strategy: SearchStrategy, most: int = 10_000
) -> list[tuple[Schedule, int, int]]:
    """Every run: its schedule, its preemptions and its delays, in the order of the runs.

    Counted from outside, by looking at the tasks before each choice.
    """
    found: list[tuple[Schedule, int, int]] = []
    while len(found) < most:
        run = program.build(strategy, max_steps=2_000)
        if not strategy.begin(run.engine):
            break
        order: list[str] = []
        run.engine.watch_steps(lambda task, order=order: order.append(task.name))  # type: ignore[misc]
        costs = _count(run.engine, strategy)
        try:
            run.run()
        except EngineError as error:
            order.append(type(error).__name__)
        order.extend(
            f"{task} {label} {value}" for task, _, label, value, _ in run.engine.tape.raw if label != "sched"
        )
        found.append((tuple(order), *costs()))
    return found


class _Counting:
    """Passes every question on and counts."""

    def __init__(self, strategy: SearchStrategy) -> None:
        self.strategy = strategy
        self.preemptions = 0
        self.delays = 0

    def begin(self, engine: Engine) -> bool:
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        task = self.strategy.pick(runnable, current)
        answer = answer_of(runnable, current, task)
        self.delays += answer
        self.preemptions += preempts(current, answer)
        return task

    def draw(self, task: Task, label: str, bound: int) -> int:
        return self.strategy.draw(task, label, bound)


def preempts(current: Task | None, answer: int) -> bool:
    """Whether the answer takes the turn from a task that could have gone on and does not wait for a timer."""
    return answer > 0 and current is not None and current.pending.kind != "sleep"


def preemptions(found: list[tuple[Schedule, int, int]]) -> list[int]:
    """How many each run had."""
    return [number for _, number, _ in found]


def _count(engine: Engine, strategy: SearchStrategy) -> Callable[[], tuple[int, int]]:
    counting = _Counting(strategy)
    engine.strategy = counting
    return lambda: (counting.preemptions, counting.delays)
