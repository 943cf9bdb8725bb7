"""Page cache and contents: one folio an index (I1), nothing stale (I2), what uptodate means (I3 to I7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.fault import RetPf
from ..arch.memory import STALE
from ..audit import kvm_events as kvm
from .ledger import Life
from .watch import Shared, Subject, after, at_rest, before, track

if TYPE_CHECKING:
    from ..engine.task import Task


class Filemap(Subject):
    """Which folio is where, and what is in it."""

    about = "page cache and contents"

    def __init__(self, oracles: Shared) -> None:
        super().__init__(oracles)
        self.sizes = {label: inode.pages for label, inode in self.world.inodes.items()}

    # -- identity ------------------------------------------------------------------------------

    @track(kvm.FilemapAdd)
    def allocated(self, t: Task, event: kvm.FilemapAdd) -> None:
        """A frame was taken for an index."""
        self.ledger.lives[event.pfn] = Life(event.pfn, event.index)

    @before("I1", kvm.PageCacheAdd)
    def one_folio_per_index(self, t: Task, event: kvm.PageCacheAdd) -> None:
        """An index is empty when a folio is inserted, and lies in the file."""
        inode = self.ledger.inode_with(event.index, event.pfn)
        if inode is None:
            return
        old = self.ledger.present.get((inode.label, event.index))
        if old is not None and old.inode is inode:
            self.fail(
                "I1",
                f"a second folio at index {event.index} of {inode.label}",
                t,
                event,
                index=event.index,
                pfn=event.pfn,
                first=old.pfn,
            )
        if not 0 <= event.index < inode.pages:
            self.fail(
                "I1",
                f"a folio at index {event.index} of {inode.label}, which has {inode.pages} pages",
                t,
                event,
                index=event.index,
                pages=inode.pages,
            )

    @before("I6", kvm.PageCacheAdd)
    def order_zero(self, t: Task, event: kvm.PageCacheAdd) -> None:
        """Without huge pages no folio is larger than a page."""
        if event.order:
            self.fail(
                "I6", f"a folio of order {event.order} at index {event.index}", t, event, order=event.order
            )

    @track(kvm.PageCacheAdd)
    def inserted(self, t: Task, event: kvm.PageCacheAdd) -> None:
        """The frame is the folio of an index from now on."""
        ledger = self.ledger
        life = ledger.lives.get(event.pfn)
        if life is None:
            life = ledger.lives[event.pfn] = Life(event.pfn, event.index)
        ledger.evicted.discard(event.pfn)
        inode = ledger.inode_with(event.index, event.pfn)
        life.cached = True
        ledger.touched.add(life)
        if inode is not None:
            life.inode = inode
            life.folio = inode.folios[event.index]
            ledger.present[inode.label, event.index] = life

    @track(kvm.PageCacheDelete)
    def removed(self, t: Task, event: kvm.PageCacheDelete) -> None:
        """The folio is nobody's; the frame lives on while it is referenced."""
        life = self.ledger.lives.get(event.pfn)
        if life is not None:
            life.cached = False
            self.ledger.touched.add(life)
            self.ledger.leaving[life] = None
            if life.inode is not None:
                self.ledger.present.pop((life.inode.label, life.index), None)

    @track(kvm.EvictFolio)
    def evicted(self, t: Task, event: kvm.EvictFolio) -> None:
        """It goes without an invalidation."""
        self.ledger.evicted.add(event.pfn)

    @track(kvm.FreePage)
    def freed(self, t: Task, event: kvm.FreePage) -> None:
        """The frame may be anybody's now."""
        life = self.ledger.lives.pop(event.pfn, None)
        if life is not None:
            life.cached = False
            self.ledger.touched.discard(life)
            self.ledger.leaving.pop(life, None)

    @track(kvm.Create)
    def created(self, t: Task, event: kvm.Create) -> None:
        """A file has the size that it was created with."""
        if event.ret == 0:
            self.sizes[event.file] = event.pages

    @at_rest("I7")
    def same_size(self, full: bool) -> None:
        """No file has another size than at its creation."""
        for label, inode in self.world.inodes.items():
            if inode.pages != self.sizes.setdefault(label, inode.pages):
                self.fail(
                    "I7",
                    f"{label} has {inode.pages} pages, was created with {self.sizes[label]}",
                    None,
                    None,
                    pages=inode.pages,
                )

    # -- stale contents ------------------------------------------------------------------------

    @before("I2", kvm.MapRet)
    def stale_to_guest(self, t: Task, event: kvm.MapRet) -> None:
        """A frame that nobody wrote since its allocation is mapped to the guest.

        A launch may map a page before it fills it: the guest does not run yet.
        """
        doing = self.ledger.of(t)
        gfn, pfn = doing.fault
        if event.ret == RetPf.FIXED and doing.populated is None and self.ledger.stale(pfn):
            self.fail(
                "I2",
                f"gfn {gfn:#x} is mapped to frame {pfn:#x}, which holds stale host data",
                t,
                event,
                gfn=gfn,
                pfn=pfn,
                **self.ledger.how_it_left(pfn),
            )

    @before("I2", kvm.UserFaultRet)
    def stale_to_host(self, t: Task, event: kvm.UserFaultRet) -> None:
        """The same for the host: the core maps what the fault handler returns."""
        pfn = self.ledger.of(t).folio_pfn
        if event.result == "locked" and self.ledger.stale(pfn):
            self.fail(
                "I2", f"a host fault hands out frame {pfn:#x}, which holds stale host data", t, event, pfn=pfn
            )

    @before("I2", kvm.GuestTouch, kvm.HostTouch)
    def stale_read(self, t: Task, event: kvm.GuestTouch | kvm.HostTouch) -> None:
        """Somebody read what the host had in the frame before."""
        if event.value == STALE:
            who = "guest" if isinstance(event, kvm.GuestTouch) else "host"
            self.fail("I2", f"the {who} read stale host data", t, event)

    @before("I2", kvm.PopulateCallback)
    def stale_measured(self, t: Task, event: kvm.PopulateCallback) -> None:
        """A page became part of the guest's initial memory without having been written."""
        if event.ret == 0 and self.ledger.stale(event.pfn):
            self.fail("I2", f"gfn {event.gfn:#x} was populated with stale host data", t, event, pfn=event.pfn)

    # -- uptodate ------------------------------------------------------------------------------

    @track(kvm.GetFolioRet)
    def found(self, t: Task, event: kvm.GetFolioRet) -> None:
        """Remember the folio that find-or-create returned."""
        doing = self.ledger.of(t)
        life = self.ledger.lives.get(event.pfn)
        doing.folio_pfn, doing.folio_life = event.pfn, life
        if life is not None:
            self.ledger.touched.add(life)

    @after("I3", kvm.GetFolioRet)
    def uptodate_stays(self, t: Task, event: kvm.GetFolioRet) -> None:
        """A folio that was uptodate once still is."""
        life = self.ledger.lives.get(event.pfn)
        if life is not None and life.uptodate and life.folio is not None and not life.folio.uptodate:
            self.fail(
                "I3", f"the folio at index {life.index} is not uptodate any more", t, event, pfn=event.pfn
            )

    @before("I5", kvm.Clear)
    def cleared_once(self, t: Task, event: kvm.Clear) -> None:
        """A folio with contents is not cleared again: they would be lost."""
        life = self.ledger.lives.get(event.pfn)
        if life is not None and (life.clears or life.populated) and not life.clear_again:
            self.fail(
                "I5", f"the folio at index {event.index} is cleared a second time", t, event, pfn=event.pfn
            )

    @track(kvm.Clear)
    def cleared(self, t: Task, event: kvm.Clear) -> None:
        """Count it; another one needs a reason."""
        life = self.ledger.lives.get(event.pfn)
        if life is not None:
            life.clears += 1
            life.clear_again = False

    @before("I4", kvm.SetUptodate)
    def uptodate_earned(self, t: Task, event: kvm.SetUptodate) -> None:
        """Cleared or populated; where uptodate means prepared, prepared too, unless the host made it.

        Of a page that is shared in the file nothing is to be prepared: the arch's answer to its hook is 0.
        """
        life = self.ledger.lives.get(event.pfn)
        if life is None or life.populated:
            return
        if not life.clears:
            self.fail(
                "I4", f"the folio at index {event.index} becomes uptodate uncleared", t, event, pfn=event.pfn
            )
        prepares = self.kernel.uptodate_promises(life.inode) == "prepared" and self.kernel.gmem_prepare
        attributes = None if life.inode is None else life.inode.attributes
        shared = attributes is not None and attributes.get(life.index) is not True
        if prepares and not shared and not life.prepared and not self.ledger.of(t).user_fault:
            self.fail(
                "I4", f"the folio at index {event.index} becomes uptodate unprepared", t, event, pfn=event.pfn
            )

    @track(kvm.SetUptodate)
    def marked(self, t: Task, event: kvm.SetUptodate) -> None:
        """The flag is about to be set; remember on whose behalf."""
        life = self.ledger.lives.get(event.pfn)
        if life is not None:
            life.host_made = self.ledger.of(t).user_fault

    @after("I4", kvm.GetPfnRet)
    def handed_out_uptodate(self, t: Task, event: kvm.GetPfnRet) -> None:
        """get_pfn succeeds only with an uptodate folio.

        A version that hands out no reference (inplace) may return when its page is gone, and the frame used anew: a
        retry follows, and nothing is to be said of the new page.
        """
        life = self.ledger.lives.get(event.pfn)
        if event.ret or life is None or life.folio is None:
            return
        if life is not self.ledger.of(t).folio_life:
            return
        if life.folio.uptodate:
            life.uptodate = True
        else:
            self.fail(
                "I4",
                f"get_pfn handed out index {life.index}, which is not uptodate",
                t,
                event,
                pfn=event.pfn,
            )

    @track(kvm.UserFault)
    def host_fault_begins(self, t: Task, event: kvm.UserFault) -> None:
        """From here on the task clears for the host."""
        self.ledger.of(t).user_fault = True

    @track(kvm.UserFaultRet)
    def host_fault_ends(self, t: Task, event: kvm.UserFaultRet) -> None:
        """A folio handed to the core is uptodate."""
        doing = self.ledger.of(t)
        doing.user_fault = False
        life = self.ledger.lives.get(doing.folio_pfn)
        if event.result == "locked" and life is not None and life.folio is not None and life.folio.uptodate:
            life.uptodate = True

    @track(kvm.Map)
    def about_to_map(self, t: Task, event: kvm.Map) -> None:
        """Remember what the vCPU is installing."""
        self.ledger.of(t).fault = (event.gfn, event.pfn)
