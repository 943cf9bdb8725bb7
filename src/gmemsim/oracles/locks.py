"""Locks: exclusion (I40), balance (I9), and nothing that sleeps under a lock that spins, as mmu_lock (I39).

A lock counts as held from its `lock` event to its `unlock` event. `unlock` is logged at the entry of the
release, so the time between the two lies inside the time that the lock is really held: an overlap is never a
matter of logging. A new folio is born locked and has no `lock` event; `page_cache_add` stands for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..audit import kvm_events as kvm
from ..audit.events import Contended, Lock, LockRequest, SrcuSync, Unlock
from ..engine.locks.kinds import sleeps
from .ledger import SLEEPING, Doing
from .watch import Subject, after, before, track

if TYPE_CHECKING:
    from ..audit.base import Event
    from ..engine.task import Task

#: Entry of a function, by its return.
_PAIRS: dict[type[Event], type[Event]] = {
    kvm.FallocateRet: kvm.Fallocate,
    kvm.GetFolioRet: kvm.GetFolio,
    kvm.GetPfnRet: kvm.GetPfn,
    kvm.PopulateRet: kvm.Populate,
    kvm.SetAttributesRet: kvm.SetAttributes,
    kvm.TdpFaultRet: kvm.TdpFault,
    kvm.TruncateRet: kvm.Truncate,
    kvm.UserFaultRet: kvm.UserFault,
}


class Locks(Subject):
    """Who holds what."""

    about = "locks"

    @before("I39", LockRequest, Contended, Lock, locks=[SLEEPING])
    def no_sleep_under_mmu_lock(self, t: Task, event: Lock) -> None:
        """Asking for a lock that sleeps while holding one that spins, as mmu_lock, is a bug even if that is free."""
        spins = self._spins(t)
        if spins:
            self.fail(
                "I39",
                f"{t.name} takes {event.lock}, which sleeps, under {spins}",
                t,
                event,
                lock=event.lock,
                held=list(self.ledger.of(t).held),
            )

    def might_sleep(self, t: Task, what: str) -> None:
        """A step that may sleep, whether it does in this run or not (`might_sleep()` of the kernel)."""
        spins = self._spins(t)
        if spins and "I39" in self.oracles.rules:
            held = list(self.ledger.of(t).held)
            self.fail("I39", f"{t.name} may sleep in {what} under {spins}", t, None, lock=spins, held=held)

    def _spins(self, t: Task) -> str:
        """A lock that spins and that the task holds; empty: none."""
        return next((label for label in self.ledger.of(t).held if sleeps(label) is False), "")

    @before("I39", Contended, Lock, locks=["slots_lock"])
    def no_slots_lock_inside_srcu(self, t: Task, event: Lock) -> None:
        """Its holder waits for the SRCU section to end."""
        _, owner = self.ledger.kind(event.lock)
        vm = self.vm(owner)
        if vm is not None and t.name in vm.srcu.holders():
            self.fail(
                "I39",
                f"{t.name} takes {event.lock} inside an SRCU read section of {owner}",
                t,
                event,
                lock=event.lock,
            )

    @before("I39", SrcuSync)
    def no_grace_period_under_mmu_lock(self, t: Task, event: SrcuSync) -> None:
        """Waiting for a grace period sleeps."""
        spins = self._spins(t)
        if spins:
            self.fail(
                "I39",
                f"{t.name} waits for readers of {event.lock} under {spins}",
                t,
                event,
                lock=event.lock,
                held=list(self.ledger.of(t).held),
            )

    @before("I40", Lock)
    def exclusion(self, t: Task, event: Lock) -> None:
        """A writer is alone; a folio lock and a mutex have one owner.

        A policy in the invalidate lock's place that does not promise to exclude is judged by what comes of it.
        """
        others = self.ledger.holders.get(event.lock)
        if not others or self._promises_nothing(event.lock):
            return
        for other, mode in others.items():
            if (event.mode == "w" or mode == "w") and not self._two_folios(event.lock, other, t):
                self.fail(
                    "I40",
                    f"{t.name} has {event.lock} ({event.mode}) while {other.name} has it ({mode})",
                    t,
                    event,
                    lock=event.lock,
                    other=other.name,
                )

    def _promises_nothing(self, label: str) -> bool:
        kind, owner = self.ledger.kind(label)
        inode = self.world.inodes.get(owner) if kind == "invalidate_lock" else None
        return inode is not None and not inode.invalidate_lock.excludes

    def _two_folios(self, label: str, first: Task, second: Task) -> bool:
        """Whether the label names two folios: one that left the page cache, and its successor."""
        if self.ledger.kind(label)[0] != "folio":
            return False
        owners = [
            life.folio.lock.owner
            for life in (*self.ledger.lives.values(), *self.ledger.leaving)
            if life.folio is not None and life.folio.lock.label == label
        ]
        return first in owners and second in owners

    @track(Lock)
    def locked(self, t: Task, event: Lock) -> None:
        """The task has the lock."""
        self._take(t, event.lock, event.mode)

    @track(kvm.PageCacheAdd)
    def born_locked(self, t: Task, event: kvm.PageCacheAdd) -> None:
        """A new folio is locked by who inserts it."""
        inode = self.ledger.inode_with(event.index, event.pfn)
        if inode is not None and inode.folios[event.index].lock.owner is t:
            self._take(t, f"{inode.lock_label}[{event.index}]", "w")

    def _take(self, t: Task, label: str, mode: str) -> None:
        ledger = self.ledger
        doing = ledger.of(t)
        doing.held[label] = mode
        ledger.holders.setdefault(label, {})[t] = mode
        kind, owner = ledger.kind(label)
        if kind == "mmu_lock":
            doing.mmu = owner

    @track(Unlock)
    def unlocked(self, t: Task, event: Unlock) -> None:
        """The task gives the lock back."""
        ledger = self.ledger
        doing = ledger.of(t)
        doing.held.pop(event.lock, None)
        holders = ledger.holders.get(event.lock)
        if holders is not None:
            holders.pop(t, None)
        if doing.mmu and ledger.kind(event.lock)[0] == "mmu_lock":
            doing.mmu = ""

    # -- balance -------------------------------------------------------------------------------

    @track(*_PAIRS.values())
    def enter(self, t: Task, event: Event) -> None:
        """Remember what the task holds when it enters a function."""
        doing = self.ledger.of(t)
        doing.sections[type(event).__name__] = tuple(doing.held)

    @after("I9", *_PAIRS)
    def leave(self, t: Task, event: Any) -> None:
        """It must hold the same when it returns; a returned folio comes locked."""
        doing = self.ledger.of(t)
        held = doing.sections.pop(_PAIRS[type(event)].__name__, None)
        if held is None:
            return
        now = tuple(doing.held)
        if now == held:
            return
        extra = [lock for lock in now if lock not in held]
        missing = [lock for lock in held if lock not in now]
        if missing or not self._handed_over(event, extra, doing):
            self.fail(
                "I9",
                f"{t.name} leaves {_PAIRS[type(event)].__name__} with other locks than it came with",
                t,
                event,
                extra=extra,
                missing=missing,
            )

    def _handed_over(self, event: Event, extra: list[str], doing: Doing) -> bool:
        """Whether the return value explains one more lock: that of the folio returned."""
        gives = (isinstance(event, kvm.GetFolioRet) and event.pfn >= 0) or (
            isinstance(event, kvm.UserFaultRet) and event.result == "locked"
        )
        return gives and len(extra) == 1 and self.ledger.kind(extra[0])[0] == "folio"
