"""The kernel's rw-semaphore at the coarse grain: one step an operation.

This is the lock that models use by default. What the kernel does in up to a dozen atomic steps happens here
in one, with the same rules of who is admitted: readers join while nobody is queued (R2), steal a free lock
(R4) but not a live read phase (R3), and come out of the queue in batches that pass over writers (M4); writers
barge by spinning (W4) until a waiter past its deadline sets HANDOFF (W7, M3). Step names are those of the
fine grain, `rwsem_fine`, and tests compare the two.

Prior art. `trio.Lock` and most simulators hand the lock to the head of a FIFO queue; textbook "writer
preference" locks out every reader that comes after a waiting writer. The kernel's lock does neither, and the
difference is what contention figures measure: a woken writer owns nothing, it only tries again.

Trade-offs. There is no count word: holders and queue are Python objects, and the word's bits follow from
them. So reader biases and the windows inside an operation do not exist at this grain: a trylock here cannot
fail because of a reader that is about to queue. Some of what the windows allow is kept as a draw (a spinner
that beats a queued reader). An uncontended acquisition costs its dictionary entry and a counter, which is why
the fast paths are written out.

Reader steps announce themselves as reads (`Op.mode` "r"), so that partial-order reduction may reorder them.
That is right only while they commute, so a reader that cannot take the fast path announces a second step, as
a write, before it looks at the queue.

Not modelled: READFAIL (reader overflow), real-time tasks. Priority inheritance is not missing: this lock has
none.
"""

from __future__ import annotations

from errno import EINTR
from typing import TYPE_CHECKING

from ...audit.events import Contended, Lock, LockRequest, Unlock
from .rwsem_core import RwSemCore
from .rwsem_queue import WakeKind, on_cpu

if TYPE_CHECKING:
    from ..task import Task
    from .rwsem_queue import Waiter


class RwSem(RwSemCore):
    """The kernel's `struct rw_semaphore`, each operation one step.

    Arguments and attributes: `RwSemCore`.
    """

    __slots__ = ()

    # -- shared --------------------------------------------------------------------------------

    async def down_read(self, t: Task) -> None:
        """Acquire shared."""
        rec = t.rec
        if rec is not None:
            rec(t, LockRequest(self.label, "r"))
        if t.traps:
            await t.point(self._acquire_r)
        elif self.line_ns:
            await self._move_line(t)
        if self._writer is None and not self._queue and t not in self._readers:
            self._readers[t] = t.engine.now
            self._read.acquisitions += 1
        else:
            await self._down_read_slow(t, False)
        if rec is not None:
            rec(t, Lock(self.label, "r"))

    async def down_read_killable(self, t: Task) -> int:
        """Acquire shared unless a signal comes first: 0, or -EINTR without the lock."""
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, "r"))
        if t.traps:
            await t.point(self._acquire_r)
        elif self.line_ns:
            await self._move_line(t)
        error = await self._down_read_slow(t, True)
        if not error and t.rec is not None:
            t.rec(t, Lock(self.label, "r"))
        return error

    async def down_read_trylock(self, t: Task) -> bool:
        """Acquire shared if nobody writes and nobody is queued; never steals."""
        if t.traps:
            await t.point(self._try_r)
        elif self.line_ns:
            await self._move_line(t)
        if self._writer is not None or self._queue:
            return False
        self._hold_read(t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "r"))
        return True

    async def up_read(self, t: Task) -> None:
        """Release one shared hold of `t`.

        Raises:
            ModelError: `t` has none (in the kernel: a lockdep splat; see `up_read_non_owner`).
        """
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "r"))
        if t.traps:
            await t.point(self._release_r)
        elif self.line_ns:
            await self._move_line(t)
        since = None if self._again else self._readers.pop(t, None)
        if since is None:
            self._drop_read(t)
        else:
            ns = t.engine.now - since
            counter = self._read
            counter.hold_total += ns
            if ns > counter.hold_max:
                counter.hold_max = ns
            if counter.book is not None:
                counter.book.held(ns)
        if self._queue or self._spinning:
            if t.traps and not self._queue:
                # A newcomer could still take the fast path, so telling the spinners does not commute with that.
                await t.point(self._release_w)
            self._read_released(t)

    async def up_read_non_owner(self, t: Task, owner: Task) -> None:
        """Release, on task `t`, a shared hold that task `owner` acquired (N6).

        Raises:
            ModelError: `owner` has none.
        """
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "r"))
        if t.traps:
            await t.point(self._release_w)
        elif self.line_ns:
            await self._move_line(t)
        self._drop_read(owner)
        if self._queue or self._spinning:
            self._read_released(t)

    async def _down_read_slow(self, t: Task, killable: bool) -> int:
        if self._writer is None and not self._queue:
            self._hold_read(t)  # R2, a second hold of the same task
            return 0
        if t.traps:
            await t.point(self._acquire_w)
        if self._writer is None and (not self._queue or not (self.handoff or self._readers)):
            self._hold_read(t)
            if self._queue:
                # R4. A live read phase is not joined (R3): at this grain, readers present means reader-owned.
                self.paths.rlock_steal += 1
                self._mark_wake(t, WakeKind.READ_OWNED)
            else:
                self.paths.rlock_fast += 1  # R6
            return 0
        waiter = self._wait_timeout.enqueue(t, write=False, alone=not self._queue)
        self._queue.append(waiter)
        self._cond_wake(t)
        if t.rec is not None:
            t.rec(t, Contended(self.label, "r"))
        began = t.engine.now
        while not waiter.granted:
            if killable and t.signalled():
                if await self._cancel_read(t, waiter):
                    return -EINTR
                break
            self.paths.sleep_reader += 1
            await t.park(self, self._wait_r, interruptible=killable)
        self._restart_hold(t)
        self.paths.rlock += 1
        self._read.waited(t.engine.now - began)
        return 0

    async def _cancel_read(self, t: Task, waiter: Waiter) -> bool:
        """R10, a signal: False if the lock was granted before the queue could be locked (C13)."""
        if t.traps:
            await t.point(self._acquire_w)
            if waiter.granted:
                return False
        self._cancel(t, waiter)
        self.paths.rlock_fail += 1
        return True

    def _read_released(self, t: Task) -> None:
        if self._queue:
            self.paths.contended_release += 1
        if not self._readers and self._writer is None:
            t.touch(self._release_w)
            self.nonspinnable = self.nonspinnable and not self._queue
            self._freed(t)

    # -- exclusive -----------------------------------------------------------------------------

    async def down_write(self, t: Task) -> None:
        """Acquire exclusively."""
        rec = t.rec
        if rec is not None:
            rec(t, LockRequest(self.label, "w"))
        if t.traps:
            await t.point(self._acquire_w)
        elif t.engine.cpus is not None:
            await self._move_line(t)
        if self._writer is None and not self._readers and not self._queue:  # W1
            self._writer = t
            self._since = t.engine.now
            self.nonspinnable = False
            self._write.acquisitions += 1
        else:
            await self._down_write_slow(t, False)
        if rec is not None:
            rec(t, Lock(self.label, "w"))

    async def down_write_killable(self, t: Task) -> int:
        """Acquire exclusively unless a signal comes first: 0, or -EINTR without the lock."""
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, "w"))
        if t.traps:
            await t.point(self._acquire_w)
        elif t.engine.cpus is not None:
            await self._move_line(t)
        error = 0
        if self._writer is None and not self._readers and not self._queue:
            self.take_write(t)  # W1
        else:
            error = await self._down_write_slow(t, True)
        if not error and t.rec is not None:
            t.rec(t, Lock(self.label, "w"))
        return error

    async def down_write_trylock(self, t: Task) -> bool:
        """Acquire exclusively if nobody holds the lock and nobody is queued."""
        if t.traps:
            await t.point(self._try_w)
        elif t.engine.cpus is not None:
            await self._move_line(t)
        if self._writer is not None or self._readers or self._queue:
            return False
        self.take_write(t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "w"))
        return True

    async def up_write(self, t: Task) -> None:
        """Release the exclusive hold of `t`.

        Raises:
            ModelError: `t` has none.
        """
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
        if t.traps:
            await t.point(self._release_w)
        elif t.engine.cpus is not None:
            await self._move_line(t)
        if self._writer is not t:
            raise self._not_writer(t)
        self._writer = None
        ns = t.engine.now - self._since
        counter = self._write
        counter.hold_total += ns
        if ns > counter.hold_max:
            counter.hold_max = ns
        if counter.book is not None:
            counter.book.held(ns)
        if self._queue:
            self.paths.contended_release += 1
            self._freed(t)
        elif self._spinning:
            self._freed(t)

    async def downgrade_write(self, t: Task) -> None:
        """Turn the exclusive hold of `t` into a shared one; queued readers join if one is at the head.

        Logged as a release and an acquisition with nothing in between; counted as a shared acquisition.

        Raises:
            ModelError: `t` does not hold the lock exclusively.
        """
        if t.traps:
            await t.point(self._release_w)
        elif t.engine.cpus is not None:
            await self._move_line(t)
        self._drop_write(t)
        self._hold_read(t)
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
            t.rec(t, Lock(self.label, "r"))
        if self._queue:
            self.paths.contended_release += 1
            self._mark_wake(t, WakeKind.READ_OWNED)
        if not t.traps:
            self._spinners.look(t)  # from now on it spins behind readers, with a time limit

    async def _down_write_slow(self, t: Task, killable: bool) -> int:
        began = t.engine.now
        if await self._spinners.spin(t, killable):
            self._write.waited(t.engine.now - began)
            return 0
        waiter = self._wait_timeout.enqueue(t, write=True, alone=not self._queue)
        self._queue.append(waiter)  # W5
        if self._queue[0] is not waiter:
            self._cond_wake(t)  # W6
        if t.rec is not None:
            t.rec(t, Contended(self.label, "w"))
        while not self._try_write(t, waiter):
            if killable and t.signalled():
                self._cancel(t, waiter)
                self.paths.wlock_fail += 1
                return -EINTR
            # W8: the head with HANDOFF behind a running writer keeps its CPU.
            owner = self._writer
            waiter.spinning = waiter.handoff_set and owner is not None and on_cpu(owner)
            if not waiter.spinning or owner is None:
                self.paths.sleep_writer += 1
                await t.park(self, self._wait_w, interruptible=killable)
                continue
            owner.on_block += (waiter.owner_blocks,)
            await t.park(self, self._wait_w, interruptible=killable)
            owner.on_block = tuple(call for call in owner.on_block if call != waiter.owner_blocks)
        self.paths.wlock += 1
        self._write.waited(t.engine.now - began)
        return 0
