"""An engine step against the bare thing: a ring of coroutines, and a park/reschedule hop of Trio.

python bench/engine_step.py
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from types import coroutine

import trio
import trio.testing
from harness import measure, rows

from gmemsim.engine import bare, trio_runtime
from gmemsim.engine.engine import Engine
from gmemsim.engine.op import Op
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.engine.task import Task

TASKS = 8
STEPS = 4000
STEP = Op("step", "x")


@coroutine
def _switch() -> Generator[None, None, None]:
    yield


async def _ring_body(steps: int) -> None:
    for _ in range(steps):
        await _switch()


def ring() -> int:
    """Reference: coroutines in a deque, one send each in turn."""
    waiting = deque(_ring_body(STEPS) for _ in range(TASKS))
    while waiting:
        coro = waiting.popleft()
        try:
            coro.send(None)
        except StopIteration:
            continue
        waiting.append(coro)
    return TASKS * STEPS


async def _spender(t: Task, steps: int) -> None:
    for _ in range(steps):
        await t.spend(10)


async def _pointer(t: Task, steps: int) -> None:
    for _ in range(steps):
        if t.traps:
            await t.point(STEP)


def timed() -> int:
    """A timed run in which every step switches: all tasks spend the same."""
    engine = Engine()
    for number in range(TASKS):
        engine.spawn(f"t{number}", _spender, STEPS)
    bare.run(engine)
    return TASKS * STEPS


def exploring() -> int:
    """A random choice among eight tasks at every step, recorded on the tape."""
    engine = Engine(RandomStrategy(1))
    for number in range(TASKS):
        engine.spawn(f"t{number}", _pointer, STEPS)
    bare.run(engine)
    return TASKS * STEPS


def trio_hop() -> int:
    """Reference: two Trio tasks that wake each other and park."""
    hops = STEPS

    async def main() -> None:
        parked: dict[int, trio.lowlevel.Task] = {}

        async def side(number: int) -> None:
            if number:
                parked[number] = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)
            for _ in range(hops // 2):
                other = parked.pop(1 - number, None)
                parked[number] = trio.lowlevel.current_task()
                if other is not None:
                    trio.lowlevel.reschedule(other)
                await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(side, 1)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(side, 0)

    trio.run(main)
    return hops


def trio_engine() -> int:
    """Two engine tasks on Trio that switch at every step."""
    steps = STEPS // 2
    engine = Engine()
    for number in range(2):
        engine.spawn(f"t{number}", _spender, steps)
    trio.run(trio_runtime.run, engine)
    return 2 * steps


def main() -> list[str]:
    """The two tables."""
    on_bare = measure(
        {"coroutine ring": ring, "engine, timed": timed, "engine, exploring at random": exploring}, 7
    )
    goals = {"engine, timed": "≤ 2", "engine, exploring at random": "≤ 5"}
    lines = rows("a step on the bare runtime", on_bare, "coroutine ring", goals)
    on_trio = measure({"raw park/reschedule hop": trio_hop, "engine on Trio": trio_engine}, 7)
    return [
        *lines,
        "",
        *rows("a step on Trio", on_trio, "raw park/reschedule hop", {"engine on Trio": "≤ 1.3"}),
    ]


if __name__ == "__main__":
    print("\n".join(main()))
