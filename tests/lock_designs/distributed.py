"""Locks whose readers stay out of each other's way: each counts itself somewhere of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gmemsim.engine.locks.rwsem import RwSem

from .base import Design, Semaphore, Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gmemsim.engine.task import Task

__all__ = ["BigReader", "Bravo", "NeutralIndicators", "WriterFirstIndicators"]


def _other_than(number: int) -> Callable[[int], bool]:
    return lambda value: value != number


#: CPUs or nodes that the tasks are spread over.
_NODES: Final = 3


class BigReader(Design):
    """A lock per CPU: a reader takes its own, a writer all of them in order.

    Source: Linux, brlock, later lglock (`br_write_lock` takes all in the order of CPUs), now removed; Hsieh and Weihl,
    "Scalable reader-writer locks for parallel systems", IPPS 1992. A writer that gives up gives back what it has.
    """

    def _setup(self) -> None:
        self._locks = [Semaphore(self, f"cpu{i}") for i in range(_NODES)]

    def _order(self, t: Task) -> Iterable[int]:
        return range(_NODES)

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        return await self._locks[t.ident % _NODES].down(t, killable)

    async def _read_unlock(self, t: Task) -> None:
        await self._locks[t.ident % _NODES].up(t)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        taken: list[int] = []
        for i in self._order(t):
            if not await self._locks[i].down(t, killable):
                for other in taken:
                    await self._locks[other].up(t)
                return False
            taken.append(i)
        return True

    async def _write_unlock(self, t: Task) -> None:
        for i in range(_NODES):
            await self._locks[i].up(t)


class NeutralIndicators(Design):
    """A mutex that everybody takes to come in; readers leave it at once, and are counted by node as they come and go.

    Source: C-RW-NP of Calciu, Dice, Lev, Luchangco, Marathe and Shavit, "NUMA-aware reader-writer locks", PPoPP 2013,
    with ingress and egress counters as reader indicator. The cohort lock inside is a plain one here (see `cohort`).
    """

    def _setup(self) -> None:
        self._mutex = Semaphore(self, "mutex")
        self._came = [Watched(self, f"ingress{i}", 0) for i in range(_NODES)]
        self._left = [Watched(self, f"egress{i}", 0) for i in range(_NODES)]

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        if not await self._mutex.down(t, killable):
            return False
        await self._arrive(t)
        await self._mutex.up(t)
        return True

    async def _arrive(self, t: Task) -> None:
        await self._came[t.ident % _NODES].rmw(t, lambda v: v + 1)

    async def _read_unlock(self, t: Task) -> None:
        await self._left[t.ident % _NODES].rmw(t, lambda v: v + 1)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        if not await self._mutex.down(t, killable):
            return False
        if await self._readers_gone(t, killable):
            return True
        await self._mutex.up(t)
        return False

    async def _readers_gone(self, t: Task, killable: bool) -> bool:
        """Departures are read before arrivals: if these are no more, nobody was inside in between."""
        for came, left in zip(self._came, self._left, strict=True):
            while (gone := await left.load(t)) != await came.load(t):
                if not await left.until(t, _other_than(gone), killable):
                    return False
        return True

    async def _write_unlock(self, t: Task) -> None:
        await self._mutex.up(t)


class WriterFirstIndicators(NeutralIndicators):
    """Readers count themselves, look whether a writer is about, and step back if one is.

    Source: C-RW-WP of the same paper, without its patience of readers. Who steps back has departed, so departures are
    not those of the readers that a writer found; it looks at both counters again.
    """

    def _setup(self) -> None:
        super()._setup()
        self._writers = Watched(self, "writers", 0)

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        while True:
            await self._arrive(t)
            if await self._nobody_writes(t):
                return True
            await self._read_unlock(t)
            if not await self._writers.until(t, lambda v: not v, killable):
                return False

    async def _nobody_writes(self, t: Task) -> bool:
        return not await self._writers.load(t)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        await self._writers.rmw(t, lambda v: v + 1)
        if await super()._write_lock(t, killable):
            return True
        await self._writers.rmw(t, lambda v: v - 1)
        return False

    async def _write_unlock(self, t: Task) -> None:
        await super()._write_unlock(t)
        await self._writers.rmw(t, lambda v: v - 1)


class Bravo(Design):
    """A table of visible readers around another lock, here the rw-semaphore; a writer switches it off and waits for it.

    Source: Dice and Kogan, "BRAVO: biased locking for reader-writer locks", USENIX ATC 2019. Its time for which the
    table stays off is left out: a reader that came the slow way switches it on again at once. The wait for the table is
    not killable.
    """

    def _setup(self) -> None:
        self._inner = RwSem(f"{self.label}.inner")
        self._bias = Watched(self, "bias", True)
        self._table: list[Watched[Task | None]] = [Watched(self, f"slot{i}", None) for i in range(_NODES)]

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        slot = self._table[t.ident % _NODES]
        if await self._bias.load(t) and await slot.cas(t, None, t):
            if await self._still_biased(t):
                return True
            await slot.store(t, None)
        if killable:
            if await self._inner.down_read_killable(t):
                return False
        else:
            await self._inner.down_read(t)
        if not await self._bias.load(t):
            await self._bias.store(t, True)
        return True

    async def _still_biased(self, t: Task) -> bool:
        return await self._bias.load(t)

    async def _read_unlock(self, t: Task) -> None:
        slot = self._table[t.ident % _NODES]
        if slot.value is t:
            await slot.store(t, None)
        else:
            await self._inner.up_read(t)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        if killable:
            if await self._inner.down_write_killable(t):
                return False
        else:
            await self._inner.down_write(t)
        if await self._bias.load(t):
            await self._bias.store(t, False)
            for slot in self._table:
                await slot.until(t, lambda v: v is None)
        return True

    async def _write_unlock(self, t: Task) -> None:
        await self._inner.up_write(t)
