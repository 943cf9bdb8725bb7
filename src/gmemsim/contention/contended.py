"""Waits as `perf lock contention` counts them: from a `contention_begin` to the lock, by lock type and caller.

What perf cannot see is not counted: the wait for a folio lock has no such tracepoint, and a writer of an rw-semaphore
that spins until it has the lock never comes to one (kernel/locking/rwsem.c: after `rwsem_optimistic_spin` failed). A
caller is the kernel function that takes the lock: the nearest frame of the model's kernel or of the patch.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..audit.events import Contended, Lock
from ..engine.locks.kinds import perf_type
from .lock_book import caller

if TYPE_CHECKING:
    from ..engine.locks.stats import LockClass
    from ..engine.task import Task

_WITH_MODE: Final = frozenset({"rwsem", "rwlock", "pcpu-sem", "rwlock-rt"})


@attrs.frozen
class Contention:
    """Waits of one type and caller; times in virtual ns."""

    type: str
    caller: str
    count: int
    total: int
    longest: int

    @property
    def average(self) -> int:
        return self.total // self.count


class ContentionBook:
    """Fed with the events of a run; `rows` is the table so far."""

    def __init__(self) -> None:
        self._since: dict[tuple[int, str], tuple[int, str, str]] = {}
        self._sums: dict[tuple[str, str], list[int]] = {}

    def event(self, t: Task, event: Any) -> None:
        """Take note of an event of a timed run."""
        kind = event.__class__
        if kind is Contended:
            name = perf_type(event.lock)
            if name:
                mode = f":{event.mode.upper()}" if name in _WITH_MODE else ""
                self._since[t.ident, event.lock] = (t.engine.now, name + mode, caller(sys._getframe(1)))
        elif kind is Lock:
            began = self._since.pop((t.ident, event.lock), None)
            if began is not None:
                since, name, function = began
                sums = self._sums.setdefault((name, function), [0, 0, 0])
                waited = t.engine.now - since
                sums[0] += 1
                sums[1] += waited
                sums[2] = max(sums[2], waited)

    def short(self, cls: LockClass, ns: int) -> None:
        """Take note of a wait for a short spinlock (`engine/cpus.py`), within the call."""
        sums = self._sums.setdefault(("spinlock", caller(sys._getframe(2))), [0, 0, 0])
        sums[0] += 1
        sums[1] += ns
        sums[2] = max(sums[2], ns)

    def rows(self) -> tuple[Contention, ...]:
        """Longest total wait first."""
        rows = [Contention(*key, *sums) for key, sums in self._sums.items()]
        return tuple(sorted(rows, key=lambda row: (-row.total, row.type, row.caller)))


def perf_report(rows: tuple[Contention, ...]) -> str:
    """The table in the columns of `perf lock contention`; lines end in a newline."""
    from ..audit.lock_table import format_ns

    lines = [
        f"{'contended':>10} {'total wait':>12} {'max wait':>12} {'avg wait':>12} {'type':>12}   caller",
        "",
    ]
    for row in rows:
        times = " ".join(f"{format_ns(ns):>12}" for ns in (row.total, row.longest, row.average))
        lines.append(f"{row.count:>10} {times} {row.type:>12}   {row.caller}")
    return "\n".join(lines) + "\n"
