"""What a lock says of itself when it is made: its class, and whether who waits for it, or holds it, may sleep.

Who wants to know asks here, and never how a lock is called. A family of locks, such as those of a file's folios, says
it once, by what comes before the index.
"""

from __future__ import annotations

from typing import NamedTuple


class _Said(NamedTuple):
    sleeping: bool | None
    kind: str


_said: dict[str, _Said] = {}


def declare(label: str, kind: str, *, sleeping: bool | None) -> None:
    """A lock, or a family of locks `LABEL[INDEX]`, was made.

    Args:
        kind: name of its class, in the sense of lockdep; empty: it states none.
        sleeping: None: neither, as a read section of SRCU, in which one may sleep and for which nobody waits.
    """
    _said[label] = _Said(sleeping, kind)


def _of(label: str) -> _Said | None:
    found = _said.get(label)
    return _said.get(label.rpartition("[")[0]) if found is None and label[-1:] == "]" else found


def sleeps(label: str) -> bool | None:
    """Whether the lock of that label sleeps; None if no such lock was made."""
    found = _of(label)
    return None if found is None else found.sleeping


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
