"""PG_dirty (I49): set before KVM lets go of a page that it mapped, kept until truncation, never evicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.events import Unlock
from ..audit.kvm_events import EvictFolio, HostTouch, MapRet
from .watch import Shared, Subject, at_rest, before, track

if TYPE_CHECKING:
    from ..engine.task import Task
    from .ledger import Life

#: RET_PF_FIXED, RET_PF_SPURIOUS.
_MAPPED = (5, 6)


class DirtyPages(Subject):
    """Our own account of who has to be dirty."""

    about = "dirty pages"

    def __init__(self, oracles: Shared) -> None:
        super().__init__(oracles)
        #: The page that a fault mapped in the mmu_lock section that its task is in.
        self.mapped: dict[Task, Life] = {}
        #: Whether faults dirty pages at all: get_pfn hands one out, and the fault ends as since 6.13.
        self.by_faults = not self.kernel.get_pfn_puts and self.kernel.release.put_under_mmu_lock

    @track(MapRet)
    def guest_maps(self, t: Task, event: MapRet) -> None:
        """A fault that is no retry; the launch maps a page whose reference is not the fault's."""
        doing = self.ledger.of(t)
        life = self.ledger.lives.get(doing.fault[1])
        if event.ret in _MAPPED and self.by_faults and doing.populated is None and life is not None:
            self.mapped[t] = life

    @before("I49", Unlock, locks=["mmu_lock"])
    def dirty_under_mmu_lock(self, t: Task, event: Unlock) -> None:
        """kvm_release_faultin_page marks it while mmu_lock is held."""
        life = self.mapped.get(t)
        if life is not None and life.folio is not None and not life.folio.dirty:
            self.fail(
                "I49",
                f"KVM mapped index {life.index} and lets go of it without marking it dirty",
                t,
                event,
                pfn=life.pfn,
            )

    @track(Unlock, locks=["mmu_lock"])
    def section_ends(self, t: Task, event: Unlock) -> None:
        """From here on it has to stay dirty."""
        life = self.mapped.pop(t, None)
        if life is not None:
            life.dirty = True

    @track(HostTouch)
    def host_writes(self, t: Task, event: HostTouch) -> None:
        """The event does not name the file: only where one alone can be meant."""
        if not event.write:
            return
        found = {
            mapping.mapped[event.index]
            for inode in self.world.inodes.values()
            for mapping in inode.mappings
            if event.index in mapping.mapped
        }
        life = self.ledger.lives.get(next(iter(found)).pfn) if len(found) == 1 else None
        if life is not None:
            life.dirty = True
            self.ledger.touched.add(life)

    @before("I49", EvictFolio)
    def not_evicted(self, t: Task, event: EvictFolio) -> None:
        """Eviction is for clean pages that nobody uses: nobody would zap what leads to this one."""
        life = self.ledger.lives.get(event.pfn)
        if life is not None and life.folio is not None and life.folio.ref > life.folio.pages + 1:
            # One a page from the cache, one from the fault that evicts.
            self.fail(
                "I49",
                f"index {event.index} is evicted from the page cache while somebody uses it",
                t,
                event,
                pfn=event.pfn,
                ref=life.folio.ref,
            )
        if life is not None and life.dirty:
            self.fail(
                "I49",
                f"index {event.index} is evicted from the page cache though dirty",
                t,
                event,
                pfn=event.pfn,
            )

    @at_rest("I49")
    def stays_dirty(self, full: bool) -> None:
        """Nothing but truncation ends it."""
        for life in sorted(self.ledger.touched, key=lambda life: (life.pfn, life.index)):
            folio = life.folio
            if life.dirty and life.cached and folio is not None and folio.mapping and not folio.dirty:
                self.fail("I49", f"index {life.index} is not dirty any more", None, None, pfn=life.pfn)
