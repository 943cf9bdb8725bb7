"""Large stage-2 leaves: no larger than folio and arch allow, and never over a border of kinds (I46)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.fault import RetPf
from ..actors.stage2 import PG_LEVEL_4K, level_pages
from ..audit.kvm_events import MapRet
from .watch import Subject, at_rest, before

if TYPE_CHECKING:
    from ..actors.stage2 import Spte
    from ..actors.vm import Vm
    from ..audit.base import Event
    from ..engine.task import Task


class Levels(Subject):
    """What leaves above 4 KiB cover."""

    about = "mapping levels"

    def _judge(self, vm: Vm, gfn: int, spte: Spte, t: Task | None, event: Event | None) -> None:
        pages = level_pages(spte.level)
        why = ""
        if gfn % pages or spte.pfn % pages:
            why = "which is not aligned to it"
        elif spte.folio is None or spte.folio.pages < pages:
            why = "larger than its folio"
        elif any(self.ledger.is_private(vm, at) != spte.private for at in range(gfn, gfn + pages)):
            why = "over a border between private and shared"
        if why:
            self.fail(
                "I46",
                f"gfn {gfn:#x} of {vm.label} is mapped at level {spte.level}, {why}",
                t,
                event,
                gfn=gfn,
                pfn=spte.pfn,
                level=spte.level,
            )

    @before("I46", MapRet)
    def new_leaf(self, t: Task, event: MapRet) -> None:
        """A large leaf as it is installed."""
        label = self.ledger.of(t).mmu
        vm = self.vm(label) if label else None
        if event.ret != RetPf.FIXED or vm is None or not vm.stage2.large:
            return
        gfn = self.ledger.of(t).fault[0]
        for private in (True, False):
            found = vm.stage2.covering(vm.stage2.root(private), gfn)
            if found is not None and found[1].level > PG_LEVEL_4K and found[1].pfn >= 0:
                self._judge(vm, *found, t, event)
                return

    @at_rest("I46")
    def leaves_at_rest(self, full: bool) -> None:
        """The same at rest, and the arch's limit, which a PSMASH lowers before the zap that follows it.

        Not asked of a mirror root: there the module keeps the levels.
        """
        if not full:
            return
        for vm in self.world.vms.values():
            if not vm.stage2.large:
                continue
            for gfn, spte in vm.stage2.all():
                if spte.level == PG_LEVEL_4K:
                    continue
                self._limit(vm, gfn, spte)

    def _limit(self, vm: Vm, gfn: int, spte: Spte) -> None:
        limit = 0 if vm.stage2.mirrored else vm.arch.max_level(spte.pfn, spte.private)
        if limit and spte.level > limit:
            self.fail(
                "I46",
                f"gfn {gfn:#x} of {vm.label} is mapped at level {spte.level}, and the arch allows {limit}",
                None,
                None,
                gfn=gfn,
                pfn=spte.pfn,
                level=spte.level,
            )
        self._judge(vm, gfn, spte, None, None)
