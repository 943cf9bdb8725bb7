"""The mutex under several overtaken waiters: nobody parks for ever while the lock is free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.strategy import RandomStrategy

if TYPE_CHECKING:
    from gmemsim.engine.task import Task


def test_overtaken_waiters_all_get_the_lock() -> None:
    """Four tasks, three rounds each: every schedule ends, and the lock excludes."""
    for seed in range(400):
        mutex = Mutex("mutex")
        inside: list[str] = []

        async def body(t: Task, mutex: Mutex = mutex, inside: list[str] = inside) -> None:
            for _ in range(3):
                await mutex.lock(t)
                inside.append(t.name)
                assert inside == [t.name]
                await t.sleep(0)
                inside.remove(t.name)
                await mutex.unlock(t)

        engine = Engine(RandomStrategy(seed))
        for number in range(4):
            engine.spawn(f"t{number}", body)
        bare.run(engine)
        assert mutex.cls.write.acquisitions == 12
