"""The fine rw-semaphore's words, spin locks and wake-ups: each atomic access a step of its own.

The state is the kernel's: a count word, an owner word, a queue under `wait_lock`, a queue of spinners
(`osq`). Next to it runs a second set of books (`_readers`, `_writer`, `_biases` of whom the lock *is granted
to*), which steers nothing: promises are stated in its terms, and `rwsem_invariants` compares it with the
words after any step.

Ops name the word they touch (`x.count`, `x.owner`, `x.wait_lock`, `x.osq`), so that partial-order reduction
can tell accesses of different words apart. Memory is sequentially consistent.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final

from ..errors import ModelError
from ..op import Op
from .rwsem_age import RwSemAge
from .rwsem_base import RwLockBase
from .rwsem_queue import BATCH, HZ, Waiter, WaitTimeout, WakeKind
from .rwsem_stats import PathCounters, RwSemStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task
    from .stats import LockClass

#: Bits of the count word; from bit 8 up it counts readers.
WRITER: Final = 1
WAITERS: Final = 2
HANDOFF: Final = 4
READER: Final = 256


class WaitLock:
    """`wait_lock`: a fair spin lock that leaves no trace in the audit log.

    Attributes:
        holder: the task inside, or None.
    """

    __slots__ = ("_acquire", "_release", "holder", "label", "queue")

    #: Waiting here keeps a CPU busy (see `on_cpu`).
    spins = True

    def __init__(self, label: str) -> None:
        self.label = label
        self.holder: Task | None = None
        self.queue: deque[Task] = deque()
        self._acquire = Op("acquire", label)
        self._release = Op("release", label)

    def holders(self) -> Iterable[str]:
        return () if self.holder is None else (self.holder.name,)

    async def lock(self, t: Task) -> None:
        if t.traps:
            await t.point(self._acquire)
        if self.holder is None:
            self.holder = t
        else:
            self.queue.append(t)
            await t.park(self, self._acquire)

    async def unlock(self, t: Task) -> None:
        if t.traps:
            await t.point(self._release)
        self.holder = None
        if self.queue:
            self.holder = self.queue.popleft()
            t.engine.wake(self.holder)


class FineCore(RwLockBase):
    """Words, queue and wake-up calls of one semaphore.

    Args:
        hz: timer frequency, which rounds the 4 ms that a waiter is patient.
        spinning: writers may spin; in exploring runs that is a choice.
        age: which release's rules to follow.

    Attributes:
        count: the count word.
        owner, reader_owned, nonspinnable: the owner word: a task and two flags; reader ownership is a hint.
        queue: the wait queue, head first; read and written under `wait_lock`.
        osq: the spinners, the first at the left.
        paths: one counter per path.
    """

    __slots__ = (
        "_biases",
        "_count_op",
        "_owner_load",
        "_owner_op",
        "_sleep_op",
        "_spin_op",
        "_spinner_watches",
        "_wait_timeout",
        "_wake_op",
        "_waker_biases",
        "age",
        "count",
        "nonspinnable",
        "osq",
        "owner",
        "paths",
        "queue",
        "reader_owned",
        "spinning",
        "wait_lock",
    )

    def __init__(
        self,
        label: str,
        cls: LockClass | None = None,
        *,
        line_ns: int = 0,
        hz: int = HZ,
        spinning: bool = True,
        age: RwSemAge = RwSemAge(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(label, cls, line_ns=line_ns)
        self.age = age
        self.spinning = spinning
        self.count = 0
        self.owner: Task | None = None
        self.reader_owned = False
        self.nonspinnable = False
        self.queue: list[Waiter] = []
        self.osq: deque[Task] = deque()
        self.paths = PathCounters()
        self.wait_lock = WaitLock(f"{label}.wait_lock")
        #: Readers counted but not granted (yet): the value of count that their R1 returned.
        self._biases: dict[Task, int] = {}
        #: Readers counted by a wake-up call under way.
        self._waker_biases = 0
        self._spinner_watches = False
        self._wait_timeout = WaitTimeout(hz)
        self._count_op = Op("rmw", f"{label}.count")
        self._owner_load = Op("load", f"{label}.owner", mode="r")
        self._owner_op = Op("store", f"{label}.owner")
        self._sleep_op = Op("wait", f"{label}.sleep")
        self._spin_op = Op("wait", f"{label}.osq")
        self._wake_op = Op("wake", f"{label}.sleep")

    def statistics(self) -> RwSemStatistics:
        """Frozen counters, holders and queue (spinners after the queue)."""
        return RwSemStatistics.of(super().statistics(), self.paths)

    def is_locked(self) -> bool:
        """`rwsem_is_locked`: any bit of the count is set, so a passing bias counts as well."""
        return self.count != 0

    def _waiting(self) -> Iterable[Task]:
        return (*(waiter.task for waiter in self.queue), *self.osq)

    def books(self) -> tuple[bool, int, int]:
        """What the words should say: a writer or none, how many readers, how many that are only counted."""
        readers = len(self._readers) + len(self._again)
        return self._writer is not None, readers, len(self._biases) + self._waker_biases

    # -- words ---------------------------------------------------------------------------------

    async def _at(self, t: Task, op: Op) -> None:
        """Another task may go before `op`."""
        if t.traps:
            await t.point(op)

    def _set_count(self, t: Task, value: int) -> None:
        """Write the count, in the step that the caller announced; spinners see it."""
        if value < 0:
            raise ModelError(f"{t.name} makes the count of {self.label} negative")
        self.count = value
        if self._spinner_watches and not value & (WRITER | HANDOFF) and value < READER:
            self._spinner_watches = False
            self._spinner_takes(t)
        if value < READER and not value & WRITER and self.queue and self.queue[0].spinning:
            self.queue[0].spinning = False
            t.engine.wake(self.queue[0].task)

    @abstractmethod
    def _spinner_takes(self, t: Task) -> None:
        """The count is free, and the first spinner watches it."""

    async def _own_read(self, t: Task, reader: Task) -> None:
        """owner := `reader`, shared; NONSPINNABLE stays."""
        await self._at(t, self._owner_op)
        self.owner = reader
        self.reader_owned = True

    async def _own_write(self, t: Task) -> None:
        await self._at(t, self._owner_op)
        self.owner = t
        self.reader_owned = False
        self.nonspinnable = False

    async def _clear_nonspinnable(self, t: Task) -> None:
        if self.nonspinnable:
            await self._at(t, self._owner_op)
            self.nonspinnable = False

    # -- wake-ups ------------------------------------------------------------------------------

    async def _mark_wake(self, t: Task, kind: WakeKind, wakes: list[Waiter]) -> None:
        """Section 4, under `wait_lock`: grant readers or pick the head writer; `wakes` gets them."""
        queue = self.queue
        head = queue[0]
        if head.write:
            if kind is WakeKind.ANY:  # M1
                self.paths.wake_writer += 1
                wakes.append(head)
            return
        adjustment = 0
        if kind is not WakeKind.READ_OWNED:  # M3
            await self._at(t, self._count_op)
            old = self.count
            self._waker_biases += 1
            self._set_count(t, old + READER)
            if old & WRITER:
                await self._undo(t, head)
                return
            adjustment = 1
            await self._own_read(t, head.task)
        collected: list[Waiter] = []
        rest: list[Waiter] = []
        for position, waiter in enumerate(queue):  # M4
            if waiter.write and not self.age.whole_queue:
                rest.extend(queue[position:])
                break
            if waiter.write or (self.age.whole_queue and len(collected) == BATCH):
                rest.append(waiter)
            else:
                collected.append(waiter)
        queue[:] = rest
        await self._at(t, self._count_op)  # M5
        count = self.count + (len(collected) - adjustment) * READER
        if not queue:
            count &= ~WAITERS
        self._waker_biases += len(collected) - adjustment
        self._set_count(t, count & ~HANDOFF)
        for waiter in collected:  # M6
            await self._at(t, self._wake_op)
            self._waker_biases -= 1
            waiter.granted = True
            self._hold_read(waiter.task)
            self.paths.wake_reader += 1
            wakes.append(waiter)

    async def _undo(self, t: Task, head: Waiter) -> None:
        """M3, a writer barged: take the reader off again; a head whose time is up asks for a hand-off."""
        await self._at(t, self._count_op)
        count = self.count - READER
        if self._wait_timeout.passed(t, head):
            if not self.count & HANDOFF:
                self.paths.rlock_handoff += 1
            count |= HANDOFF
            head.handoff_set = True
        self._waker_biases -= 1
        self._set_count(t, count)

    async def _cond_wake(self, t: Task, count: int, wakes: list[Waiter]) -> None:
        """R8 and W6: somebody has queued and read `count`; may the head go?"""
        if count & WRITER:
            return
        if count >= READER:
            await self._mark_wake(t, WakeKind.READERS, wakes)
        else:
            await self._clear_nonspinnable(t)
            await self._mark_wake(t, WakeKind.ANY, wakes)

    async def _wake_all(self, t: Task, wakes: list[Waiter]) -> None:
        """Send the wake-ups, outside of `wait_lock`."""
        for waiter in wakes:
            await self._at(t, self._wake_op)
            if waiter.asleep:
                waiter.asleep = False
                t.engine.wake(waiter.task, delay=t.engine.wake_ns)
            else:
                waiter.woken = True
        wakes.clear()

    async def _wake_queue(self, t: Task, kind: WakeKind) -> None:
        """`rwsem_wake`, `rwsem_downgrade_wake`: lock the queue, mark, unlock, send."""
        wakes: list[Waiter] = []
        await self.wait_lock.lock(t)
        if self.queue:
            await self._mark_wake(t, kind, wakes)
        await self.wait_lock.unlock(t)
        await self._wake_all(t, wakes)
