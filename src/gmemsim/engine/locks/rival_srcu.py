"""The invalidate lock as an SRCU domain: readers never wait, a writer waits for the readers that it finds.

*Not* a read/write lock: a reader that starts after the writer has begun runs beside it, so whatever the lock
protects must cope (KVM's own page faults do, with a sequence count). It is here to show what breaks, and what
the wait would cost, if SRCU took the rw-semaphore's place. Writers exclude each other with a mutex, as
`slots_lock` does around `synchronize_srcu`. Source: Guniguntala, McKenney, Triplett and Walpole, "The
read-copy-update mechanism for supporting real-time applications on shared-memory multiprocessor systems with
Linux", IBM Systems Journal 47(2), 2008.

Waiting is not killable. After a downgrade the task is an ordinary reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ...audit.events import Contended, Lock, LockRequest, Unlock
from ..errors import ModelError
from ..op import Op
from .mutex import Mutex
from .rwsem_base import RwLockBase
from .srcu import Srcu

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task
    from .stats import LockClass


class SrcuRwLock(RwLockBase):
    """Readers in SRCU sections, writers after a mutex and a grace period.

    Args:
        line_ns: accepted and ignored: a reader touches only its CPU's counters.
    """

    __slots__ = ("_indices", "_mutex", "_readers_op", "_srcu", "_synchronizing")

    excludes: ClassVar[bool] = False

    def __init__(self, label: str, cls: LockClass | None = None, *, line_ns: int = 0) -> None:
        super().__init__(label, cls, line_ns=0)
        self._srcu = Srcu(f"{label}.srcu")
        self._readers_op = Op("wait", self._srcu.label)
        self._mutex = Mutex(f"{label}.writers")
        self._indices: dict[Task, list[int]] = {}
        self._synchronizing: Task | None = None

    def holders(self) -> Iterable[str]:
        """The readers, and the writer beside them."""
        readers = [task.name for task in self._readers]
        return readers if self._writer is None else [*readers, self._writer.name]

    def _waiting(self) -> Iterable[Task]:
        return () if self._synchronizing is None else (self._synchronizing,)

    async def down_read(self, t: Task) -> None:
        """`srcu_read_lock`: never waits."""
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, "r"))
        await self._enter(t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "r"))

    async def down_read_killable(self, t: Task) -> int:
        """As `down_read`; always 0."""
        await self.down_read(t)
        return 0

    async def down_read_trylock(self, t: Task) -> bool:
        """As `down_read`; always True."""
        await self._enter(t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "r"))
        return True

    async def up_read(self, t: Task) -> None:
        """`srcu_read_unlock`.

        Raises:
            ModelError: `t` is not in a section.
        """
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "r"))
        indices = self._indices.get(t)
        if not indices:
            raise ModelError(f"{t.name} read-unlocks {self.label} without holding it")
        index = indices.pop()
        if not indices:
            del self._indices[t]
        await self._srcu.read_unlock(t, index)
        self._drop_read(t)

    async def down_write(self, t: Task) -> None:
        """Exclude other writers, then wait for the readers of this moment.

        Raises:
            ModelError: `t` is in a section of its own (in the kernel: a hang).
        """
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, "w"))
        began = t.engine.now
        await self._mutex.lock(t)
        # In the mutex's step; whoever enters or leaves a section comes before or behind it.
        t.touch(self._readers_op)
        readers = bool(self._readers)
        if readers and t.rec is not None:
            t.rec(t, Contended(self.label, "w"))
        self._synchronizing = t
        await self._srcu.synchronize(t)
        self._synchronizing = None
        self._hold_write(t)
        if readers or t.engine.now > began:
            self._write.waited(t.engine.now - began)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "w"))

    async def down_write_killable(self, t: Task) -> int:
        """As `down_write`; always 0."""
        await self.down_write(t)
        return 0

    async def down_write_trylock(self, t: Task) -> bool:
        """False: waiting for readers is all that a writer does here."""
        if t.traps:
            await t.point(self._try_w)
        return False

    async def up_write(self, t: Task) -> None:
        """Let the next writer begin.

        Raises:
            ModelError: `t` is not the writer.
        """
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
        self._drop_write(t)
        await self._mutex.unlock(t)

    async def downgrade_write(self, t: Task) -> None:
        """Become a reader, then let the next writer begin (it waits for this section).

        Raises:
            ModelError: `t` is not the writer.
        """
        if self._writer is not t:
            raise self._not_writer(t)
        await self._enter(t)
        self._drop_write(t)
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
            t.rec(t, Lock(self.label, "r"))
        await self._mutex.unlock(t)

    async def _enter(self, t: Task) -> None:
        self._indices.setdefault(t, []).append(await self._srcu.read_lock(t))
        self._hold_read(t)
