"""The wait queue of an rw-semaphore: its entries, their deadlines, and the kinds of wake-up.

Deadlines are the whole difference between "spinners may barge" and "the head is next". The kernel counts them
in jiffies and compares strictly, so a waiter is patient for 4 ms *and the rest of a tick*. An exploring run
has no time; there the question "has its deadline passed?" is a draw whose answer, once yes, stays yes, also
for every waiter that queued before.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from .spinlock import QueuedRwLock

if TYPE_CHECKING:
    from ..task import Task

#: Most readers that one wake-up call takes out of the queue (M4).
BATCH: Final = 256
#: Timer frequency of the distributions whose kernels were traced.
HZ: Final = 250
#: What a waiter bears before it demands the lock, in ns; rounded up to jiffies.
_BEARS: Final = 4_000_000


class WakeKind(Enum):
    """Whom a wake-up call may wake: the head, whoever it is; readers; readers of a lock held shared."""

    ANY = "any"
    READERS = "readers"
    READ_OWNED = "read owned"


class Waiter:
    """One queue entry.

    Attributes:
        write: a writer; else a reader.
        number: place in the order of arrival, since somebody is queued (in `rwsem-fine` over the lock's whole life).
        deadline: first virtual ns at which the deadline has passed.
        handoff_set: HANDOFF was set on behalf of this entry.
        granted: the waker has counted this reader (the kernel clears the entry's task pointer).
        asleep: parked, so that a wake-up must resume the task.
        woken: a wake-up came while the task was on its way to sleep.
        spinning: waits on a CPU for the hand-off, so that a wake-up costs nothing.
    """

    __slots__ = (
        "asleep",
        "deadline",
        "granted",
        "handoff_set",
        "number",
        "spinning",
        "task",
        "woken",
        "write",
    )

    def __init__(self, task: Task, write: bool, number: int, deadline: int) -> None:
        self.task = task
        self.write = write
        self.number = number
        self.deadline = deadline
        self.handoff_set = False
        self.granted = False
        self.asleep = False
        self.woken = False
        self.spinning = False

    def owner_blocks(self, owner: Task) -> None:
        """The owner that this entry spins on has parked: spinning ends with the owner's time on a CPU."""
        if not on_cpu(owner):
            self.spinning = False

    def __repr__(self) -> str:
        return f"<Waiter {self.task.name} {'w' if self.write else 'r'}>"


class WaitTimeout:
    """Deadlines of the waiters of one lock.

    Args:
        hz: timer frequency of the kernel; its ticks begin at virtual time 0.
    """

    __slots__ = ("_arrivals", "_expired", "_jiffy", "_ticks")

    def __init__(self, hz: int) -> None:
        if not 1 <= hz <= 1_000_000:
            raise ValueError(f"hz is {hz}, and must be 1 to 1000000")
        self._jiffy = 1_000_000_000 // hz
        self._ticks = -(-_BEARS // self._jiffy)
        self._arrivals = 0
        self._expired = 0

    def enqueue(self, t: Task, write: bool, alone: bool = False) -> Waiter:
        """A new entry for `t`, whose deadline starts to run now.

        Args:
            alone: nobody else is queued: numbers begin anew, so that how many came before makes no other state.
        """
        if alone:
            self._arrivals = self._expired = 0
        self._arrivals = number = self._arrivals + 1
        # Passed means: the jiffies counter is strictly later, so the tick after the last one allowed.
        tick = t.engine.now // self._jiffy + self._ticks + 1
        return Waiter(t, write, number, tick * self._jiffy)

    def passed(self, t: Task, waiter: Waiter) -> bool:
        """Whether the deadline of `waiter` has passed; `t` is who asks, and draws in an exploring run."""
        if not t.traps:
            return t.engine.now >= waiter.deadline
        if waiter.number <= self._expired:
            return True
        if t.draw("rwsem.deadline", 2):
            self._expired = waiter.number
            return True
        return False


def on_cpu(task: Task) -> bool:
    """Whether `task` runs or spins, rather than sleeps (a timer is not seen as sleep)."""
    task.touch_task("r")
    on = task.parked_on
    # Waiters of spinning locks are parked for the engine, and busy for the kernel.
    return on is None or isinstance(on, QueuedRwLock) or getattr(on, "spins", False)
