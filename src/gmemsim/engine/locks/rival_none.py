"""No lock at all: what the folio locks and the invalidation sequence keep apart by themselves.

The baseline of every comparison, and close to the truth for guest faults of the earlier patch versions, which
never take the invalidate lock. Operations take no step, wait for nobody and log nothing; only counts and hold
times are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..errors import ModelError
from .rwsem_base import RwLockBase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task
    from .stats import LockClass


class NoLock(RwLockBase):
    """A read/write lock that admits everybody.

    Args:
        line_ns: accepted and ignored.
    """

    __slots__ = ("_writers",)

    excludes: ClassVar[bool] = False

    def __init__(self, label: str, cls: LockClass | None = None, *, line_ns: int = 0) -> None:
        super().__init__(label, cls, line_ns=0)
        self._writers: dict[Task, int] = {}

    def holders(self) -> Iterable[str]:
        """Everybody inside, readers first."""
        return [task.name for task in (*self._readers, *self._writers)]

    def is_locked(self) -> bool:
        """Whether anybody is inside."""
        return bool(self._readers or self._writers)

    def write_held(self, t: Task) -> bool:
        """Whether `t` is inside as a writer."""
        return t in self._writers

    async def down_read(self, t: Task) -> None:
        """Count a reader."""
        self._hold_read(t)

    async def down_read_killable(self, t: Task) -> int:
        """Count a reader; always 0."""
        self._hold_read(t)
        return 0

    async def down_read_trylock(self, t: Task) -> bool:
        """Count a reader; always True."""
        self._hold_read(t)
        return True

    async def up_read(self, t: Task) -> None:
        """Count a reader out.

        Raises:
            ModelError: `t` is not one.
        """
        self._drop_read(t)

    async def down_write(self, t: Task) -> None:
        """Count a writer.

        Raises:
            ModelError: `t` is one already.
        """
        if t in self._writers:
            raise ModelError(f"{t.name} write-locks {self.label} twice")
        self._writers[t] = t.engine.now
        self._write.acquisitions += 1

    async def down_write_killable(self, t: Task) -> int:
        """Count a writer; always 0."""
        await self.down_write(t)
        return 0

    async def down_write_trylock(self, t: Task) -> bool:
        """Count a writer; always True."""
        await self.down_write(t)
        return True

    async def up_write(self, t: Task) -> None:
        """Count a writer out.

        Raises:
            ModelError: `t` is not one.
        """
        since = self._writers.pop(t, None)
        if since is None:
            raise self._not_writer(t)
        self._write.held(t.engine.now - since)

    async def downgrade_write(self, t: Task) -> None:
        """Make a reader of a writer.

        Raises:
            ModelError: `t` is not one.
        """
        await self.up_write(t)
        self._hold_read(t)
