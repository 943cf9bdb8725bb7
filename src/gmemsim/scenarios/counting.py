"""Counting what a run does: events by class, how faults ended, lock statistics of the measured part."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from ..audit import kvm_events as kvm
from ..audit.events import Lock, LockRequest, Receive, Send, Unlock
from ..audit.vocabulary import name_of
from ..engine.locks.stats import LockStatistics, ModeStatistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.task import Task

#: What a run that gets nowhere does not do.
_PROGRESS = (
    kvm.Clear,
    kvm.GuestTouch,
    kvm.HostTouch,
    kvm.PageCacheAdd,
    kvm.PageCacheDelete,
    kvm.PopulateCallback,
)
#: What a fault does that is tried again and again.
_ROUND = (
    kvm.Faultin, kvm.FaultinRet, kvm.FilemapGet, kvm.FilemapGetRet, kvm.GetFolio, kvm.GetFolioRet, kvm.GetPfn,
    kvm.GetPfnRet, Lock, LockRequest, kvm.Map, kvm.MapRet, kvm.PageFault, kvm.Prepare, kvm.PrepareRet,
    kvm.MakePrivate, kvm.MakePrivateRet, Receive, kvm.Retry, Send, kvm.TdpFault, kvm.TdpFaultRet, Unlock,
)  # fmt: skip


class Progress(NamedTuple):
    """What a run has done, in events.

    Attributes:
        events: all of them.
        beside: those that are no part of a fault that is tried again, or of taking a lock.
        pages: pages touched, added, removed or filled.
    """

    events: int
    beside: int
    pages: int


class EventCounter:
    """Counts events.

    Attributes:
        classes: number of events by class.
        returns: what stage-2 faults returned.
        retries: why faults were given up for now.
        exits: errno of memory-fault exits.
        sigbus: SIGBUS by whether it was for a poisoned page.
    """

    def __init__(self) -> None:
        self.classes: dict[type[Any], int] = {}
        self.returns: Counter[int] = Counter()
        self.retries: Counter[str] = Counter()
        self.exits: Counter[int] = Counter()
        self.sigbus: Counter[bool] = Counter()
        self._special: dict[type[Any], Callable[[Any], None]] = {
            kvm.TdpFaultRet: self._fault_ended,
            kvm.Retry: self._retry,
            kvm.ExitMemoryFault: self._exit,
            kvm.Sigbus: self._sigbus,
        }

    def rec(self, t: Task, event: Any) -> None:
        """For the engine."""
        cls = event.__class__
        classes = self.classes
        classes[cls] = classes.get(cls, 0) + 1
        special = self._special.get(cls)
        if special is not None:
            special(event)

    def progress(self) -> Progress:
        """How far the run is."""
        total = sum(self.classes.values())
        rounds = sum(self.classes.get(cls, 0) for cls in _ROUND)
        return Progress(total, total - rounds, sum(self.classes.get(cls, 0) for cls in _PROGRESS))

    def counts(self) -> dict[str, int]:
        """Number of events by name, in alphabetical order."""
        return dict(sorted((name_of(cls), count) for cls, count in self.classes.items()))

    def _fault_ended(self, event: kvm.TdpFaultRet) -> None:
        self.returns[event.ret] += 1

    def _retry(self, event: kvm.Retry) -> None:
        self.retries[event.reason] += 1

    def _exit(self, event: kvm.ExitMemoryFault) -> None:
        self.exits[event.ret] += 1

    def _sigbus(self, event: kvm.Sigbus) -> None:
        self.sigbus[event.hwpoison] += 1


def subtract(after: list[LockStatistics], before: list[LockStatistics]) -> list[LockStatistics]:
    """What was added since `before`; classes that nobody took since are left out.

    The setup takes no time and waits for nobody, so maxima are those of the measured part.
    """
    old = {row.name: row for row in before}
    rows: list[LockStatistics] = []
    for row in after:
        was = old.get(row.name)
        new = row
        if was is not None:
            new = LockStatistics(row.name, _less(row.read, was.read), _less(row.write, was.write))
        if new.read.acquisitions or new.write.acquisitions:
            rows.append(new)
    return rows


def _less(after: ModeStatistics, before: ModeStatistics) -> ModeStatistics:
    return attrs.evolve(
        after,
        acquisitions=after.acquisitions - before.acquisitions,
        contentions=after.contentions - before.contentions,
        wait_total=after.wait_total - before.wait_total,
        hold_total=after.hold_total - before.hold_total,
    )
