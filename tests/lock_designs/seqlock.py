"""A sequence lock: writers exclude each other, readers take nothing and read again if a writer was about.

It is no read/write lock, so it has a program of its own in place of the lock lab.

Source: Linux, include/linux/seqlock.h (`write_seqlock`, `read_seqbegin`, `read_seqretry`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmemsim.engine.cell import Cell
from gmemsim.explore.program import TaskProgram

from .ticket import TicketLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task

__all__ = ["SeqCount", "SeqLock", "seqlock_lab"]


class SeqCount:
    """`seqcount_t`: odd while a writer is inside; a reader compares before and after."""

    __slots__ = ("_cell",)

    def __init__(self, label: str) -> None:
        self._cell: Cell[int] = Cell(label, 0)

    @property
    def value(self) -> int:
        return self._cell.value

    async def begin(self, t: Task) -> int:
        """`read_seqcount_begin`, without the wait: the caller checks for odd and retries."""
        return await self._cell.load(t)

    async def retry(self, t: Task, start: int) -> bool:
        """`read_seqcount_retry`: whether a writer was inside since `start`, or is now."""
        return bool(start & 1) or await self._cell.load(t) != start

    async def write_begin(self, t: Task) -> None:
        await self._cell.rmw(t, lambda value: value + 1)

    async def write_end(self, t: Task) -> None:
        await self._cell.rmw(t, lambda value: value + 1)


class SeqLock:
    """A spinlock for writers and a count that is odd while one is inside."""

    def __init__(self, label: str) -> None:
        self._lock = TicketLock(label)
        self._count = SeqCount(f"{label}.seq")

    async def write_lock(self, t: Task) -> None:
        """`write_seqlock`."""
        await self._lock.down_write(t)
        await self._count.write_begin(t)

    async def write_unlock(self, t: Task) -> None:
        """`write_sequnlock`."""
        await self._count.write_end(t)
        await self._lock.up_write(t)

    async def begin(self, t: Task) -> int:
        """`read_seqbegin`: waits for an even count, in a loop."""
        while (start := await self._count.begin(t)) & 1:
            pass
        return start

    async def retry(self, t: Task, start: int) -> bool:
        """`read_seqretry`."""
        return await self._count.retry(t, start)


def seqlock_lab(lock_type: type[SeqLock]) -> TaskProgram:
    """Two writers change two words together, twice each; three readers want both of one writer."""

    def setup(engine: Engine) -> Callable[[], object]:
        lock = lock_type("lab.lock")
        words = [Cell("lab.word0", 0), Cell("lab.word1", 0)]
        seen: list[int] = []

        async def writer(t: Task, value: int) -> None:
            for number in (value, value + 1):
                await lock.write_lock(t)
                for word in words:
                    await word.store(t, number)
                await lock.write_unlock(t)

        async def reader(t: Task) -> None:
            while True:
                start = await lock.begin(t)
                values = [await word.load(t) for word in words]
                if not await lock.retry(t, start):
                    break
            assert values[0] == values[1], "half of one writer, half of another"
            seen.append(values[0])

        for number in range(3):
            engine.spawn(f"reader{number}", reader)
        for number in (10, 20):
            engine.spawn(f"writer{number}", writer, number)
        return lambda: [word.value for word in words]

    return TaskProgram(f"readers and writers of {lock_type.__name__}", setup)
