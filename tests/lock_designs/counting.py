"""Locks that count readers in a word and let a writer announce itself in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from .base import Design, Semaphore, WaitQueue, Watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.task import Task

__all__ = ["AnnouncedWriter", "IntentLock", "Monitor"]

_MANY: Final = 1 << 30


class AnnouncedWriter(Design):
    """A writer makes the count of readers negative, waits for those inside, and lets in at the end who came meanwhile.

    Source: Go, src/sync/rwmutex.go. Cancelling is added, up to the announcement: a reader that gives up before it has
    counted itself, a writer in the queue of writers. Nothing can take an announcement back.
    """

    def _setup(self) -> None:
        self._writers = Semaphore(self, "w")
        self._writer_sem = Semaphore(self, "writerSem", 0)
        self._reader_sem = Semaphore(self, "readerSem", 0)
        self._count = Watched(self, "readerCount", 0)
        self._to_leave = Watched(self, "readerWait", 0)

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        while killable:
            if not await self._count.until(t, lambda v: v >= 0, True):
                return False
            seen = self._count.value
            if await self._count.cas(t, seen, seen + 1):
                return True
        if await self._count.rmw(t, lambda v: v + 1) < 0:
            await self._reader_sem.down(t)
        return True

    async def _read_unlock(self, t: Task) -> None:
        if await self._count.rmw(t, lambda v: v - 1) < 0:
            await self._announced(t)

    async def _announced(self, t: Task) -> None:
        if not await self._to_leave.rmw(t, lambda v: v - 1):
            await self._writer_sem.up(t)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        if not await self._writers.down(t, killable):
            return False
        inside = await self._count.rmw(t, lambda v: v - _MANY) + _MANY
        if inside and await self._to_leave.rmw(t, lambda v: v + inside):
            await self._writer_sem.down(t)
        return True

    async def _write_unlock(self, t: Task) -> None:
        for _ in range(await self._count.rmw(t, lambda v: v + _MANY)):
            await self._reader_sem.up(t)
        await self._writers.up(t)


@attrs.frozen
class _Six:
    readers: int = 0
    intent: bool = False
    write: bool = False


class IntentLock(Design):
    """A third mode, intent, excludes itself and not readers; a writer has it first and then waits for the readers.

    Source: the shared/intent/exclusive locks of bcachefs (fs/bcachefs/six.c; Overstreet's posting of May 2018). A
    writer that gives up takes back its claim to write and its intent.
    """

    def _setup(self) -> None:
        self._word = Watched(self, "state", _Six())

    async def _change(self, t: Task, killable: bool, unless: str, change: Callable[[_Six], _Six]) -> bool:
        """Wait until `unless` is clear, and change the word in the same step."""
        while True:
            if not await self._word.until(t, lambda w: not getattr(w, unless), killable):
                return False
            seen = self._word.value
            if await self._word.cas(t, seen, change(seen)):
                return True

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        return await self._change(t, killable, "write", lambda w: attrs.evolve(w, readers=w.readers + 1))

    async def _read_unlock(self, t: Task) -> None:
        await self._word.rmw(t, lambda w: attrs.evolve(w, readers=w.readers - 1))

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        if not await self._change(t, killable, "intent", lambda w: attrs.evolve(w, intent=True)):
            return False
        await self._word.rmw(t, lambda w: attrs.evolve(w, write=True))
        if await self._word.until(t, lambda w: not w.readers, killable):
            return True
        await self._take_back(t)
        return False

    async def _take_back(self, t: Task) -> None:
        await self._word.rmw(t, lambda w: attrs.evolve(w, intent=False, write=False))

    async def _write_unlock(self, t: Task) -> None:
        await self._word.rmw(t, lambda w: attrs.evolve(w, intent=False, write=False))


class Monitor(Design):
    """A counter under a mutex and one condition variable, on which a release wakes everybody: whoever is first, wins.

    After Birrell, "An introduction to programming with threads", DEC SRC report 35, 1989, whose readers/writers lock
    it is with one condition variable.
    """

    def _setup(self) -> None:
        self._mutex = Semaphore(self, "mutex")
        self._condition = WaitQueue(self, "condition")
        self._inside = 0

    async def _enter(self, t: Task, step: int, killable: bool) -> bool:
        await self._mutex.down(t)
        while self._inside < 0 or (step < 0 and self._inside):
            # Queued before the mutex is free, so that no release can come in between.
            self._condition.tasks.append(t)
            await self._mutex.up(t)
            slept = await self._rest(t, killable)
            await self._mutex.down(t)
            if not slept:
                await self._mutex.up(t)
                return False
        self._inside += step
        await self._mutex.up(t)
        return True

    async def _rest(self, t: Task, killable: bool) -> bool:
        if t not in self._condition.tasks:
            return True  # woken before it slept
        self._condition.tasks.remove(t)
        return await self._condition.sleep(t, killable)

    async def _leave(self, t: Task) -> None:
        await self._mutex.down(t)
        self._inside = self._inside - 1 if self._inside > 0 else 0
        free = not self._inside
        await self._mutex.up(t)
        if free:
            await self._condition.wake(t, _MANY)

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        return await self._enter(t, 1, killable)

    async def _read_unlock(self, t: Task) -> None:
        await self._leave(t)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        return await self._enter(t, -1, killable)

    async def _write_unlock(self, t: Task) -> None:
        await self._leave(t)
