"""Seeded bugs of rw-semaphores: of Linux's own, and of others that had what ours could have."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import attrs

from ...engine.locks.rivals import FifoFair
from ...engine.locks.rwsem import RwSem
from ...engine.locks.rwsem_age import AGES
from ...engine.locks.rwsem_fine import FineRwSem
from ...engine.locks.rwsem_fine_core import HANDOFF
from ...engine.locks.rwsem_queue import WakeKind
from .entry import bug

if TYPE_CHECKING:
    from ...engine.locks.rwsem_queue import Waiter
    from ...engine.task import Task


class HandoffDoubleClear(FineRwSem):
    """A cancelled waiter that had set HANDOFF takes it off the count by its stale view of it (before d257cc8cb8d5)."""

    async def _cancel(self, t: Task, waiter: Waiter) -> None:
        stale = waiter.handoff_set
        await super()._cancel(t, waiter)
        if stale:
            await self._at(t, self._count_op)
            self._set_count(t, self.count - HANDOFF)


class InheritedHandoffBlocks(FineRwSem):
    """A HANDOFF whose waiter is gone keeps every writer but the head from taking a free lock (before 6eebd5fb2083)."""

    def __init__(self, label: str, cls: Any = None, **more: Any) -> None:
        super().__init__(label, cls, age=attrs.evolve(AGES["5.19"], wake_after_cancel=False), **more)


class CancelledWriterBlocksReaders(RwSem):
    """A cancelled head leaves without a look at who is behind it."""

    def _cancel(self, t: Task, waiter: Waiter) -> None:
        self._queue.remove(waiter)
        if not self._queue:
            self.handoff = False
            self._tell_spinners(t)


class WriterUnlockWakesOne(RwSem):
    """One waiter is woken by a writer that leaves; a reader that leaves wakes writers only."""

    def _mark_wake(self, t: Task, kind: WakeKind) -> None:
        head = self._queue[0]
        if head.write:
            super()._mark_wake(t, kind)
            return
        others = [waiter for waiter in self._queue if not waiter.write and waiter is not head]
        self._queue = deque(waiter for waiter in self._queue if waiter.write or waiter is head)
        super()._mark_wake(t, kind)
        self._queue.extend(others)

    def _read_released(self, t: Task) -> None:
        if self._queue and not self._queue[0].write:
            return
        super()._read_released(t)


class WaitersFlagLeak(RwSem):
    """An interrupted reader leaves a note that readers wait; whoever leaves wakes these, and there are none."""

    leaked = False

    def _cancel(self, t: Task, waiter: Waiter) -> None:
        if not waiter.write:
            self.leaked = True
        super()._cancel(t, waiter)

    def _mark_wake(self, t: Task, kind: WakeKind) -> None:
        if self.leaked and not any(not waiter.write for waiter in self._queue):
            return
        if not self._queue[0].write:
            self.leaked = False
        super()._mark_wake(t, kind)


class NewReadersPassWriter(FifoFair):
    """A fair lock whose readers do not look at the queue: as long as one is inside, the next may enter."""

    __slots__ = ()

    def _may_read(self) -> bool:
        return self._writer is None


BUGS = (
    bug(
        "rwsem-handoff-double-clear",
        rules="deadlock lost_wakeup crash model_error rwsem_promise",
        policy=HandoffDoubleClear,
        sound=FineRwSem,
    ),
    bug(
        "rwsem-inherited-handoff-blocks",
        rules="deadlock lost_wakeup rwsem_promise",
        policy=InheritedHandoffBlocks,
        sound=FineRwSem,
        unfound="here whoever holds the lock wakes the head when it leaves, which undoes the damage; the reported "
        "lock-ups needed several hundred CPUs",
    ),
    bug(
        "rwsem-cancelled-writer-blocks-readers",
        rules="rwsem_promise",
        policy=CancelledWriterBlocksReaders,
        sound=RwSem,
    ),
    bug(
        "rwlock-writer-unlock-wakes-one",
        rules="deadlock lost_wakeup rwsem_promise",
        policy=WriterUnlockWakesOne,
        sound=RwSem,
    ),
    bug(
        "rwlock-reader-preference-starves-writer",
        rules="bounded_waiting",
        policy=NewReadersPassWriter,
        sound=FifoFair,
    ),
    bug(
        "rwlock-waiters-flag-leak",
        rules="deadlock lost_wakeup rwsem_promise",
        policy=WaitersFlagLeak,
        sound=RwSem,
    ),
)
