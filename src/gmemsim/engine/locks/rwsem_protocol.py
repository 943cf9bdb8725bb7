"""`RwLock`: what every sleeping read/write lock of the model can do, whatever its policy and grain.

The method names are the kernel's. A caller passes its task (the kernel's `current`) first and awaits every
operation that another task could observe; `is_locked`, `write_held`, `read_held`, `holders` and `statistics`
only look.

Prior art: trio's own primitives share no interface on purpose, because their differences matter to callers.
Here the point is the reverse: one scenario must run under any policy of `policies.LOCK_POLICIES`, so that
only the policy differs. What a policy does *not* promise it says in `excludes` and in its docstring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task
    from .stats import LockClass, LockStatistics


class RwLock(Protocol):
    """A read/write lock whose waiters sleep.

    Attributes:
        excludes: whether a writer keeps readers (and other writers) out; False only for policies that exist
            to show what breaks without it.
    """

    __slots__ = ()

    excludes: ClassVar[bool]

    def __init__(self, label: str, cls: LockClass | None = None, *, line_ns: int = 0) -> None:
        """Create an unlocked lock.

        Args:
            label: stable name in logs and ops.
            cls: accumulator of lock statistics, shared by locks of one class; a private one by default.
            line_ns: virtual ns to move the cache line of the reader count to another CPU (timed runs).
        """

    @property
    def label(self) -> str:
        """Stable name in logs and ops."""
        ...

    @property
    def cls(self) -> LockClass:
        """The class that the lock's counters are kept in."""
        ...

    def holders(self) -> Iterable[str]:
        """Names of the tasks that hold the lock, in order of acquisition."""
        ...

    def is_locked(self) -> bool:
        """`rwsem_is_locked`: held in either mode, or somebody is queued."""
        ...

    def write_held(self, t: Task) -> bool:
        """Whether `t` holds the lock exclusively."""
        ...

    def read_held(self, t: Task) -> bool:
        """Whether `t` holds the lock shared."""
        ...

    def statistics(self) -> LockStatistics:
        """Frozen counters, holders and queue."""
        ...

    async def down_read(self, t: Task) -> None:
        """Acquire shared; waits as long as it takes."""

    async def down_write(self, t: Task) -> None:
        """Acquire exclusively; waits as long as it takes."""

    async def down_read_killable(self, t: Task) -> int:
        """Acquire shared unless a signal comes first: 0, or -EINTR without the lock."""
        ...

    async def down_write_killable(self, t: Task) -> int:
        """Acquire exclusively unless a signal comes first: 0, or -EINTR without the lock."""
        ...

    async def down_read_trylock(self, t: Task) -> bool:
        """Acquire shared if that needs no waiting."""
        ...

    async def down_write_trylock(self, t: Task) -> bool:
        """Acquire exclusively if that needs no waiting."""
        ...

    async def up_read(self, t: Task) -> None:
        """Release one shared hold of `t`.

        Raises:
            ModelError: `t` has none.
        """

    async def up_write(self, t: Task) -> None:
        """Release the exclusive hold of `t`.

        Raises:
            ModelError: `t` has none.
        """

    async def downgrade_write(self, t: Task) -> None:
        """Turn the exclusive hold of `t` into a shared one; no writer gets in between.

        Raises:
            ModelError: `t` does not hold the lock exclusively.
        """
