"""Semaphores as in textbooks: one as a lock, both problems of Courtois, Heymans and Parnas, and a turnstile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Design, Exclusive, Semaphore

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

__all__ = ["BinarySemaphore", "CourtoisReaders", "CourtoisWriters", "Turnstile"]


class BinarySemaphore(Exclusive):
    """A semaphore of 1, handed over in order. Source: Linux, kernel/locking/semaphore.c, `down_killable`."""

    def _setup(self) -> None:
        self._semaphore = Semaphore(self, "semaphore")

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        return await self._semaphore.down(t, killable, "w")

    async def _write_unlock(self, t: Task) -> None:
        await self._semaphore.up(t)


class CourtoisReaders(Design):
    """A count of readers under a mutex; the first takes the room, the last gives it back. Writers can starve.

    Source: Courtois, Heymans and Parnas, "Concurrent control with 'readers' and 'writers'", CACM 14(10), 1971, problem
    1. Cancelling is added: a first reader that gives up takes itself off the count.
    """

    def _setup(self) -> None:
        self._mutex = Semaphore(self, "mutex")
        self._room = Semaphore(self, "room")
        self._inside = 0

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        if not await self._mutex.down(t, killable):
            return False
        self._inside += 1
        got = self._inside > 1 or await self._room.down(t, killable)
        if not got:
            self._give_up()
        await self._mutex.up(t)
        return got

    def _give_up(self) -> None:
        self._inside -= 1

    async def _read_unlock(self, t: Task) -> None:
        await self._mutex.down(t)
        self._inside -= 1
        if not self._inside:
            await self._room.up(t)
        await self._mutex.up(t)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        return await self._room.down(t, killable)

    async def _write_unlock(self, t: Task) -> None:
        await self._room.up(t)


class CourtoisWriters(CourtoisReaders):
    """The first writer shuts the door to readers, the last opens it; readers queue one at a time. Readers can starve.

    Source: Courtois, Heymans and Parnas, as above, problem 2, with its five semaphores. A waiter that gives up goes
    back the way that it came.
    """

    def _setup(self) -> None:
        super()._setup()
        self._writers_mutex = Semaphore(self, "writers_mutex")
        self._one_reader = Semaphore(self, "one_reader")
        self._door = Semaphore(self, "door")
        self._writers = 0

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        if not await self._one_reader.down(t, killable):
            return False
        got = await self._door.down(t, killable)
        if got:
            got = await super()._read_lock(t, killable)
            await self._door.up(t)
        await self._one_reader.up(t)
        return got

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        if not await self._writers_mutex.down(t, killable):
            return False
        self._writers += 1
        got = self._writers > 1 or await self._door.down(t, killable)
        if not got:
            self._writers -= 1
        await self._writers_mutex.up(t)
        if got and not await self._room.down(t, killable):
            await self._writer_leaves(t)
            return False
        return got

    async def _write_unlock(self, t: Task) -> None:
        await self._room.up(t)
        await self._writer_leaves(t)

    async def _writer_leaves(self, t: Task) -> None:
        await self._writers_mutex.down(t)
        self._writers -= 1
        if not self._writers:
            await self._door.up(t)
        await self._writers_mutex.up(t)


class Turnstile(CourtoisReaders):
    """Everybody goes through a turnstile, which a writer keeps shut while it waits and writes: nobody starves.

    Source: Downey, "The Little Book of Semaphores", section 4.2, the readers-writers solution without starvation.
    """

    def _setup(self) -> None:
        super()._setup()
        self._turnstile = Semaphore(self, "turnstile")

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        if not await self._turnstile.down(t, killable):
            return False
        await self._turnstile.up(t)
        return await super()._read_lock(t, killable)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        if not await self._turnstile.down(t, killable):
            return False
        if await super()._write_lock(t, killable):
            return True
        await self._turnstile.up(t)
        return False

    async def _write_unlock(self, t: Task) -> None:
        await self._turnstile.up(t)
        await super()._write_unlock(t)
