"""The program that designs are searched in: the lock lab's crowd, with data that only the lock keeps whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gmemsim.engine.cell import Cell
from gmemsim.engine.locks.stats import LockClass
from gmemsim.explore.judges.races import Claim
from gmemsim.explore.program import TaskProgram
from gmemsim.oracles.promises import watch_promises

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task

__all__ = ["CLAIM", "DATA", "design_lab"]

#: Both words are read with the lock held in either mode and written with it held exclusively.
DATA: Final = ("lab.data", "lab.again")
CLAIM: Final = Claim("data", "lock", "r", "w", "the lab of lock designs")


class _Lab:
    """One run's lock, data and tasks."""

    def __init__(self, engine: Engine, lock: Any) -> None:
        self.lock = lock
        self.words = [Cell(name, 0) for name in DATA]
        self._turn: Cell[int] = Cell("lab.turn", 0)
        self._inside = {"readers": 0, "writers": 0}
        self._added = 0
        self._left = 0
        self._spawn(engine, "reader0", self.reader)
        self._spawn(engine, "writer0", self.writer)
        self._spawn(engine, "reader1", self.reader)
        self._victims = [
            self._spawn(engine, "killable-writer", self.writer, True),
            self._spawn(engine, "killable-reader", self.reader, True),
        ]
        self._spawn(engine, "reader2", self.reader)
        self._spawn(engine, "writer1", self.writer, False, hasattr(lock, "downgrade_write"))
        self._spawn(engine, "signals", self.signaller)

    def _spawn(self, engine: Engine, name: str, body: Callable[..., Any], *args: Any) -> Task:
        self._left += 1
        return engine.spawn(name, self.then, body, *args)

    async def then(self, t: Task, body: Callable[..., Any], *args: Any) -> None:
        """Run `body`; the last task takes the lock once more, so that what somebody left behind shows."""
        await body(t, *args)
        self._left -= 1
        if not self._left:
            await self.lock.down_write(t)
            values = {await word.load(t) for word in self.words}
            assert values == {self._added}, "an addition is lost"
            await self.lock.up_write(t)

    async def look(self, t: Task) -> None:
        """What a reader does inside."""
        self._inside["readers"] += 1
        assert not self._inside["writers"], "a reader beside a writer"
        one, two = [await word.load(t) for word in self.words]
        assert one == two, "half of what a writer did"
        self._inside["readers"] -= 1

    async def reader(self, t: Task, killable: bool = False) -> None:
        """Take the lock shared, look, and leave."""
        if killable:
            if await self.lock.down_read_killable(t):
                return
        else:
            await self.lock.down_read(t)
        await self.look(t)
        await self.lock.up_read(t)

    async def writer(self, t: Task, killable: bool = False, stays: bool = False) -> None:
        """Take the lock exclusively and add; one that `stays` becomes a reader before it leaves."""
        if killable:
            if await self.lock.down_write_killable(t):
                return
        else:
            await self.lock.down_write(t)
        self._inside["writers"] += 1
        assert self._inside["writers"] == 1, "two writers"
        assert not self._inside["readers"], "a writer beside a reader"
        for word in self.words:
            await word.store(t, 1 + await word.load(t))
        self._added += 1
        self._inside["writers"] -= 1
        if stays:
            await self.lock.downgrade_write(t)
            await self.look(t)
            await self.lock.up_read(t)
        else:
            await self.lock.up_write(t)

    async def signaller(self, t: Task) -> None:
        """Signal both killable tasks, not too soon: they had better wait already."""
        for target in self._victims:
            for _ in range(3):
                await self._turn.load(t)
            t.engine.signal(target)


def design_lab(lock_type: Any) -> TaskProgram:
    """Three readers, two writers and a killable waiter of each kind share a lock; one task signals the two.

    A writer adds one to each of two words, by a load and a store; a reader finds them equal. Nobody is inside who must
    not be, and at the end no addition is lost. Where the lock can be downgraded, a writer reads on before it leaves. An
    rw-semaphore is held to its promises at every step.
    """

    def setup(engine: Engine) -> Callable[[], object]:
        lock = lock_type("lab.lock", LockClass("lab"))
        lab = _Lab(engine, lock)
        watch_promises(engine, lock)
        return lambda: [word.value for word in lab.words]

    return TaskProgram(f"readers and writers of {lock_type.__name__}", setup)
