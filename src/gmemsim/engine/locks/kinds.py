"""What a lock says of itself by its class: whether who waits for it, or holds it, may sleep.

A rule about sleeping asks here, and never how a lock is called. Locks say it when they are made; a family of locks,
such as those of a file's folios, says it once, by what comes before the index.
"""

from __future__ import annotations

__all__ = ["declare", "sleeps"]

_sleeps: dict[str, bool] = {}


def declare(label: str, *, sleeping: bool) -> None:
    """A lock, or a family of locks `LABEL[INDEX]`, was made."""
    _sleeps[label] = sleeping


def sleeps(label: str) -> bool | None:
    """Whether the lock of that label sleeps; None if no such lock was made."""
    found = _sleeps.get(label)
    return _sleeps.get(label.rpartition("[")[0]) if found is None and label[-1:] == "]" else found
