"""What a lock says of itself when it is made: its class, and whether who waits for it, or holds it, may sleep.

Who wants to know asks here, and never how a lock is called. A family of locks, such as those of a file's folios, says
it once, by what comes before the index. Who counts what the locks of a run cost follows them with `Made`, as a version
makes locks of its own, wherever it keeps them.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from weakref import ReferenceType, ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .stats import LockClass


class _Said(NamedTuple):
    sleeping: bool | None
    kind: str
    perf: str


_said: dict[str, _Said] = {}


class AnyLock(Protocol):
    """What all locks have."""

    @property
    def label(self) -> str: ...
    @property
    def cls(self) -> LockClass: ...
    def holders(self) -> Iterable[str]: ...


class Made:
    """The locks that are made for one run, but those of folios, of which an inode has a class.

    Attributes:
        locks: in order; also those that were replaced since.
        classes: in the order of their first locks.
        tell: is told of each class from now on.
    """

    __slots__ = ("__weakref__", "classes", "locks", "tell")

    def __init__(self) -> None:
        self.locks: list[AnyLock] = []
        self.classes: dict[LockClass, None] = {}
        self.tell: Callable[[LockClass], object] | None = None

    def here(self) -> None:
        """The locks that are made from now on are this run's."""
        _run.set(ref(self))

    def add(self, lock: AnyLock) -> None:
        """It was made."""
        self.locks.append(lock)
        cls = lock.cls
        if cls not in self.classes:
            self.classes[cls] = None
            if self.tell is not None:
                self.tell(cls)


#: Whose locks are made. A run that is gone, or was a search's, follows none.
_run: Final[ContextVar[ReferenceType[Made] | None]] = ContextVar("made", default=None)


def nobody_follows() -> None:
    """The locks that are made from now on are of a run that counts nothing."""
    _run.set(None)


def declare(
    label: str, kind: str, *, sleeping: bool | None, perf: str = "", lock: AnyLock | None = None
) -> None:
    """A lock, or a family of locks `LABEL[INDEX]`, was made.

    Args:
        kind: name of its class, in the sense of lockdep; empty: it states none.
        sleeping: None: neither, as a read section of SRCU, in which one may sleep and for which nobody waits.
        perf: type of the lock in `perf lock contention`, without a mode; empty: perf does not see it.
        lock: itself, if it is one and no family.
    """
    _said[label] = _Said(sleeping, kind, perf)
    made = _run.get()
    if made is not None and lock is not None and (run := made()) is not None:
        run.add(lock)


def _of(label: str) -> _Said | None:
    found = _said.get(label)
    return _said.get(label.rpartition("[")[0]) if found is None and label[-1:] == "]" else found


def sleeps(label: str) -> bool | None:
    """Whether the lock of that label sleeps; None if no such lock was made."""
    found = _of(label)
    return None if found is None else found.sleeping


def perf_type(label: str) -> str:
    """Type of the lock of that label in `perf lock contention`; empty: perf does not see it, or there is none."""
    found = _of(label)
    return "" if found is None else found.perf


def class_of(label: str) -> str:
    """The class of the lock of that label.

    What states none, is no lock, or none of this process (it stands in a log), has only its name: what comes behind the
    owner's and before an index.
    """
    return stated(label) or label.rpartition(".")[2].partition("[")[0]


def stated(label: str) -> str:
    """The class that the lock of that label states; empty: none, or no such lock was made."""
    found = _of(label)
    return "" if found is None else found.kind
