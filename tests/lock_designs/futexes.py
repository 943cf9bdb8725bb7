"""Locks of user space: a word, and a futex to sleep on while it has a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .base import Design, Exclusive, WaitQueue, Watched

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

__all__ = ["FutexMutex", "FutexRwLock"]

_ALL: Final = 1 << 30


class _Futex:
    """A word with sleepers: `wait` sleeps only if the word still has the value that was expected."""

    def __init__(self, lock: Design, name: str) -> None:
        self.word = Watched(lock, name, 0)
        self.queue = WaitQueue(lock, f"{name}.futex")

    async def wait(self, t: Task, value: int, killable: bool) -> bool:
        """FUTEX_WAIT; False if it was a signal that ended it."""
        if await self.word.load(t) != value:
            return True
        return await self.queue.sleep(t, killable)


class FutexMutex(Exclusive):
    """0 free, 1 locked, 2 locked and somebody may sleep; a release of 2 wakes one.

    Source: Drepper, "Futexes are tricky", 2011, Mutex 3. Cancelling is added: only who sleeps gives up. Who was woken
    tries first, or the wake-up that was meant for somebody would be lost with it.
    """

    def _setup(self) -> None:
        self._futex = _Futex(self, "word")

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        if await self._futex.word.cas(t, 0, 1):
            return True
        while await self._futex.word.swap(t, 2):
            if not await self._sleep(t, killable):
                return False
        return True

    async def _sleep(self, t: Task, killable: bool) -> bool:
        return await self._futex.wait(t, 2, killable)

    async def _write_unlock(self, t: Task) -> None:
        if await self._futex.word.swap(t, 0) == 2:
            await self._futex.queue.wake(t, 1)


_READERS_WAIT: Final = 1 << 30
_WRITERS_WAIT: Final = 1 << 31
_COUNT: Final = _READERS_WAIT - 1
_WRITTEN: Final = _COUNT


def _free(state: int) -> bool:
    return not state & _COUNT


class FutexRwLock(Design):
    """A count with two flags, and a second word that writers sleep on; waiting writers are preferred.

    Source: Rust, library/std/src/sys/sync/rwlock/futex.rs, without its spinning. Cancelling is added: a flag that stays
    behind costs a wake-up of nobody.
    """

    def _setup(self) -> None:
        self._futex = _Futex(self, "state")
        self._notify = _Futex(self, "notify")

    async def _read_lock(self, t: Task, killable: bool) -> bool:
        word = self._futex.word
        state = await word.load(t)
        while True:
            if state < _COUNT - 1:  # readers at most, and no flag
                if await word.cas(t, state, state + 1):
                    return True
            elif state & _READERS_WAIT or await word.cas(t, state, state | _READERS_WAIT):
                slept = await self._futex.wait(t, state | _READERS_WAIT, killable)
                if not slept:
                    return False
            state = await word.load(t)

    async def _read_unlock(self, t: Task) -> None:
        state = await self._futex.word.rmw(t, lambda v: v - 1)
        if _free(state) and state & _WRITERS_WAIT:
            await self._wake(t, state)

    async def _write_lock(self, t: Task, killable: bool) -> bool:
        word = self._futex.word
        state = await word.load(t)
        others = 0
        while True:
            if _free(state):
                if await word.cas(t, state, state | _WRITTEN | others):
                    return True
            elif state & _WRITERS_WAIT or await word.cas(t, state, state | _WRITERS_WAIT):
                others = _WRITERS_WAIT
                number = await self._notify.word.load(t)
                state = await word.load(t)
                asleep = not _free(state) and state & _WRITERS_WAIT
                if asleep and not await self._notify.wait(t, number, killable):
                    return False
            state = await word.load(t)

    async def _write_unlock(self, t: Task) -> None:
        state = await self._futex.word.rmw(t, lambda v: v - _WRITTEN)
        if state & (_READERS_WAIT | _WRITERS_WAIT):
            await self._wake(t, state)

    async def _wake(self, t: Task, state: int) -> None:
        """`wake_writer_or_readers`; a writer if there is one, else all readers."""
        word = self._futex.word
        if state == _WRITERS_WAIT:
            if await word.cas(t, state, 0):
                await self._wake_writer(t)
                return
            state = word.value
        if state == _READERS_WAIT | _WRITERS_WAIT:
            if not await word.cas(t, state, _READERS_WAIT):
                return
            if await self._wake_writer(t):
                return
            state = _READERS_WAIT  # no writer slept: the readers are not to wait for one
        if state == _READERS_WAIT and await word.cas(t, state, 0):
            await self._futex.queue.wake(t, _ALL)

    async def _wake_writer(self, t: Task) -> bool:
        await self._notify.word.rmw(t, lambda v: v + 1)
        return bool(await self._notify.queue.wake(t, 1))
