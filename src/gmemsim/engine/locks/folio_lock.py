"""The folio lock (`PG_locked` with its wait queue): a sleeping bit lock, one per folio.

A page has no room for a queue, so neither has `FolioLock`: the bit is the owner, and the waiters of all folios
that share a `FolioLockClass` live in one table that has an entry only while somebody waits. `folio_unlock`
clears the bit and wakes the first waiter, which tries again and may lose to a task that came by. A loser queues
anew, at the tail; one that has lost `PAGE_LOCK_UNFAIRNESS` times is marked (WQ_FLAG_CUSTOM) and has the bit handed over
when it is the first again (mm/filemap.c `folio_wait_bit_common`, sysctl page_lock_unfairness = 5).

The bit and the reference count are on one cache line, `struct folio`'s first. With `Engine.cpus` operations on either
move it (`move_line`); who has it and until when is one number here, because there is a lock for every folio.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from ...audit.events import Contended, Lock, Unlock
from ..cpus import Line
from ..errors import ModelError
from ..op import Op
from .kinds import declare
from .stats import LockClass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task

PAGE_LOCK_UNFAIRNESS: Final = 5
#: More than a machine has CPUs, plus one; the tasks of a long run share their numbers.
_CPUS: Final = 1 << 12


class FolioLockClass(LockClass):
    """Counters and wait queues shared by the folio locks of one inode.

    Attributes:
        waiters: by lock, in order, each with whether the bit is handed over to it.
    """

    __slots__ = ("waiters",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.waiters: dict[FolioLock, deque[tuple[Task, bool]]] = {}


class FolioLock:
    """The lock of one folio.

    Attributes:
        owner: the task that holds the bit, or None.
        obj: label of the mapping; together with `index` it names the lock.
    """

    __slots__ = ("_line", "_since", "cls", "index", "obj", "owner")

    def __init__(self, obj: str, index: int, cls: FolioLockClass) -> None:
        self.obj = obj
        declare(obj, "folio", sleeping=True)
        self.index = index
        self.cls = cls
        self.owner: Task | None = None
        self._since = 0
        #: When the line is free, and below that the number of the CPU that has it, plus one.
        self._line = 0

    @property
    def label(self) -> str:
        return f"{self.obj}[{self.index}]"

    @property
    def locked(self) -> bool:
        return self.owner is not None

    def holders(self) -> Iterable[str]:
        return () if self.owner is None else (self.owner.name,)

    def _op(self, kind: str) -> Op:
        return Op(kind, self.obj, self.index, self.index + 1)  # type: ignore[arg-type] # callers pass literals

    async def lock(self, t: Task) -> None:
        """`folio_lock`.

        Raises:
            ModelError: `t` holds it already (in the kernel: a hang).
        """
        if t.traps:
            await t.point(self._op("acquire"))
        elif (cpus := t.engine.cpus) is not None:
            await self.move_line(t, cpus.costs.folio_lock // 2)
        if self.owner is None:
            self._take(t)
            return
        if self.owner is t:
            raise ModelError(f"{t.name} locks folio {self.label} twice")
        if t.rec is not None:
            t.rec(t, Contended(self.label, "w"))
        engine = t.engine
        began = engine.now
        waiters = self.cls.waiters
        lost = 0
        while True:
            waiters.setdefault(self, deque()).append((t, lost >= PAGE_LOCK_UNFAIRNESS))
            await t.park(self, self._op("wait"))
            if self.owner in (None, t):
                break
            lost += 1
        self.cls.write.waited(engine.now - began)
        self._take(t)

    async def trylock(self, t: Task) -> bool:
        """`folio_trylock`: never waits."""
        if t.traps:
            await t.point(self._op("try"))
        elif (cpus := t.engine.cpus) is not None:
            await self.move_line(t, cpus.costs.folio_lock // 2)
        if self.owner is not None:
            return False
        self._take(t)
        return True

    async def unlock(self, t: Task) -> None:
        """`folio_unlock`: any task may do it (a page fault hands a locked folio to the mm core)."""
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
        if t.traps:
            await t.point(self._op("release"))
        elif (cpus := t.engine.cpus) is not None:
            await self.move_line(t, cpus.costs.folio_lock // 2)
        self.release(t)

    async def move_line(self, t: Task, ns: int) -> None:
        """Own the folio's line and work on it for `ns` (only with `Engine.cpus`)."""
        cpus = t.engine.cpus
        assert cpus is not None
        line = Line()
        line.free_at, owner = divmod(self._line, _CPUS)
        line.cpu = owner - 1
        spent = cpus.reach(t, line, "folio", ns)
        self._line = line.free_at * _CPUS + t.cpu % (_CPUS - 1) + 1
        await t.spend(spent)

    def release(self, t: Task) -> None:
        """The step of `unlock` without a trap before it.

        Raises:
            ModelError: the folio is not locked.
        """
        if self.owner is None:
            raise ModelError(f"{t.name} unlocks folio {self.label}, which is not locked")
        engine = t.engine
        self.cls.write.held(engine.now - self._since)
        self._since = 0
        self.owner = None
        queue = self.cls.waiters.get(self)
        if queue:
            waiter, handed = queue.popleft()
            if not queue:
                del self.cls.waiters[self]
            if handed:
                self.owner = waiter
            engine.wake(waiter, delay=engine.wake_ns)

    async def clear_locked(self, t: Task) -> None:
        """`__folio_clear_locked`: the bit goes, and nobody is woken; for a folio that no one else could see.

        Whoever saw it all the same, and sleeps, does so until a later unlock.
        """
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
        if t.traps:
            await t.point(self._op("release"))
        self.cls.write.held(t.engine.now - self._since)
        self.owner = None

    def take_new(self, t: Task) -> None:
        """Lock a folio that no one else can see yet (`__folio_set_locked`)."""
        self.owner = t
        self._since = t.engine.now
        self.cls.write.acquisitions += 1

    def _take(self, t: Task) -> None:
        self.take_new(t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "w"))
