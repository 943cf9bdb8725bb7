"""The fine rw-semaphore's waiting writers: spinning, queueing, hand-off, and what both kinds of waiter share.

Steps W2 to W10 and the cancellation of section 6; `rwsem_fine` has the operations and says what the grain is
for.
"""

from __future__ import annotations

from errno import EINTR
from typing import TYPE_CHECKING

from ...audit.events import Contended
from ..errors import ModelError
from ..task import Signal
from .rwsem_fine_core import HANDOFF, READER, WAITERS, WRITER, FineCore
from .rwsem_queue import WakeKind, on_cpu
from .rwsem_spin import POLL, read_phase_limit

if TYPE_CHECKING:
    from ..task import Task
    from .rwsem_queue import Waiter


class FineWaiting(FineCore):
    """How a task waits for the semaphore."""

    __slots__ = ()

    async def _spin(self, t: Task, killable: bool) -> bool:
        """W2 to W4."""
        if not t.traps:
            return await self._watch(t)
        if self.spinning:
            await self._at(t, self._owner_load)
        if not self.spinning or not self._may_spin() or not t.draw("rwsem.spin", 2):
            self.paths.opt_nospin += 1
            return False
        await self._at(t, self._spin_op)
        self.osq.append(t)
        won = await self._spin_in_osq(t, killable)
        await self._at(t, self._spin_op)
        first = self.osq[0] is t
        self.osq.remove(t)
        if first and self.osq:
            t.engine.wake(self.osq[0])
        if won:
            self.paths.opt_lock += 1
        else:
            self.paths.opt_fail += 1
        return won

    async def _spin_in_osq(self, t: Task, killable: bool) -> bool:
        while self.osq[0] is not t:  # W3
            if await t.park(self, self._spin_op, interruptible=killable) is Signal:
                return False
        while True:  # W4
            await self._at(t, self._owner_load)
            if not self._may_spin():
                return False
            await self._at(t, self._count_op)
            count = self.count
            if count < READER and not count & (WRITER | HANDOFF):
                self._set_count(t, count | WRITER)
                self._hold_write(t)
                await self._own_write(t)
                return True
            if not t.draw("rwsem.spin", 2):
                if self.reader_owned and t.draw("rwsem.spin_limit", 2):
                    await self._at(t, self._owner_op)
                    if self.reader_owned:
                        self.nonspinnable = True
                return False
            self._spinner_watches = True
            value = await t.park(self, self._spin_op, interruptible=killable)
            t.touch(self._count_op)
            self._spinner_watches = False
            if value is Signal:
                return False

    async def _watch(self, t: Task) -> bool:
        """W2 to W4 of a timed run: as `SpinQueue` does at the coarse grain."""
        began = t.engine.now
        if not self.spinning or not self._may_spin():
            self.paths.opt_nospin += 1
            return False
        self.osq.append(t)
        while self.osq[0] is not t:
            await t.park(self, self._spin_op)
        won = await self._watch_first(t)
        self.osq.popleft()
        if self.osq:
            t.engine.wake(self.osq[0])
        self.paths.spin_total += t.engine.now - began
        if won:
            self.paths.opt_lock += 1
        else:
            self.paths.opt_fail += 1
        return won

    async def _watch_first(self, t: Task) -> bool:
        limit = 0
        reading = False
        while self._may_spin():
            if self.count < READER and not self.count & (WRITER | HANDOFF):
                self._grab(t)
                return True
            owner = self.owner
            if self.count & WRITER and owner is not None:
                reading = False
                self._spinner_watches = True
                call = self._owner_blocks
                owner.on_block += (call,)
                self.line_state.cpu = t.cpu
                await t.park(self, self._spin_op)
                owner.on_block = tuple(other for other in owner.on_block if other != call)
                self._spinner_watches = False
                if self._writer is t:
                    return True
                continue
            if self.count >= READER:
                if not reading:
                    reading = True
                    limit = read_phase_limit(t.engine.now, self.count // READER)
                elif t.engine.now > limit:
                    self.nonspinnable = True
                    return False
            else:
                reading = False
            await t.spend(POLL)
        return False

    def _grab(self, t: Task) -> None:
        """The count is free: the first spinner, `t`, has it before anybody else looks (timed runs)."""
        self.count |= WRITER
        self._hold_write(t)
        self.owner = t
        self.reader_owned = False
        self.nonspinnable = False

    def _spinner_takes(self, t: Task) -> None:
        spinner = self.osq[0]
        if t.traps:
            t.engine.wake(spinner)
            return
        self._grab(spinner)
        cpus = t.engine.cpus
        t.engine.wake(spinner, delay=0 if cpus is None else cpus.distance(t.cpu, spinner.cpu))

    def _owner_blocks(self, owner: Task) -> None:
        if not on_cpu(owner) and self.osq:
            owner.engine.wake(self.osq[0])

    def _may_spin(self) -> bool:
        if self.nonspinnable:
            return False
        return self.owner is None or self.reader_owned or on_cpu(self.owner)

    async def _queue_write(self, t: Task, killable: bool) -> int:
        """W5 to W10."""
        waiter = self._wait_timeout.enqueue(t, write=True)
        wakes: list[Waiter] = []
        await self.wait_lock.lock(t)  # W5
        self.queue.append(waiter)
        await self._at(t, self._count_op)  # W6
        if self.queue[0] is waiter:
            self._set_count(t, self.count | WAITERS)
        else:
            await self._cond_wake(t, self.count, wakes)
            if wakes:
                await self.wait_lock.unlock(t)
                await self._wake_all(t, wakes)
                await self.wait_lock.lock(t)
        if t.rec is not None:
            t.rec(t, Contended(self.label, "w"))
        while not await self._try_write(t, waiter):
            await self.wait_lock.unlock(t)  # W8
            if killable and t.signalled():
                await self.wait_lock.lock(t)
                await self._cancel(t, waiter)
                self.paths.wlock_fail += 1
                return -EINTR
            if not await self._spin_for_handoff(t, waiter):
                await self._at(t, self._sleep_op)
                await self._sleep(t, waiter, killable)
            await self.wait_lock.lock(t)  # W9
        await self._own_write(t)
        await self.wait_lock.unlock(t)  # W10
        self.paths.wlock += 1
        return 0

    async def _try_write(self, t: Task, waiter: Waiter) -> bool:
        """W7, one atomic step on the count."""
        await self._at(t, self._count_op)
        head = self.queue[0]
        count = self.count
        promised = count & HANDOFF
        if promised and waiter is not head and (head.handoff_set or not self.age.orphan_handoff):
            return False
        if count & WRITER or count >= READER:
            if not promised and self._wait_timeout.passed(t, waiter):
                head.handoff_set = True
                self._set_count(t, count | HANDOFF)
                self.paths.wlock_handoff += 1
            return False
        self.queue.remove(waiter)
        self._hold_write(t)
        count = (count | WRITER) & ~HANDOFF
        self._set_count(t, count if self.queue else count & ~WAITERS)
        return True

    async def _spin_for_handoff(self, t: Task, waiter: Waiter) -> bool:
        """W8, the head to whom the lock is promised: True if it should try again without having slept."""
        if self.age.handoff_per_waiter:
            promised = waiter.handoff_set
        else:
            promised = bool(self.count & HANDOFF) and self.queue[0] is waiter
        if not promised:
            return False
        await self._at(t, self._owner_load)
        if self.owner is not None and (self.reader_owned or not on_cpu(self.owner)):
            return False
        if self.owner is not None and t.traps and not t.draw("rwsem.spin", 2):
            return False
        t.touch(self._count_op)
        owner = self.owner
        if owner is not None and not t.traps:
            # Should the owner go to sleep, so does this one, and the release wakes it.
            waiter.spinning = waiter.asleep = True
            owner.on_block += (waiter.owner_blocks,)
            await t.park(self, self._spin_op)
            owner.on_block = tuple(call for call in owner.on_block if call != waiter.owner_blocks)
            waiter.asleep = False
        elif self.count & WRITER or self.count >= READER:
            # Between the two halves of a release, or on a running owner: the rounds until the count changes.
            waiter.spinning = True
            await t.park(self, self._spin_op)
        return True

    # -- both ----------------------------------------------------------------------------------

    async def _sleep(self, t: Task, waiter: Waiter, killable: bool) -> None:
        """Sleep, unless a wake-up was quicker."""
        if not waiter.woken:
            if waiter.write:
                self.paths.sleep_writer += 1
            else:
                self.paths.sleep_reader += 1
            waiter.asleep = True
            await t.park(self, self._sleep_op, interruptible=killable)
            waiter.asleep = False
        waiter.woken = False

    async def _cancel(self, t: Task, waiter: Waiter) -> None:
        """Section 6, under `wait_lock`, which it releases."""
        if waiter not in self.queue:
            raise ModelError(f"{t.name} is not queued on {self.label}")
        wakes: list[Waiter] = []
        first = self.queue[0] is waiter
        self.queue.remove(waiter)
        if not self.queue:
            await self._at(t, self._count_op)
            self._set_count(t, self.count & ~(WAITERS | HANDOFF))
        elif first if self.age.wake_after_cancel else waiter.write:
            await self._mark_wake(t, WakeKind.ANY, wakes)
        await self.wait_lock.unlock(t)
        await self._wake_all(t, wakes)
