"""Conversion in place: the file's attribute map (I22, I23, I27, I29), host and guest mappings (I20, I24, I30),
references (I10, I25, I26)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.huge_cache import HugeCache
from ..actors.stage2 import level_pages
from ..audit.events import Unlock
from ..audit.inplace_events import GmemAttrStore, GmemSetAttributes, GmemSetAttributesRet, RefCheck
from ..audit.kvm_events import AttrStore, InvStart, Map, MmuInvEnd
from .watch import Shared, Subject, after, at_rest, before, track

if TYPE_CHECKING:
    from ..actors.inode import GmemInode
    from ..audit.base import Event
    from ..engine.task import Task


class Attributes(Subject):
    """What a conversion in place promises."""

    about = "conversion in place"

    def __init__(self, oracles: Shared) -> None:
        super().__init__(oracles)
        #: Attributes of a range when its conversion began, by task, where one may be taken back.
        self.before: dict[Task, list[tuple[int, int, bool]]] = {}
        #: Indices whose references a conversion found to be nobody's, since it has the invalidate lock.
        self.unused: dict[Task, set[int]] = {}

    def _inode(self, label: str) -> GmemInode | None:
        return self.world.inodes.get(label)

    # -- the call ----------------------------------------------------------------------------------

    @track(GmemSetAttributes)
    def begin(self, t: Task, event: GmemSetAttributes) -> None:
        """A conversion is under way."""
        doing = self.ledger.of(t)
        file = self.ledger.file_of(event.file)
        doing.converting = None if file is None else (file, event.start, event.end, event.private)
        doing.point_of_no_return = False
        doing.stored = 0
        self.before.pop(t, None)

    @track(InvStart)
    def no_way_back(self, t: Task, event: InvStart) -> None:
        """The first invalidation of a conversion: from here on it cannot fail."""
        doing = self.ledger.of(t)
        if doing.converting is None:
            return
        file, start, end, _ = doing.converting
        if not doing.point_of_no_return and self.kernel.huge_pages and file.inode.attributes is not None:
            # The lock is held from before here on.
            self.before[t] = file.inode.attributes.ranges(start, end)
        doing.point_of_no_return = True

    @before("I26", GmemSetAttributesRet)
    def finished(self, t: Task, event: GmemSetAttributesRet) -> None:
        """Once it has zapped, it succeeds, whatever references have appeared.

        Not with huge folios: there references are looked at, and structure changed, inside the invalidation
        (guest-memfd.md 4.14).
        """
        converting = self.ledger.of(t).converting
        if converting is not None and isinstance(converting[0].inode.folios, HugeCache):
            return
        if event.ret < 0 and self.ledger.of(t).point_of_no_return:
            self.fail(
                "I26",
                f"a conversion failed ({event.ret}) after it had zapped",
                t,
                event,
                index=event.error_index,
            )

    @before("I27", GmemSetAttributesRet)
    def error_changes_nothing(self, t: Task, event: GmemSetAttributesRet) -> None:
        """A call that fails has stored nothing; with huge folios, nothing that it did not take back."""
        converting = self.ledger.of(t).converting
        if converting is not None and isinstance(converting[0].inode.folios, HugeCache):
            file, start, end, _ = converting
            attributes = file.inode.attributes
            if event.ret >= 0 or attributes is None or attributes.ranges(start, end) == self.before.get(t):
                return
        if event.ret < 0 and self.ledger.of(t).stored:
            self.fail("I27", f"a conversion failed ({event.ret}) after it changed attributes", t, event)

    @after("", GmemSetAttributesRet)
    def done(self, t: Task, event: GmemSetAttributesRet) -> None:
        """The call is over."""
        doing = self.ledger.of(t)
        doing.converting = None
        doing.point_of_no_return = False

    # -- the map -----------------------------------------------------------------------------------

    @before("I27", GmemAttrStore)
    def only_by_call(self, t: Task, event: GmemAttrStore) -> None:
        """Attributes change inside the call, in its range, to its value; or at the file's creation."""
        doing = self.ledger.of(t).converting
        if doing is None:
            inside = self._inode(event.inode) is None
        else:
            file, start, end, private = doing
            inside = file.inode.label == event.inode and start <= event.start and event.end <= end
            # With huge folios a second store may take a first one back; `error_changes_nothing` sees to the rest.
            undo = isinstance(file.inode.folios, HugeCache) and self.ledger.of(t).stored
            inside = inside and bool(event.private == private or undo)
        if not inside:
            self.fail(
                "I27", f"{t.name} changes attributes of {event.inode} [{event.start}, {event.end})", t, event
            )

    @before("I23", GmemAttrStore)
    def under_lock(self, t: Task, event: GmemAttrStore) -> None:
        """The exclusive invalidate lock of that inode is held by the writer."""
        if self.ledger.of(t).held.get(f"{event.inode}.invalidate_lock") != "w":
            self.fail("I23", f"{t.name} writes the attributes of {event.inode} without its lock", t, event)

    @track(GmemAttrStore)
    def stored(self, t: Task, event: GmemAttrStore) -> None:
        """Count it."""
        self.ledger.of(t).stored += 1

    @after("I22", GmemAttrStore)
    def map_is_whole(self, t: Task, event: GmemAttrStore) -> None:
        """No holes, and neighbours differ."""
        inode = self._inode(event.inode)
        if inode is not None and inode.attributes is not None and not inode.attributes.whole():
            self.fail(
                "I22",
                f"the attributes of {event.inode} have holes or equal neighbours",
                t,
                event,
                ranges=inode.attributes.ranges(),
            )

    @before("I29", AttrStore)
    def not_in_the_vm(self, t: Task, event: AttrStore) -> None:
        """No VM attribute is stored."""
        self.fail("I29", f"gfn {event.start:#x} gets a VM attribute while files have their own", t, event)

    # -- who uses the pages --------------------------------------------------------------------------

    @before("I25", RefCheck)
    def called_unused(self, t: Task, event: RefCheck) -> None:
        """The check says so of no page that somebody holds beside the cache, the batches and itself."""
        converting = self.ledger.of(t).converting
        folio = None if converting is None else converting[0].inode.folios.get(event.index)
        if folio is None or not event.ok:
            return
        if folio.ref > folio.pages + 1 + self.kernel.lru_references(folio):
            self.fail(
                "I25",
                f"index {event.index} is called unused while somebody holds a reference",
                t,
                event,
                pfn=folio.pfn,
                ref=folio.ref - 1,
            )
        else:
            self.unused.setdefault(t, set()).add(event.index)

    @track(Unlock, locks=["invalidate_lock"])
    def others_may_come(self, t: Task, event: Unlock) -> None:
        """What was found unused need not be so any more."""
        self.unused.pop(t, None)

    @before("I25", GmemAttrStore)
    def nobody_outside(self, t: Task, event: GmemAttrStore) -> None:
        """To-private: no page of the range is pinned, mapped, or held by anybody but cache, batches and poison.

        A reference alone, of soft offline say, may come after the conversion's check (I26), which is held to it then.
        """
        inode = self._inode(event.inode)
        if inode is None or not event.private:
            return
        for index, folio in sorted(inode.folios.items()):
            if not event.start <= index < event.end:
                continue
            known = folio.pages + folio.poisoned + self.kernel.lru_references(folio)
            held = folio.ref > known and index not in self.unused.get(t, ())
            if folio.pins or folio.mapcount or held:
                self.fail(
                    "I25",
                    f"index {index} of {event.inode} becomes private while it is in use",
                    t,
                    event,
                    pfn=folio.pfn,
                    ref=folio.ref,
                    mapcount=folio.mapcount,
                    pins=folio.pins,
                )

    @before("I34", GmemAttrStore)
    def shared_is_unassigned(self, t: Task, event: GmemAttrStore) -> None:
        """To-shared: hardware has taken every present page of the range away from the guest."""
        for index in range(event.start, event.end) if not event.private else ():
            life = self.ledger.present.get((event.inode, index))
            if life is not None and life.assigned:
                self.fail(
                    "I34",
                    f"index {index} of {event.inode} becomes shared and is still assigned to a guest",
                    t,
                    event,
                    pfn=life.pfn,
                )

    @before("I10", Map)
    def no_reference(self, t: Task, event: Map) -> None:
        """A fault that maps holds nothing of the folio; seen where no other operation could hold it."""
        doing = self.ledger.of(t)
        life = self.ledger.life_at(event.pfn)
        if life is None or life.folio is None or doing.populated is not None or not self.oracles.alone:
            return
        folio = life.folio
        expected = (folio.pages if life.cached else 0) + folio.mapcount + folio.pins + folio.poisoned
        expected += self.kernel.lru_references(folio)
        if folio.ref > expected:
            self.fail(
                "I10",
                f"a fault maps frame {event.pfn:#x} and holds a reference of it",
                t,
                event,
                pfn=event.pfn,
            )

    # -- mappings --------------------------------------------------------------------------------------

    @before("I20", MmuInvEnd)
    def nothing_of_the_old_kind(self, t: Task, event: MmuInvEnd) -> None:
        """When a conversion lets faults in again, its range has no SPTE of the kind that was left."""
        doing = self.ledger.of(t)
        vm = self.vm(event.vm)
        if doing.converting is None or vm is None or not doing.stored:
            return
        file, start, end, private = doing.converting
        for other in file.inode.files:
            for slot in other.slots_in(start, end) if other.vm is vm else ():
                low = max(start, slot.pgoff) - slot.pgoff + slot.base_gfn
                high = min(end, slot.pgoff + slot.pages) - slot.pgoff + slot.base_gfn
                self._old_kind(t, event, event.vm, low, high, private)

    def _old_kind(self, t: Task, event: Event, label: str, low: int, high: int, private: bool) -> None:
        root = self.world.vms[label].stage2.root(not private)
        for gfn in sorted(root):
            if gfn < high and low < gfn + level_pages(root[gfn].level) and root[gfn].private != private:
                kind = "shared" if private else "private"
                self.fail(
                    "I20",
                    f"gfn {gfn:#x} of {label} is still mapped as {kind} memory",
                    t,
                    event,
                    gfn=gfn,
                    pfn=root[gfn].pfn,
                )

    @at_rest("I24")
    def private_is_unmapped(self, full: bool) -> None:
        """No host page table has a private index."""
        for inode in self.world.inodes.values():
            if inode.attributes is None:
                continue
            for mapping in inode.mappings:
                for index in sorted(mapping.mapped):
                    if inode.attributes.get(index):
                        self.fail(
                            "I24",
                            f"index {index} of {inode.label} is private and mapped by {mapping.process.label}",
                            None,
                            None,
                            pfn=mapping.mapped[index].pfn,
                        )

    @at_rest("I30")
    def one_kind_at_a_time(self, full: bool) -> None:
        """With a table for each kind, no gfn is in both."""
        if not full:
            return
        for vm in self.world.vms.values():
            if vm.stage2.mirrored:
                for gfn in sorted(vm.stage2.root(True).keys() & vm.stage2.root(False).keys()):
                    self.fail(
                        "I30",
                        f"gfn {gfn:#x} of {vm.label} is mapped as private and as shared memory",
                        None,
                        None,
                        gfn=gfn,
                    )
