"""SRCU: read sections that may sleep, and `synchronize` that waits for the sections open at that moment.

Two generations, as the kernel's two per-CPU counter banks: a grace period flips the index and waits for the old
bank to drain. Readers never wait, so they take no lock statistics beyond a count; the writer's wait is a
contention of mode `w`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ...audit.events import SrcuSync
from ..errors import ModelError
from ..op import Op
from .kinds import declare
from .stats import LockClass, LockStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task


class Srcu:
    """One `srcu_struct` (for KVM: `kvm->srcu`)."""

    __slots__ = ("_enter", "_exit", "_index", "_readers", "_sync", "_waiters", "cls", "label")

    def __init__(self, label: str) -> None:
        self.label = label
        self.cls = LockClass(label)
        declare(label, "srcu", sleeping=None)
        self._index = 0
        self._readers: tuple[dict[Task, int], dict[Task, int]] = ({}, {})
        self._waiters: deque[tuple[Task, int]] = deque()
        self._enter = Op("acquire", label, mode="r")
        self._exit = Op("release", label, mode="r")
        self._sync = Op("wait", label)

    def holders(self) -> Iterable[str]:
        return tuple(task.name for bank in self._readers for task in bank)

    async def read_lock(self, t: Task) -> int:
        """Enter a read section; the returned index goes back into `read_unlock`."""
        if t.traps:
            await t.point(self._enter)
        elif (cpus := t.engine.cpus) is not None:
            await t.spend(cpus.costs.srcu // 2)
        index = self._index
        bank = self._readers[index]
        bank[t] = bank.get(t, 0) + 1
        self.cls.read.acquisitions += 1
        return index

    async def read_unlock(self, t: Task, index: int) -> None:
        """Leave the read section that `index` came from.

        Raises:
            ModelError: `t` is not in such a section.
        """
        if t.traps:
            await t.point(self._exit)
        elif (cpus := t.engine.cpus) is not None:
            await t.spend(cpus.costs.srcu // 2)
        bank = self._readers[index]
        depth = bank.get(t, 0)
        if not depth:
            raise ModelError(f"{t.name} leaves an SRCU section of {self.label} that it is not in")
        if depth == 1:
            del bank[t]
        else:
            bank[t] = depth - 1
        if not bank and self._waiters:
            for waiter, waits_for in list(self._waiters):
                if waits_for == index:
                    self._waiters.remove((waiter, waits_for))
                    t.engine.wake(waiter)

    async def synchronize(self, t: Task) -> None:
        """`synchronize_srcu`: return once every section that is open now has been left.

        Raises:
            ModelError: called from inside a read section of the same domain (a self-deadlock).
        """
        if t.traps:
            await t.point(self._sync)
        if any(t in bank for bank in self._readers):
            raise ModelError(f"{t.name} synchronizes {self.label} inside its own read section")
        began = t.engine.now
        waited = False
        # Twice, because a reader may have picked up the old index before the flip of an earlier grace period.
        for _ in range(2):
            old = self._index
            self._index = 1 - old
            while self._readers[old]:
                waited = True
                self._waiters.append((t, old))
                await t.park(self, self._sync)
        if waited:
            self.cls.write.waited(t.engine.now - began)
        self.cls.write.acquisitions += 1
        if t.rec is not None:
            t.rec(t, SrcuSync(self.label))

    def statistics(self) -> LockStatistics:
        """Frozen counters and the tasks inside a read section."""
        return LockStatistics(
            self.label,
            self.cls.read.snapshot(),
            self.cls.write.snapshot(),
            tuple(self.holders()),
            tuple(task.name for task, _ in self._waiters),
        )
