"""Readers and writers of one lock, some of them interrupted: the program in which locks themselves are searched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ..engine.cell import Cell
from ..engine.locks.stats import LockClass
from ..explore.judges.waiting import BoundedWaiting
from ..explore.program import TaskProgram
from ..oracles.promises import watch_promises

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..audit.recorder import Rec
    from ..engine.engine import Engine
    from ..engine.strategy import Strategy
    from ..engine.task import Task
    from ..explore.program import TaskRun


@attrs.frozen
class _Lab(TaskProgram):
    def build(self, strategy: Strategy, *, rec: Rec | None = None, max_steps: int = 20_000) -> TaskRun:
        run = super().build(strategy, rec=rec, max_steps=max_steps)
        BoundedWaiting().attach(run)
        return run


def lock_lab(policy: Any) -> TaskProgram:
    """Two readers, two writers and a killable waiter of each kind share a lock of class `policy`; one task signals.

    Every section asserts that nobody is inside who must not be. A waiter that a signal ended counts as done.
    A lock that promises how often a waiter may be passed over is held to it, and an rw-semaphore to its promises.
    """

    def setup(engine: Engine) -> Callable[[], object]:
        lock = policy("lab.lock", LockClass("lab"))
        watch_promises(engine, lock)
        inside = {"readers": 0, "writers": 0}
        word: Cell[int] = Cell("lab.word", 0)
        done: list[str] = []

        async def reader(t: Task, killable: bool) -> None:
            if killable:
                if await lock.down_read_killable(t):
                    done.append(f"{t.name} interrupted")
                    return
            else:
                await lock.down_read(t)
            inside["readers"] += 1
            assert not inside["writers"], "a reader beside a writer"
            await word.load(t)
            inside["readers"] -= 1
            await lock.up_read(t)
            done.append(t.name)

        async def writer(t: Task, killable: bool) -> None:
            if killable:
                if await lock.down_write_killable(t):
                    done.append(f"{t.name} interrupted")
                    return
            else:
                await lock.down_write(t)
            inside["writers"] += 1
            assert inside["writers"] == 1, "two writers"
            assert not inside["readers"], "a writer beside a reader"
            await word.rmw(t, lambda value: value + 1)
            inside["writers"] -= 1
            await lock.up_write(t)
            done.append(t.name)

        async def signaller(t: Task) -> None:
            for target in victims:
                await word.load(t)
                t.engine.signal(target)

        engine.spawn("reader0", reader, False)
        engine.spawn("writer0", writer, False)
        engine.spawn("reader1", reader, False)
        victims = [
            engine.spawn("killable-writer", writer, True),
            engine.spawn("killable-reader", reader, True),
        ]
        engine.spawn("reader2", reader, False)
        engine.spawn("writer1", writer, False)
        engine.spawn("signals", signaller)
        return lambda: (word.value, sorted(done))

    return _Lab(f"readers and writers on {policy.__name__}", setup)
