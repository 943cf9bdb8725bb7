"""The calls of a read/write lock that takes one step for each, said once; a subclass says who is admitted.

`rwsem` does not share them: its fast paths run at every modelled page fault and are written out. Nor do locks whose
calls are several steps (`rwsem_fine`) or other locks' (`rival_srcu`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...audit.events import Lock, Unlock
from .rwsem_base import RwLockBase

if TYPE_CHECKING:
    from ..task import Task


class OneStepRwLock(RwLockBase):
    """Calls of a read/write lock, each announced as a write.

    A subclass answers `_may_read` and `_may_write` (for somebody who arrives), acquires in `_down`, and lets others in
    in `_left`.
    """

    __slots__ = ()

    def _may_read(self) -> bool:
        raise NotImplementedError

    def _may_write(self) -> bool:
        raise NotImplementedError

    async def _down(self, t: Task, write: bool, killable: bool) -> int:
        """Acquire: 0, or -EINTR without the lock."""
        raise NotImplementedError

    def _left(self, t: Task, after_write: bool) -> None:
        """A hold is gone; `after_write`: it was exclusive (if downgraded, it is a shared one by now)."""
        raise NotImplementedError

    async def _charge(self, t: Task, write: bool) -> None:
        """What half of a pair of acquire and release costs in a timed run."""
        if t.engine.cpus is not None if write else self.line_ns:
            await self._move_line(t)

    async def down_read(self, t: Task) -> None:
        """Acquire shared."""
        await self._down(t, False, False)

    async def down_write(self, t: Task) -> None:
        """Acquire exclusively."""
        await self._down(t, True, False)

    async def down_read_killable(self, t: Task) -> int:
        """Acquire shared unless a signal comes first: 0, or -EINTR without the lock."""
        return await self._down(t, False, True)

    async def down_write_killable(self, t: Task) -> int:
        """Acquire exclusively unless a signal comes first: 0, or -EINTR without the lock."""
        return await self._down(t, True, True)

    async def down_read_trylock(self, t: Task) -> bool:
        """Acquire shared if a newcomer is admitted."""
        if t.traps:
            await t.point(self._try_w)
        if not self._may_read():
            return False
        self._hold_read(t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "r"))
        return True

    async def down_write_trylock(self, t: Task) -> bool:
        """Acquire exclusively if a newcomer is admitted."""
        if t.traps:
            await t.point(self._try_w)
        if not self._may_write():
            return False
        self._hold_write(t)
        if t.rec is not None:
            t.rec(t, Lock(self.label, "w"))
        return True

    async def up_read(self, t: Task) -> None:
        """Release one shared hold of `t`.

        Raises:
            ModelError: `t` has none.
        """
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "r"))
        if t.traps:
            await t.point(self._release_w)
        else:
            await self._charge(t, False)
        self._drop_read(t)
        self._left(t, False)

    async def up_write(self, t: Task) -> None:
        """Release the exclusive hold of `t`.

        Raises:
            ModelError: `t` has none.
        """
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
        if t.traps:
            await t.point(self._release_w)
        else:
            await self._charge(t, True)
        self._drop_write(t)
        self._left(t, True)

    async def downgrade_write(self, t: Task) -> None:
        """Turn the exclusive hold of `t` into a shared one.

        Raises:
            ModelError: `t` does not hold the lock exclusively.
        """
        if t.traps:
            await t.point(self._release_w)
        self._drop_write(t)
        self._hold_read(t)
        if t.rec is not None:
            t.rec(t, Unlock(self.label, "w"))
            t.rec(t, Lock(self.label, "r"))
        self._left(t, True)
