"""Contention as hardware does it: locks that never queue, and software that spins because of them.

A `TryLock` answers at once, taken or busy; nobody waits in it. Whoever retries does so outside, in a loop
of its own, and `SpinWait` is one turn of such a loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.errors import ModelError
from ..engine.observed import announces, whole
from ..engine.op import ALL, Op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..engine.task import Task


def _nobody() -> Iterable[str]:
    return ()


@announces(_waiters=whole(lambda wait: (wait.label, 0, ALL)))
class SpinWait:
    """One turn of a spin loop.

    In a timed run a turn costs time. In an exploring run all turns between two changes of the object are
    the same step that changes nothing, so the task sleeps until `changed`: no schedule of interest is lost,
    and a strategy that is unfair to the others cannot spin forever. If nothing ever changes, the engine
    reports a deadlock on this object's label.

    Attributes:
        turns, spun_ns: spins of a timed run, and the virtual time that went into them.
    """

    __slots__ = ("_holders", "_op", "_waiters", "label", "spun_ns", "turns")

    def __init__(self, label: str, holders: Callable[[], Iterable[str]] = _nobody) -> None:
        self.label = label
        self._holders = holders
        self._op = Op("wait", label)
        self._waiters: list[Task] = []
        self.turns = 0
        self.spun_ns = 0

    def holders(self) -> Iterable[str]:
        return self._holders()

    async def turn(self, t: Task, ns: int) -> None:
        """Spin once (`ns` virtual ns, at least 1 so that time moves on even when everything is free)."""
        if t.traps:
            self._waiters.append(t)
            await t.park(self, self._op)
        else:
            self.turns += 1
            self.spun_ns += max(ns, 1)
            await t.spend(max(ns, 1))

    async def until_changed(self, t: Task) -> None:
        """Spin until `changed`, for an object that one spinner after another gets (timed runs; exploring: `turn`).

        Every spinner tries again and again, and all but one fail. Only the one that succeeds is run again: the
        first that came, at the moment of the change. Who succeeds on hardware is open, and that the loser of a turn
        notices up to a turn later is left out; in exchange N spinners cost N steps and not N times N.
        """
        if t.traps:
            await self.turn(t, 0)
            return
        began = t.engine.now
        self._waiters.append(t)
        await t.park(self, self._op)
        self.turns += 1
        self.spun_ns += t.engine.now - began

    def changed(self, t: Task) -> None:
        """Something happened that may end the spin of others."""
        if not self._waiters:
            return
        if not t.traps:
            t.engine.wake(self._waiters.pop(0))
            return
        waiters, self._waiters = self._waiters, []
        for task in waiters:
            t.engine.wake(task)


@announces(owner=lambda lock: (lock.label, 0, ALL))
class TryLock:
    """A lock of hardware or firmware with shared and exclusive mode: taken or busy, at once.

    Attributes:
        owner: who holds it exclusively, or None.
        sharers: number of shared holds.
        wait: for tasks that retry.
    """

    __slots__ = ("_ops", "label", "owner", "sharers", "wait")

    def __init__(self, label: str) -> None:
        self.label = label
        self.owner: Task | None = None
        self.sharers = 0
        self.wait = SpinWait(f"{label}.retry")
        self._ops = (
            Op("try", label, mode="r"),
            Op("try", label),
            Op("release", label, mode="r"),
            Op("release", label),
        )

    async def try_lock(self, t: Task, exclusive: bool) -> bool:
        """Take the lock, or return False; never waits."""
        if t.traps:
            await t.point(self._ops[exclusive])
        if self.owner is not None or (exclusive and self.sharers):
            return False
        if exclusive:
            self.owner = t
        else:
            self.sharers += 1
        return True

    async def unlock(self, t: Task, exclusive: bool) -> None:
        """Give the lock back in the mode that it was taken in.

        Raises:
            ModelError: `t` does not hold it so.
        """
        if t.traps:
            await t.point(self._ops[2 + exclusive])
        if exclusive:
            if self.owner is not t:
                raise ModelError(f"{t.name} releases {self.label} without holding it exclusively")
            self.owner = None
        else:
            if not self.sharers:
                raise ModelError(f"{t.name} releases {self.label}, which nobody shares")
            self.sharers -= 1
        self.wait.changed(t)
