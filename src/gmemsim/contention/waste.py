"""Work that was for nothing: fault attempts that were retried, and calls of the arch hook that had nothing to do.

A retry is *false* if no invalidation that ran between the fault's snapshot of `mmu_invalidate_seq` and its test
zapped the fault's gfn. KVM keeps one sequence a VM and one range, the union of all that are in progress, so a fault
beside them is retried too (`mmu_invalidate_retry_gfn`); exact ranges would have let it through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from ..audit import kvm_events as kvm

if TYPE_CHECKING:
    from ..engine.task import Task


@attrs.frozen
class Waste:
    """What was counted.

    Attributes:
        retries: by reason of the event `retry`: early, late, stale, invalid_slot, spte.
        false_retries: of early and late ones, those that no zapped range asked for.
        prepares: calls of the arch hook; `no_ops`: those that had nothing to do.
    """

    retries: dict[str, int] = attrs.field(factory=dict)
    false_retries: int = 0
    prepares: int = 0
    no_ops: int = 0

    @property
    def all_retries(self) -> int:
        return sum(self.retries.values())


class _Invalidation:
    """One of them, from its start to its end; `end` None while it runs."""

    __slots__ = ("end", "ranges")

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []
        self.end: int | None = None


#: What `WasteBook` wants to know of.
WASTE_EVENTS: Final = frozenset({
    kvm.Faultin, kvm.MakePrivateRet, kvm.MmuInvEnd, kvm.MmuInvStart, kvm.MmuNotifierStart, kvm.PrepareRet,
    kvm.Retry, kvm.Zap,
})  # fmt: skip


class WasteBook:
    """Fed with the events of a run of one VM; `waste` is the sum so far."""

    def __init__(self) -> None:
        self._retries: dict[str, int] = {}
        self._false = 0
        self._prepares = 0
        self._no_ops = 0
        self._time = 0
        self._all: list[_Invalidation] = []
        #: Index of the first that may still run.
        self._first = 0
        self._running: dict[int, _Invalidation] = {}
        #: By task, at its snapshot: the first that could still run, and the moment.
        self._snapshots: dict[int, tuple[int, int]] = {}

    def event(self, t: Task, event: Any) -> None:
        """Take note."""
        kind = event.__class__
        self._time += 1
        if kind is kvm.Faultin:
            self._snapshots[t.ident] = (self._first, self._time)
        elif kind is kvm.PrepareRet or kind is kvm.MakePrivateRet:
            self._prepares += 1
            self._no_ops += not event.did
        elif kind is kvm.Zap:
            running = self._running.get(t.ident)
            if running is not None:
                running.ranges.append((event.start, event.end))
        elif kind is kvm.MmuInvStart or kind is kvm.MmuNotifierStart:
            self._running[t.ident] = found = _Invalidation()
            self._all.append(found)
        elif kind is kvm.MmuInvEnd:
            ended = self._running.pop(t.ident, None)
            if ended is not None:
                ended.end = self._time
            while self._first < len(self._all) and self._all[self._first].end is not None:
                self._first += 1
        elif kind is kvm.Retry:
            self._retries[event.reason] = self._retries.get(event.reason, 0) + 1
            if event.reason in ("early", "late"):
                self._false += not self._asked_for(t, event.gfn)

    def _asked_for(self, t: Task, gfn: int) -> bool:
        first, moment = self._snapshots.get(t.ident, (0, 0))
        return any(
            start <= gfn < end
            for found in self._all[first:]
            if found.end is None or found.end > moment
            for start, end in found.ranges
        )

    def waste(self) -> Waste:
        """The sum so far."""
        return Waste(dict(sorted(self._retries.items())), self._false, self._prepares, self._no_ops)
