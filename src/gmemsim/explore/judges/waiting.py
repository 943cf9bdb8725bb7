"""Bounded waiting: a task asleep in a lock's queue is passed over no more often than the lock's policy allows.

Counted is every acquisition by a task that came after the waiter, while the waiter sleeps. A waiter that was woken and
has not run yet is not counted against the lock: that is the scheduler's doing, and an exploring strategy is as unfair
as it likes.

What a policy promises:

| lock | bound | from |
|---|---|---|
| queued rwlock, queued spinlock | 0 | granted in the order of arrival (kernel/locking/qrwlock.c, qspinlock.c) |
| `FifoFair` | 0 | the policy |
| all others | none | |

The rw-semaphore is among the others: what bounds its waiters is time (4 ms until HANDOFF, rwsem.md N1, N3, P6), and in
those any number of writers may barge. So are the mutex and the folio lock, which hand over to a waiter that lost often
enough, but let any number barge while a woken waiter has not run. Who wants to hold them to a number gives one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from ...audit.events import Contended, Lock, LockRequest, Unlock
from ...engine.locks.kinds import class_of
from ...engine.locks.rivals import FifoFair
from ...engine.locks.spinlock import QueuedRwLock
from ...oracles.exact import Exact
from ...oracles.violation import Violation
from ..search import watch_events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...audit.recorder import Rec
    from ...engine.task import Task
    from ..failure import Failure
    from ..runs import Run


def bound_of(lock: object) -> int | None:
    """How often a waiter may be passed over; None: the policy does not say."""
    return 0 if isinstance(lock, (QueuedRwLock, FifoFair)) else None


class _Waiter:
    __slots__ = ("arrived", "passed")

    def __init__(self, arrived: int) -> None:
        self.arrived = arrived
        self.passed: list[str] = []


class BoundedWaiting:
    """An `Observer` that counts who is passed over; breaks the rule `bounded_waiting`.

    Args:
        bounds: by lock class, in place of what the policy promises.

    Attributes:
        most: the most that a waiter was passed over so far, by lock class, whether or not there is a bound.
    """

    exact: ClassVar[Exact] = Exact(
        caching=True,
        reduction=False,
        why="a request is counted when it is made, which independent steps of others come before or after",
    )

    def __init__(self, bounds: Mapping[str, int] | None = None) -> None:
        self.bounds = dict(bounds or {})
        self.most: dict[str, int] = {}
        self._begin()

    def _begin(self) -> None:
        self._now = 0
        self._waiters: dict[str, dict[Task, _Waiter]] = {}
        self._asked: dict[tuple[Task, str], int] = {}
        self._let_go: dict[tuple[Task, str], int] = {}

    def attach(self, run: Run) -> None:
        """Look at a run that is about to start."""
        self._begin()
        watch_events(run.engine, cast("Rec", self._event))
        # Who takes a signal out of the queue does not say so: it is seen to run.
        run.engine.watch_steps(self._step)
        run.engine.roots.append(self)

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """The run ended."""

    def __digest__(self) -> object:
        """Of every lock that promises something and has sleepers: who came before whom, and who was passed over."""
        found = []
        for label, waiters in self._waiters.items():
            lock = next((task.parked_on for task in waiters if task.parked_on is not None), None)
            if lock is None or self._bound(label, lock) is None:
                continue
            order = [(one.arrived, task.name, len(one.passed)) for task, one in waiters.items()]
            order += [
                (arrived, task.name, -1)
                for (task, asked), arrived in self._asked.items()
                if asked == label and task not in waiters
            ]
            found.append((label, tuple(part[1:] for part in sorted(order))))
        return tuple(sorted(found))

    def _bound(self, label: str, lock: object) -> int | None:
        bound = self.bounds.get(class_of(label))
        return bound_of(lock) if bound is None else bound

    def _step(self, t: Task) -> None:
        if t.pending.kind != "wait":
            for waiters in self._waiters.values():
                waiters.pop(t, None)

    def _event(self, t: Task, event: Any) -> None:
        kind = type(event)
        if kind is LockRequest:
            self._now += 1
            self._asked[t, event.lock] = self._now
        elif kind is Contended:
            self._now += 1
            self._waiters.setdefault(event.lock, {})[t] = _Waiter(self._now)
        elif kind is Lock:
            # Let go and taken in one step is a downgrade: the lock was never free, and nobody came in.
            if self._let_go.pop((t, event.lock), None) != t.engine.steps:
                self._got(t, event.lock)
        elif kind is Unlock:
            self._asked.pop((t, event.lock), None)
            self._let_go[t, event.lock] = t.engine.steps

    def _got(self, t: Task, label: str) -> None:
        self._now += 1
        asked = self._asked.pop((t, label), self._now)
        waiters = self._waiters.get(label)
        if not waiters:
            return
        mine = waiters.pop(t, None)
        came = asked if mine is None else mine.arrived
        for other, waiter in waiters.items():
            lock = other.parked_on
            if lock is None or waiter.arrived > came:
                continue
            waiter.passed.append(t.name)
            self._judge(other, waiter, label, lock, t)

    def _judge(self, other: Task, waiter: _Waiter, label: str, lock: object, t: Task) -> None:
        name = class_of(label)
        count = len(waiter.passed)
        self.most[name] = max(self.most.get(name, 0), count)
        bound = self._bound(label, lock)
        if bound is not None and count > bound:
            raise Violation(
                "bounded_waiting",
                f"{other.name} sleeps in the queue of {label} and was passed over {count} times, {bound} allowed, "
                f"by {', '.join(waiter.passed)}",
                t.name,
                None,
                {"lock": label, "waiter": other.name, "passed": tuple(waiter.passed), "bound": bound},
                call=t.call,
                now=t.engine.now,
            )
