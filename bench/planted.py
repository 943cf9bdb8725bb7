"""Planted bugs of known depth: what the strategies are compared on.

The depth of a bug is the least number of pairs of steps whose order must be right (Burckhardt et al., ASPLOS 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from gmemsim.engine.engine import Engine
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.op import Op
from gmemsim.engine.task import Task
from gmemsim.explore.program import TaskProgram

__all__ = ["PLANTED", "Planted", "abba", "chain", "hand_over"]

STAGE: Final = Op("rmw", "stage")


class Planted(Exception):
    """The planted bug."""


def chain(depth: int, others: int, before: int) -> TaskProgram:
    """Two tasks whose `depth` + 1 marked steps must alternate; `others` more tasks do nothing of interest.

    The marked steps of a task follow each other without a gap, so each change of task has to hit one moment.

    Args:
        before: steps of each task in front of its marked ones; a task of no interest takes `before` steps.
    """

    def setup(engine: Engine) -> Callable[[], object]:
        stage = 0

        async def noise(t: Task) -> None:
            op = Op("rmw", f"{t.name}.own")
            for _ in range(before):
                await t.point(op)

        async def marked(t: Task, first: int) -> None:
            nonlocal stage
            await noise(t)
            for number in range(first, depth + 1, 2):
                await t.point(STAGE)
                if stage == number:
                    stage += 1
                if stage > depth:
                    raise Planted

        engine.spawn("a", marked, 0)
        engine.spawn("b", marked, 1)
        for number in range(others):
            engine.spawn(f"other{number}", noise)
        return lambda: stage

    return TaskProgram(f"chain, {others + 2} tasks", setup)


class _Gate:
    """Opened once; who comes earlier waits."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.opened = False
        self.waiting: list[Task] = []

    def holders(self) -> Iterable[str]:
        return ()

    async def wait(self, t: Task) -> None:
        op = Op("wait", self.label)
        await t.point(op)
        if not self.opened:
            self.waiting.append(t)
            await t.park(self, op)

    async def open(self, t: Task) -> None:
        await t.point(Op("wake", self.label))
        self.opened = True
        for task in self.waiting:
            t.engine.wake(task)


def hand_over(tasks: int) -> TaskProgram:
    """The bound of depth 1 is met exactly: a step comes too early unless its task is the last of all.

    Every other task waits for the one before it, so a single one of them that is less urgent than the hasty task hides
    the bug, although only one pair of steps is in the wrong order.
    """

    def setup(engine: Engine) -> Callable[[], object]:
        ready = False
        gates = [_Gate(f"gate{number}") for number in range(tasks)]
        gates[0].opened = True

        async def hasty(t: Task) -> None:
            nonlocal ready
            await t.point(STAGE)
            if ready:
                raise Planted

        async def link(t: Task, number: int) -> None:
            nonlocal ready
            await gates[number].wait(t)
            if number == tasks - 2:
                await t.point(STAGE)
                ready = True
            await gates[number + 1].open(t)

        engine.spawn("hasty", hasty)
        for number in range(tasks - 1):
            engine.spawn(f"link{number}", link, number)
        return lambda: ready

    return TaskProgram(f"hand-over, {tasks} tasks", setup)


def abba(pairs: int) -> TaskProgram:
    """Two tasks take two locks in opposite order, after `pairs` harmless critical sections each."""

    def setup(engine: Engine) -> Callable[[], object]:
        one, two, own = Mutex("one"), Mutex("two"), Mutex("own")

        async def body(t: Task, first: Mutex, second: Mutex) -> None:
            for _ in range(pairs):
                await own.lock(t)
                await own.unlock(t)
            await first.lock(t)
            await second.lock(t)
            await second.unlock(t)
            await first.unlock(t)

        engine.spawn("a", body, one, two)
        engine.spawn("b", body, two, one)
        return str

    return TaskProgram("ABBA deadlock, 2 tasks", setup)


#: The bugs with their depths.
PLANTED: Final = (
    (1, hand_over(4)),
    (1, chain(1, 2, 3)),
    (2, abba(2)),
    (2, chain(2, 0, 4)),
    (2, chain(2, 2, 3)),
    (3, chain(3, 0, 3)),
    (3, chain(3, 1, 2)),
    (4, chain(4, 0, 2)),
    (4, chain(4, 1, 1)),
)
