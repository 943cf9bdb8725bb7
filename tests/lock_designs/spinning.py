"""Locks that go round in a loop until they get in, and one from loads and stores alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .base import Design, Exclusive, Semaphore, Watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.task import Task

__all__ = ["Bakery", "BiasedRwLock", "QueuedRwWord", "TestAndTestAndSet"]


class TestAndTestAndSet(Exclusive):
    """Look until the word is clear, then swap it; no order among those who look.

    Source: Rudolph and Segall, "Dynamic decentralized cache schemes for MIMD parallel processors", ISCA 1984. The loop
    is one: a waiter is never parked.
    """

    def _setup(self) -> None:
        self._word = Watched(self, "word", 0)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        while True:
            if not await self._word.load(t) and not await self._word.swap(t, 1):
                return True
            if killable and t.signalled():
                return False

    async def _write_unlock(self, t: Task) -> None:
        await self._word.store(t, 0)


_BIAS: Final = 1 << 20


class BiasedRwLock(Design):
    """A count from which a reader takes 1 and a writer all; who took too much gives it back and looks again.

    Source: Linux before 3.16 on x86, arch/x86/include/asm/rwlock.h (RW_LOCK_BIAS), where readers starve writers. The
    looking is a loop.
    """

    def _setup(self) -> None:
        self._word = Watched(self, "word", _BIAS)

    async def _take(self, t: Task, amount: int, enough: int, killable: bool) -> bool:
        while True:
            if self._fits(await self._word.rmw(t, lambda v: v - amount), amount):
                return True
            await self._word.rmw(t, lambda v: v + amount)
            while await self._word.load(t) < enough:
                if killable and t.signalled():
                    return False

    def _fits(self, left: int, amount: int) -> bool:
        return left == 0 if amount == _BIAS else left >= 0

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        return await self._take(t, 1, 1, killable)

    async def _read_unlock(self, t: Task) -> None:
        await self._word.rmw(t, lambda v: v + 1)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        return await self._take(t, _BIAS, _BIAS, killable)

    async def _write_unlock(self, t: Task) -> None:
        await self._word.rmw(t, lambda v: v + _BIAS)


def _behind(number: int, me: int, other: int) -> Callable[[int], bool]:
    """Whether `other`'s number is none, or comes after mine."""
    return lambda n: not n or (n, other) > (number, me)


class Bakery(Exclusive):
    """Numbers drawn by looking at everybody's; no atomic read-modify-write at all.

    Source: Lamport, "A new solution of Dijkstra's concurrent programming problem", CACM 17(8), 1974. It needs
    sequential consistency, which the model has.
    """

    #: Tasks that can use it, by their number.
    places: Final = 8

    def _setup(self) -> None:
        self._choosing = [Watched(self, f"choosing{i}", False) for i in range(self.places)]
        self._number = [Watched(self, f"number{i}", 0) for i in range(self.places)]

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        me = t.ident
        others = [i for i in range(self.places) if i != me]
        await self._choosing[me].store(t, True)
        number = 1 + max([await self._number[i].load(t) for i in others])
        await self._number[me].store(t, number)
        await self._choosing[me].store(t, False)
        for i in others:
            await self._has_chosen(t, i)
            if not await self._number[i].until(t, _behind(number, me, i), killable):
                await self._number[me].store(t, 0)
                return False
        return True

    async def _has_chosen(self, t: Task, i: int) -> None:
        await self._choosing[i].until(t, lambda choosing: not choosing)

    async def _write_unlock(self, t: Task) -> None:
        await self._number[t.ident].store(t, 0)


_WAITING, _LOCKED, _WMASK, _READER = 0x100, 0xFF, 0x1FF, 0x200


class QueuedRwWord(Design):
    """The queued rwlock step by step: a count word, and a queue of those who wait for it.

    Source: Linux, kernel/locking/qrwlock.c and include/asm-generic/qrwlock.h (readers outside interrupts). The kernel's
    has no killable form; here such a waiter watches the word and enters only by the fast path.
    """

    def _setup(self) -> None:
        self._word = Watched(self, "cnts", 0)
        self._queue = Semaphore(self, "wait_lock")

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        while killable:
            if not await self._word.until(t, lambda v: not v & _WMASK, True):
                return False
            seen = self._word.value
            if await self._word.cas(t, seen, seen + _READER):
                return True
        if not await self._word.rmw(t, lambda v: v + _READER) & _WMASK:
            return True
        await self._step_back(t)
        await self._queue.down(t)
        await self._word.rmw(t, lambda v: v + _READER)
        await self._word.until(t, lambda v: v & _LOCKED != _LOCKED)
        await self._queue.up(t)
        return True

    async def _step_back(self, t: Task) -> None:
        await self._word.rmw(t, lambda v: v - _READER)

    async def _read_unlock(self, t: Task) -> None:
        await self._word.rmw(t, lambda v: v - _READER)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        while killable:
            if await self._word.cas(t, 0, _LOCKED):
                return True
            if not await self._word.until(t, lambda v: not v, True):
                return False
        if await self._word.cas(t, 0, _LOCKED):
            return True
        await self._queue.down(t)
        if not await self._word.cas(t, 0, _LOCKED):
            await self._word.rmw(t, lambda v: v | _WAITING)
            while True:
                await self._word.until(t, lambda v: v == _WAITING)
                if await self._word.cas(t, _WAITING, _LOCKED):
                    break
        await self._queue.up(t)
        return True

    async def _write_unlock(self, t: Task) -> None:
        await self._word.rmw(t, lambda v: v & ~_LOCKED)
