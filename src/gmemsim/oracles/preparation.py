"""The arch hooks: assignment ends with the page cache (I31), idempotent (I32), in context (I33, I34)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit import kvm_events as kvm
from ..audit.events import Unlock
from ..audit.inplace_events import MakeShared
from .watch import Subject, before, track

if TYPE_CHECKING:
    from ..engine.task import Task
    from .ledger import Life


class Preparation(Subject):
    """What the hooks told hardware about a frame.

    `did` in the answer of prepare says that hardware state changed: from then on the frame is assigned, until
    the invalidate (reclaim) hook runs. What the hardware itself thinks is the arch actor's to flag.
    """

    about = "preparation"

    # -- context of the call -----------------------------------------------------------------------

    @before("I33", kvm.Prepare, kvm.MakePrivate)
    def locked_and_cached(self, t: Task, event: kvm.Prepare | kvm.MakePrivate) -> None:
        """The caller owns the folio lock, and the folio is in the page cache."""
        life = self.ledger.life_at(event.pfn)
        if life is None or life.folio is None:
            return
        if not life.cached:
            self.fail(
                "I33", f"prepare of frame {event.pfn:#x}, which left the page cache", t, event, pfn=event.pfn
            )
        elif life.folio.lock.owner is not t:
            self.fail("I33", f"prepare of index {life.index} without its folio lock", t, event, pfn=event.pfn)

    @track(kvm.GetPfn)
    def faulting(self, t: Task, event: kvm.GetPfn) -> None:
        """Remember which guest frame the task wants."""
        self.ledger.of(t).wanted_gfn = event.gfn

    @before("prepare_gfn", kvm.Prepare, kvm.MakePrivate)
    def own_slot(self, t: Task, event: kvm.Prepare | kvm.MakePrivate) -> None:
        """No guest frame of another slot: one whose frame another folio holds."""
        wanted = self.ledger.of(t).wanted_gfn
        last = event.gfn + (1 << event.order if isinstance(event, kvm.Prepare) else event.pages) - 1
        if wanted < 0 or event.gfn == last == wanted:
            return
        for vm in self.world.vms.values():
            own = vm.slot_of(wanted)
            for gfn in (event.gfn, last):
                other = vm.slot_of(gfn)
                if own is not None and other is not None and other is not own:
                    self.fail(
                        "prepare_gfn",
                        f"prepare for a fault on gfn {wanted:#x} of slot {own.ident} covers gfn {gfn:#x} of slot "
                        f"{other.ident}",
                        t,
                        event,
                        gfn=gfn,
                        pfn=event.pfn,
                    )

    @before("I34", kvm.MakePrivate)
    def private_only(self, t: Task, event: kvm.MakePrivate) -> None:
        """The file says that the index is private: by its map, or, without conversion in place, by its flags.

        What the attributes of a VM say is another matter: they may change while the hook runs, and the fault is
        retried. The harm, an access to a page of the wrong kind, is flagged by the hardware.
        """
        life = self.ledger.life_at(event.pfn)
        if life is None or life.inode is None:
            return
        if not self.ledger.any_private(life) if self.kernel.in_place else life.inode.init_shared:
            self.fail(
                "I34",
                f"make_private of index {life.index}, which is shared",
                t,
                event,
                gfn=event.gfn,
                pfn=event.pfn,
            )

    @track(kvm.Prepare, kvm.MakePrivate)
    def asked(self, t: Task, event: kvm.Prepare | kvm.MakePrivate) -> None:
        """Remember the frame until the answer."""
        self.ledger.of(t).prepare_pfn = event.pfn

    # -- the answer --------------------------------------------------------------------------------

    @before("I32", kvm.PrepareRet, kvm.MakePrivateRet)
    def idempotent(self, t: Task, event: kvm.PrepareRet | kvm.MakePrivateRet) -> None:
        """Hardware state does not change a second time; of a huge folio it changes page by page where it must."""
        life = self.ledger.life_at(self.ledger.of(t).prepare_pfn)
        if life is not None and life.folio is not None and life.folio.order:
            return
        if event.did and life is not None and life.assigned:
            self.fail("I32", f"index {life.index} was prepared and is prepared again", t, event, pfn=life.pfn)

    @track(kvm.PrepareRet, kvm.MakePrivateRet)
    def answered(self, t: Task, event: kvm.PrepareRet | kvm.MakePrivateRet) -> None:
        """Prepared, or to be cleared and prepared again where one flag stands for both."""
        life = self.ledger.life_at(self.ledger.of(t).prepare_pfn)
        if life is None:
            return
        if event.ret == 0:
            life.prepared = True
            life.assigned |= event.did
        elif self.kernel.uptodate_promises(life.inode) == "prepared":
            life.clear_again = True

    @before("I35", kvm.Clear)
    def not_cleared_while_assigned(self, t: Task, event: kvm.Clear) -> None:
        """The host does not zero a page that hardware gave to a guest."""
        life = self.ledger.lives.get(event.pfn)
        if life is not None and life.assigned:
            self.fail(
                "I35",
                f"the host clears index {life.index}, which is assigned to a guest",
                t,
                event,
                pfn=event.pfn,
            )

    # -- the end -----------------------------------------------------------------------------------

    @track(kvm.ArchInvalidate)
    def invalidated(self, t: Task, event: kvm.ArchInvalidate) -> None:
        """Frames [start, end) are the host's again."""
        for pfn in range(event.start, event.end):
            self._unassign(pfn)

    @track(kvm.ArchReclaim)
    def reclaimed(self, t: Task, event: kvm.ArchReclaim) -> None:
        """The same under the new name."""
        for pfn in range(event.pfn, event.pfn + event.pages):
            self._unassign(pfn)

    @track(MakeShared)
    def made_shared(self, t: Task, event: MakeShared) -> None:
        """The same for pages that stay in the page cache and become shared."""
        for pfn in range(event.pfn, event.pfn + event.pages):
            self._unassign(pfn)

    def _unassign(self, pfn: int) -> None:
        life = self.ledger.lives.get(pfn)
        if life is not None:
            life.assigned = False
            life.prepared = False

    @before("I31", Unlock, locks=["folio"])
    def unassigned_at_unlock(self, t: Task, event: Unlock) -> None:
        """A folio that left the page cache is unassigned before its lock is given back."""
        for life in self._leaving(event.lock, t):
            self.fail(
                "I31",
                f"frame {life.pfn:#x} left the page cache and is still assigned to a guest",
                t,
                event,
                pfn=life.pfn,
            )

    def _leaving(self, label: str, t: Task) -> list[Life]:
        return [
            life
            for life in self.ledger.leaving
            if life.assigned
            and life.folio is not None
            and life.folio.lock.label == label
            and life.folio.lock.owner is t
        ]

    @before("I31", kvm.FreePage)
    def unassigned_when_freed(self, t: Task, event: kvm.FreePage) -> None:
        """At the latest when the frame goes back to the allocator."""
        life = self.ledger.lives.get(event.pfn)
        if life is not None and life.assigned:
            self.fail(
                "I31",
                f"frame {event.pfn:#x} goes back to the allocator assigned to a guest",
                t,
                event,
                pfn=event.pfn,
            )
