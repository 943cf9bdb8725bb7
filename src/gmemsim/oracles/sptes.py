"""SPTEs and cached translations: installed while nothing invalidates (I18), never of a dead folio (I19)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.fault import RetPf
from ..actors.huge_cache import HugeCache
from ..actors.stage2 import align
from ..audit import kvm_events as kvm
from ..audit.inplace_events import MakeShared
from .watch import Subject, after, at_rest, before, track

if TYPE_CHECKING:
    from ..actors.stage2 import Spte
    from ..actors.vm import Vm
    from ..engine.task import Task
    from .ledger import Doing


class Sptes(Subject):
    """What the stage-2 tables lead to."""

    about = "stage-2 mappings"

    # -- the snapshot that a fault stands on -----------------------------------------------------

    @track(kvm.Faultin, kvm.Populate)
    def new_attempt(self, t: Task, event: kvm.Faultin | kvm.Populate) -> None:
        """A fault looks for its pfn afresh; a launch maps without one."""
        self.ledger.of(t).pfn_seq = None

    @track(kvm.GetPfn)
    def pfn_asked(self, t: Task, event: kvm.GetPfn) -> None:
        """No end of an invalidation may come between here and the installation."""
        self.ledger.of(t).pfn_seq = {vm.label: vm.seq for vm in self.world.vms.values()}

    # -- installation ----------------------------------------------------------------------------

    def _vm(self, doing: Doing) -> Vm | None:
        """The VM that the task is mapping for: the one whose mmu_lock it holds."""
        vms = self.world.vms
        if doing.mmu:
            return vms.get(doing.mmu)
        return next(iter(vms.values())) if len(vms) == 1 else None

    @before("I18", kvm.MapRet)
    def not_while_invalidating(self, t: Task, event: kvm.MapRet) -> None:
        """mmu_lock is held, the gfn is in no range in progress, and the pfn is younger than the last end."""
        doing = self.ledger.of(t)
        vm = self._vm(doing)
        if event.ret != RetPf.FIXED or vm is None:
            return
        gfn, pfn = doing.fault
        if not doing.mmu:
            self.fail("I18", f"gfn {gfn:#x} is mapped without mmu_lock", t, event, gfn=gfn, pfn=pfn)
        for invalidation in self.ledger.in_progress.get(vm.label, ()):
            if any(start <= gfn < end for start, end in invalidation.ranges):
                self.fail(
                    "I18",
                    f"gfn {gfn:#x} is mapped while {invalidation.task.name} invalidates it",
                    t,
                    event,
                    gfn=gfn,
                    pfn=pfn,
                )
        if vm.in_progress and vm.range_start <= gfn < vm.range_end:
            self.fail(
                "I18", f"gfn {gfn:#x} is mapped inside the range in progress", t, event, gfn=gfn, pfn=pfn
            )
        if doing.pfn_seq is not None and doing.pfn_seq.get(vm.label, vm.seq) != vm.seq:
            self.fail(
                "I18",
                f"gfn {gfn:#x} is mapped to a pfn from before the end of an invalidation",
                t,
                event,
                gfn=gfn,
                pfn=pfn,
                asked_at=doing.pfn_seq[vm.label],
                seq=vm.seq,
            )

    @before("I19", kvm.MapRet)
    def not_a_dead_folio(self, t: Task, event: kvm.MapRet) -> None:
        """The folio is in the page cache when its SPTE appears."""
        gfn, pfn = self.ledger.of(t).fault
        life = self.ledger.life_at(pfn)
        if event.ret == RetPf.FIXED and life is not None and not life.cached:
            self.fail(
                "I19",
                f"gfn {gfn:#x} is mapped to frame {pfn:#x}, which left the page cache",
                t,
                event,
                gfn=gfn,
                pfn=pfn,
                **self.ledger.how_it_left(pfn),
            )

    @before("I56", kvm.MapRet)
    def spurious_is_mapped(self, t: Task, event: kvm.MapRet) -> None:
        """Whoever calls a fault spurious saw a leaf; a pre-fault tells user space that the page is mapped."""
        vm = self._vm(self.ledger.of(t))
        if event.ret != RetPf.SPURIOUS or vm is None:
            return
        gfn, _ = self.ledger.of(t).fault
        leaves = [vm.stage2.find(gfn, private) for private in (True, False)]
        if not any(leaf is not None and leaf.pfn >= 0 for leaf in leaves):
            self.fail(
                "I56", f"a fault on gfn {gfn:#x} is called spurious, and nothing is mapped", t, event, gfn=gfn
            )

    @track(kvm.MapRet)
    def installed(self, t: Task, event: kvm.MapRet) -> None:
        """Remember whose frame an SPTE shows."""
        doing = self.ledger.of(t)
        vm = self._vm(doing)
        if event.ret != RetPf.FIXED or vm is None:
            return
        gfn, pfn = doing.fault
        life = self.ledger.lives.get(pfn)
        for private in (True, False):
            spte = vm.stage2.find(gfn, private)
            if spte is not None and spte.pfn == pfn:
                key = (vm.label, gfn, private)
                if spte.level > 1:
                    self._superseded(vm, *align(gfn, spte.level), private)
                if life is None:
                    self.ledger.installed.pop(key, None)
                else:
                    self.ledger.installed[key] = life
                    life.mapped.add(key)

    def _superseded(self, vm: Vm, start: int, end: int, private: bool) -> None:
        """A large leaf stands for all its gfns: what was remembered of each is over."""
        installed = self.ledger.installed
        for key in [
            key for key in installed if key[0] == vm.label and start <= key[1] < end and key[2] == private
        ]:
            del installed[key]

    # -- use ---------------------------------------------------------------------------------------

    @before("I19", kvm.PageCacheDelete)
    def zapped_before_removal(self, t: Task, event: kvm.PageCacheDelete) -> None:
        """A folio leaves the page cache only after every SPTE and every host mapping of it is gone."""
        life = self.ledger.lives.get(event.pfn)
        if life is None:
            return
        if life.folio is not None and life.folio.mapcount:
            self.fail(
                "I19",
                f"index {event.index} leaves the page cache while the host maps it",
                t,
                event,
                pfn=event.pfn,
            )
        for label, gfn, private in sorted(life.mapped):
            vm = self.vm(label)
            spte = None if vm is None else vm.stage2.find(gfn, private)
            if spte is not None and spte.pfn == event.pfn:
                self.fail(
                    "I19",
                    f"index {event.index} leaves the page cache while gfn {gfn:#x} of {label} maps it",
                    t,
                    event,
                    gfn=gfn,
                    pfn=event.pfn,
                    vm=label,
                    private=private,
                )

    @before("I20", MakeShared)
    def zapped_before_made_shared(self, t: Task, event: MakeShared) -> None:
        """Hardware takes frames from the guest only after every private leaf of them is gone.

        See guest-memfd.md 5, canonical orderings.
        """
        lives = self.ledger.lives
        end = event.pfn + event.pages
        frames = range(event.pfn, end) if event.pages < len(lives) else sorted(lives)
        for life in [lives[pfn] for pfn in frames if event.pfn <= pfn < end and pfn in lives]:
            for label, gfn, private in sorted(life.mapped):
                vm = self.vm(label) if private else None
                spte = None if vm is None else vm.stage2.find(gfn, private)
                if spte is not None and spte.pfn == life.pfn:
                    self.fail(
                        "I20",
                        f"frame {life.pfn:#x} is made shared while gfn {gfn:#x} of {label} still maps it as private",
                        t,
                        event,
                        gfn=gfn,
                        pfn=life.pfn,
                        vm=label,
                    )

    @after("I19", kvm.GuestTouch)
    def live_translation(self, t: Task, event: kvm.GuestTouch) -> None:
        """The guest reaches only folios that are in the page cache, through tables or TLB.

        Not asked of private memory under a mirror root: there the module translates, and flags what is stale.
        """
        vm = self.vm(event.vm)
        if vm is not None and vm.stage2.mirrored and event.private:
            return
        life = self.ledger.installed.get((event.vm, event.gfn, event.private))
        if life is not None and (life.pfn != event.pfn or not life.cached):
            self.fail(
                "I19",
                f"the guest reaches frame {event.pfn:#x} at gfn {event.gfn:#x}: it left the page cache",
                t,
                event,
                gfn=event.gfn,
                pfn=event.pfn,
                vm=event.vm,
            )

    @after("I19", kvm.HostTouch)
    def live_entry(self, t: Task, event: kvm.HostTouch) -> None:
        """A host entry leads to a page of the file; the event does not name the mapping, and it holds for all."""
        for inode in self.world.inodes.values():
            for mapping in inode.mappings:
                folio = mapping.mapped.get(event.index)
                if folio is not None and folio.mapping is None:
                    self.fail(
                        "I19",
                        f"{mapping.label} maps frame {folio.pfn:#x} at index {event.index}: it left the page cache",
                        t,
                        event,
                        index=event.index,
                        pfn=folio.pfn,
                    )

    @after("I52", kvm.GuestTouch)
    def published_translation(self, t: Task, event: kvm.GuestTouch) -> None:
        """What the guest reaches is what the published slot of the gfn has there: a stale mapping, when it is used."""
        vm = self.vm(event.vm)
        if vm is None or (vm.stage2.mirrored and event.private):
            return
        wrong = self._elsewhere(vm, event.gfn, event.pfn, event.private)
        if wrong:
            self.fail(
                "I52",
                f"the guest reaches frame {event.pfn:#x} at gfn {event.gfn:#x} of {vm.label}: {wrong}",
                t,
                event,
                gfn=event.gfn,
                pfn=event.pfn,
                vm=vm.label,
            )

    @staticmethod
    def _elsewhere(vm: Vm, gfn: int, pfn: int, private: bool) -> str:
        slot = vm.slot_of(gfn)
        if slot is None:
            return "no slot is there"
        if slot.invalid or (slot.gmem and slot.gmem_file is None):
            # Deletion publishes the INVALID copy, and release clears the pointer, before either zaps.
            return ""
        if not (private or slot.gmem_only):
            page = gfn - slot.base_gfn + slot.user_offset
            mine = slot.user is not None and slot.user.frames.get(page) == pfn
            return "" if mine or slot.user is None else "not the slot's user memory"
        if slot.gmem_file is None:
            return "the slot has no file"
        index = slot.index_of(gfn)
        present = slot.gmem_file.inode.folios.get(index)
        # A page that is in no file is I19's matter.
        found = present is None or present.pfn + index - present.index == pfn
        return "" if found else "not the page at its index of the file"

    # -- rest --------------------------------------------------------------------------------------

    @at_rest("I19")
    def tables_show_the_file(self, full: bool) -> None:
        """Every SPTE lies in a slot and shows the folio at its index, or the slot's other memory."""
        if not full:
            return
        for vm in self.world.vms.values():
            for gfn, spte in vm.stage2.all():
                wrong = self._wrong(vm, gfn, spte)
                if wrong:
                    self.fail(
                        "I19",
                        f"gfn {gfn:#x} of {vm.label} maps frame {spte.pfn:#x}: {wrong}",
                        None,
                        None,
                        gfn=gfn,
                        pfn=spte.pfn,
                        vm=vm.label,
                    )

    @staticmethod
    def _wrong(vm: Vm, gfn: int, spte: Spte) -> str:
        slot = vm.slot_of(gfn)
        if slot is None:
            return "no slot is there"
        if spte.folio is None:
            page = gfn - slot.base_gfn + slot.user_offset
            mine = slot.user is not None and slot.user.frames.get(page) == spte.pfn
            return "" if mine else "not the slot's user memory"
        if slot.gmem_file is None:
            return "the slot has no file"
        index = slot.index_of(gfn)
        present = slot.gmem_file.inode.folios.get(index)
        if present is spte.folio:
            return ""
        # Split and merge replace the folio and leave the frames: a leaf that they did not concern stays.
        huge = isinstance(slot.gmem_file.inode.folios, HugeCache)
        if huge and present is not None and present.pfn + index - present.index == spte.pfn:
            return ""
        return "not the folio at its index"
