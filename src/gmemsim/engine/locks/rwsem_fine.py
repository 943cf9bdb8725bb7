"""The kernel's rw-semaphore at the fine grain: every atomic access of the kernel's code is a step.

For looking at the lock itself: windows that the coarse `rwsem.RwSem` does not have are open here. A reader
that fails its fast path is counted until R7, and a trylock or a writer sees it; between the two halves of a
release the lock is held by nobody; a wake-up can arrive before its addressee sleeps. It costs about ten steps
where the coarse grain takes one, so models use the coarse grain, and tests compare the outcomes of both over
all schedules of small programs.

The steps carry the numbers of the specification. Their order within one function is the kernel's (2026, see
`rwsem_age` for older rules); the code is not.

A spinner that has looked in vain is parked until the lock is free of writers and readers, which stands for
any number of rounds of its loop; whether it goes on at all is the draw `rwsem.spin`, and whether it gives up
a read phase because of the time limit is `rwsem.spin_limit`. A timed run draws neither: a spinner spins as long as
the rules let it, and what happens within one call takes no time, so that both grains queue alike
(`tests/engine/locks/test_rwsem_time.py`).

Not modelled: READFAIL, real-time tasks, weak memory, preemption inside (off in the kernel since 6.3).
"""

from __future__ import annotations

from errno import EINTR
from typing import TYPE_CHECKING

from ...audit.events import Contended, Lock, LockRequest, Unlock
from .rwsem_fine_core import HANDOFF, READER, WAITERS, WRITER
from .rwsem_fine_wait import FineWaiting
from .rwsem_queue import WakeKind

if TYPE_CHECKING:
    from ..task import Task
    from .rwsem_queue import Waiter


class FineRwSem(FineWaiting):
    """The kernel's `struct rw_semaphore`, each access to its count and queue a step.

    Arguments and attributes: `FineCore`.
    """

    __slots__ = ()

    # -- shared --------------------------------------------------------------------------------

    async def down_read(self, t: Task) -> None:
        """Acquire shared."""
        await self._down_read(t, False)

    async def down_read_killable(self, t: Task) -> int:
        """Acquire shared unless a signal comes first: 0, or -EINTR without the lock."""
        return await self._down_read(t, True)

    async def down_read_trylock(self, t: Task) -> bool:
        """Acquire shared if the count says that nobody writes or is queued; never steals."""
        await self._at(t, self._count_op)
        if self.count & (WRITER | WAITERS | HANDOFF):
            return False
        self._set_count(t, self.count + READER)
        self._hold_read(t)
        await self._own_read(t, t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "r"))
        return True

    async def up_read(self, t: Task) -> None:
        """Release one shared hold of `t`.

        Raises:
            ModelError: `t` has none (in the kernel: a lockdep splat; see `up_read_non_owner`).
        """
        await self.up_read_non_owner(t, t)

    async def up_read_non_owner(self, t: Task, owner: Task) -> None:
        """Release, on task `t`, a shared hold that task `owner` acquired (N6).

        Raises:
            ModelError: `owner` has none.
        """
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "r"))
        if self.line_ns and not t.traps:
            await self._move_line(t)
        await self._at(t, self._count_op)
        self._drop_read(owner)
        count = self.count - READER
        self._set_count(t, count)
        if count & WAITERS:
            self._count_contended_release()
        if count & WAITERS and not count & WRITER and count < READER:
            await self._clear_nonspinnable(t)
            await self._wake_queue(t, WakeKind.ANY)

    async def _down_read(self, t: Task, killable: bool) -> int:
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, "r"))
        if self.line_ns and not t.traps:
            await self._move_line(t)
        await self._at(t, self._count_op)  # R1
        count = self.count + READER
        self._biases[t] = count
        self._set_count(t, count)
        error = 0
        if not count & (WRITER | WAITERS | HANDOFF):
            self._granted(t)
            await self._own_read(t, t)  # R2
        else:
            error = await self._down_read_slow(t, count, killable)
        if not error and t.rec is not None:
            t.rec(t, Lock(self.label, "r"))
        return error

    async def _down_read_slow(self, t: Task, count: int, killable: bool) -> int:
        await self._at(t, self._owner_load)  # R3
        joins_phase = self.reader_owned and count >= 2 * READER and not count & WRITER
        if self.age.reader_steal and not joins_phase and not count & (WRITER | HANDOFF):  # R4
            self._granted(t)
            self.paths.rlock_steal += 1
            await self._own_read(t, t)
            if count < 2 * READER and count & WAITERS:
                await self._wake_queue(t, WakeKind.READ_OWNED)
            return 0
        waiter = self._wait_timeout.enqueue(t, write=False)
        wakes: list[Waiter] = []
        await self.wait_lock.lock(t)  # R6
        first = not self.queue
        if first:
            await self._at(t, self._count_op)
            closed = WRITER | HANDOFF if self.age.immediate_needs_no_handoff else WRITER
            if not self.count & closed:
                self._granted(t)
                await self.wait_lock.unlock(t)
                self.paths.rlock_fast += 1
                await self._own_read(t, t)
                return 0
        self.queue.append(waiter)
        await self._at(t, self._count_op)  # R7
        count = self.count - READER + (WAITERS if first else 0)
        del self._biases[t]
        self._set_count(t, count)
        if self.age.eager_reader_wake or first or count < READER:
            await self._cond_wake(t, count, wakes)  # R8
        await self.wait_lock.unlock(t)
        await self._wake_all(t, wakes)
        if t.rec is not None:  # R9
            t.rec(t, Contended(self.label, "r"))
        return await self._sleep_read(t, waiter, killable)

    async def _sleep_read(self, t: Task, waiter: Waiter, killable: bool) -> int:
        """R10, R11."""
        began = t.engine.now
        while True:
            await self._at(t, self._sleep_op)
            if waiter.granted:
                break
            if killable and t.signalled():
                if await self._cancel_read(t, waiter):
                    return -EINTR
                break
            await self._sleep(t, waiter, killable)
        self._restart_hold(t)
        self.paths.rlock += 1
        self.cls.read.waited(t.engine.now - began)
        return 0

    async def _cancel_read(self, t: Task, waiter: Waiter) -> bool:
        """R10, a signal: False if the lock was granted before the queue could be locked (C13)."""
        await self.wait_lock.lock(t)
        if waiter.granted:
            await self.wait_lock.unlock(t)
            return False
        await self._cancel(t, waiter)
        self.paths.rlock_fail += 1
        return True

    def _granted(self, t: Task) -> None:
        """The reader that `t` counted in R1 stays."""
        del self._biases[t]
        self._hold_read(t)

    # -- exclusive -----------------------------------------------------------------------------

    async def down_write(self, t: Task) -> None:
        """Acquire exclusively."""
        await self._down_write(t, False)

    async def down_write_killable(self, t: Task) -> int:
        """Acquire exclusively unless a signal comes first: 0, or -EINTR without the lock."""
        return await self._down_write(t, True)

    async def down_write_trylock(self, t: Task) -> bool:
        """Acquire exclusively if the count is 0; a passing reader bias makes it fail."""
        await self._at(t, self._count_op)
        if self.count:
            return False
        self._set_count(t, WRITER)
        self._hold_write(t)
        await self._own_write(t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "w"))
        return True

    async def up_write(self, t: Task) -> None:
        """Release the exclusive hold of `t`: first the owner, then the count.

        Raises:
            ModelError: `t` has none.
        """
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
        if t.engine.cpus is not None and self.line_ns:
            await self._move_line(t)
        await self._at(t, self._owner_op)
        if self._writer is not t:
            raise self._not_writer(t)
        self.owner = None
        self.reader_owned = False
        self.nonspinnable = False
        await self._at(t, self._count_op)
        self._drop_write(t)
        count = self.count & ~WRITER
        self._set_count(t, count)
        if count & WAITERS:
            self._count_contended_release()
            await self._wake_queue(t, WakeKind.ANY)

    async def downgrade_write(self, t: Task) -> None:
        """Turn the exclusive hold of `t` into a shared one; queued readers join if one is at the head.

        Logged as a release and an acquisition with nothing in between; counted as a shared acquisition.

        Raises:
            ModelError: `t` does not hold the lock exclusively.
        """
        await self._at(t, self._count_op)
        self._drop_write(t)
        self._hold_read(t)
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
            t.rec(t, Lock(self.label, "r"))
        count = self.count + READER - WRITER
        self._set_count(t, count)
        await self._own_read(t, t)
        if count & WAITERS:
            self._count_contended_release()
            await self._wake_queue(t, WakeKind.READ_OWNED)

    def _count_contended_release(self) -> None:
        if self.age.contended_release:
            self.paths.contended_release += 1

    async def _down_write(self, t: Task, killable: bool) -> int:
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, "w"))
        if t.engine.cpus is not None and self.line_ns:
            await self._move_line(t)
        await self._at(t, self._count_op)  # W1
        error = 0
        if not self.count:
            self._set_count(t, WRITER)
            self._hold_write(t)
            await self._own_write(t)
        else:
            began = t.engine.now
            if not await self._spin(t, killable):
                error = await self._queue_write(t, killable)
            if not error:
                self.cls.write.waited(t.engine.now - began)
        if not error and t.rec is not None:
            t.rec(t, Lock(self.label, "w"))
        return error
