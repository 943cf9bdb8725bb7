"""Launch-time population: its context (I36), user memory and the invalidate lock (I37), its result (I38)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.events import LockRequest
from ..audit.kvm_events import Copy, Gup, Populate, PopulateCallback, PopulateRet
from .watch import Subject, after, before, track

if TYPE_CHECKING:
    from ..engine.task import Task


class Populating(Subject):
    """`kvm_gmem_populate` and its callback."""

    about = "populate"

    def _kinds(self, t: Task) -> dict[str, str]:
        """Kinds of lock that the task holds, with their mode."""
        ledger = self.ledger
        return {ledger.kind(label)[0]: mode for label, mode in ledger.of(t).held.items()}

    @before("I36", Copy, PopulateCallback)
    def context(self, t: Task, event: Copy | PopulateCallback) -> None:
        """slots_lock and invalidate lock held, the folio lock not, folio in the page cache, gfn private."""
        held = self._kinds(t)
        life = self.ledger.life_at(event.pfn)
        wrong = ""
        if "slots_lock" not in held:
            wrong = "without slots_lock"
        elif held.get("invalidate_lock") != "w":
            wrong = "without the invalidate lock"
        elif life is not None and not life.cached:
            wrong = "for a folio that left the page cache"
        elif life is not None and life.folio is not None and life.folio.lock.owner is t:
            wrong = "with the folio lock held"
        elif life is not None and not self.ledger.any_private(life):
            wrong = "for shared memory"
        if wrong:
            self.fail(
                "I36", f"the populate callback runs {wrong}", t, event, pfn=event.pfn, held=sorted(held)
            )

    @before("I37", Gup)
    def no_gup_under_lock(self, t: Task, event: Gup) -> None:
        """A user page fault would take mmap_lock inside the invalidate lock: the wrong order."""
        if "invalidate_lock" in self._kinds(t):
            self.fail("I37", "user memory is looked up under the invalidate lock", t, event, page=event.page)

    @before("I37", LockRequest)
    def no_mmap_lock_under_lock(self, t: Task, event: LockRequest) -> None:
        """The same, where a fault really happens."""
        if self.ledger.kind(event.lock)[0] == "mmap_lock" and "invalidate_lock" in self._kinds(t):
            self.fail("I37", "mmap_lock is taken under the invalidate lock", t, event, lock=event.lock)

    @track(Populate)
    def begin(self, t: Task, event: Populate) -> None:
        """A call starts to count."""
        self.ledger.of(t).populated = 0

    @track(PopulateCallback)
    def page_done(self, t: Task, event: PopulateCallback) -> None:
        """One page more, if the arch took it."""
        if event.ret == 0:
            doing = self.ledger.of(t)
            if doing.populated is not None:
                doing.populated += 1
            life = self.ledger.life_at(event.pfn)
            if life is not None:
                life.populated = True

    @before("I38", PopulateRet)
    def count_or_error(self, t: Task, event: PopulateRet) -> None:
        """The number of pages done; an error only if that is none."""
        done = self.ledger.of(t).populated
        if done is not None and (event.ret != done if done else event.ret >= 0):
            self.fail(
                "I38", f"populate returned {event.ret} after {done} pages", t, event, ret=event.ret, done=done
            )

    @after("", PopulateRet)
    def finished(self, t: Task, event: PopulateRet) -> None:
        """The call is over."""
        self.ledger.of(t).populated = None
