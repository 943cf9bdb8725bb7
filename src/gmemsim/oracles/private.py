"""Private and shared: kinds do not mix (I28), conversions are complete (I20), only they convert (I27)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.fault import RetPf
from ..audit.kvm_events import AttrStore, MapRet, MmuInvEnd, SetAttributes, SetAttributesRet
from .watch import Subject, after, at_rest, before, track

if TYPE_CHECKING:
    from ..actors.vm import Vm
    from ..engine.task import Task


class Privacy(Subject):
    """The VM's attributes and the kind of every SPTE."""

    about = "private and shared"

    def _vm_of(self, t: Task) -> Vm | None:
        """The VM whose mmu_lock or slots_lock the task holds."""
        doing = self.ledger.of(t)
        if doing.mmu:
            return self.vm(doing.mmu)
        for label in doing.held:
            kind, owner = self.ledger.kind(label)
            if kind == "slots_lock":
                return self.vm(owner)
        return None

    @before("I28", MapRet)
    def kind_matches(self, t: Task, event: MapRet) -> None:
        """A new SPTE has the kind that KVM thinks the gfn has, and no conversion of the gfn is under way."""
        vm = self._vm_of(t)
        if event.ret != RetPf.FIXED or vm is None or not vm.arch.has_private_memory:
            return
        gfn, pfn = self.ledger.of(t).fault
        for private in (True, False):
            spte = vm.stage2.find(gfn, private)
            if spte is not None and spte.pfn == pfn and private != self.ledger.is_private(vm, gfn):
                kind, other = ("private", "shared") if private else ("shared", "private")
                self.fail(
                    "I28",
                    f"gfn {gfn:#x} is mapped as {kind} memory and is {other}",
                    t,
                    event,
                    gfn=gfn,
                    pfn=pfn,
                )

    # -- conversions -----------------------------------------------------------------------------

    @track(SetAttributes)
    def begin(self, t: Task, event: SetAttributes) -> None:
        """An attributes ioctl is under way."""
        doing = self.ledger.of(t)
        doing.attributes = (event.start, event.end, event.private)
        doing.stored = 0

    @before("I27", AttrStore)
    def only_by_ioctl(self, t: Task, event: AttrStore) -> None:
        """Attributes change inside the ioctl, in its range, to its value, under slots_lock."""
        doing = self.ledger.of(t)
        want = doing.attributes
        inside = (
            want is not None and want[0] <= event.start and event.end <= want[1] and event.private == want[2]
        )
        if not inside or self._vm_of(t) is None:
            self.fail(
                "I27", f"{t.name} changes attributes of gfn {event.start:#x} outside of the ioctl", t, event
            )

    @track(AttrStore)
    def stored(self, t: Task, event: AttrStore) -> None:
        """Count it."""
        self.ledger.of(t).stored += 1

    @before("I27", SetAttributesRet)
    def error_changes_nothing(self, t: Task, event: SetAttributesRet) -> None:
        """An ioctl that fails has stored nothing."""
        doing = self.ledger.of(t)
        if event.ret < 0 and doing.stored:
            self.fail(
                "I27", f"the ioctl failed ({event.ret}) after it changed attributes", t, event, ret=event.ret
            )

    @after("", SetAttributesRet)
    def done(self, t: Task, event: SetAttributesRet) -> None:
        """The ioctl is over."""
        self.ledger.of(t).attributes = None

    @before("I20", MmuInvEnd)
    def nothing_of_the_old_kind(self, t: Task, event: MmuInvEnd) -> None:
        """When a conversion lets faults in again, the range has no SPTE of the kind that was left."""
        want = self.ledger.of(t).attributes
        vm = self.vm(event.vm)
        if want is None or vm is None:
            return
        start, end, private = want
        root = vm.stage2.root(not private)
        gfns = range(start, end) if end - start < len(root) else sorted(root)
        cut = vm.stage2.covering(root, start)
        if cut is not None and cut[0] < start and cut[1].private != private:
            self.fail(
                "I20", f"gfn {start:#x} of {vm.label} is still mapped by a large leaf", t, event, gfn=start
            )
        for gfn in gfns:
            spte = root.get(gfn)
            if start <= gfn < end and spte is not None and spte.private != private:
                kind = "shared" if private else "private"
                self.fail(
                    "I20",
                    f"gfn {gfn:#x} of {vm.label} is still mapped as {kind} memory",
                    t,
                    event,
                    gfn=gfn,
                    pfn=spte.pfn,
                )

    @at_rest("I20")
    def kinds_at_rest(self, full: bool) -> None:
        """Every SPTE has the kind of its gfn."""
        if not full:
            return
        for vm in self.world.vms.values():
            if vm.arch.has_private_memory:
                for gfn, spte in vm.stage2.all():
                    if spte.private != self.ledger.is_private(vm, gfn):
                        self.fail(
                            "I20",
                            f"gfn {gfn:#x} of {vm.label} is mapped as the wrong kind at rest",
                            None,
                            None,
                            gfn=gfn,
                            pfn=spte.pfn,
                            private=spte.private,
                        )
