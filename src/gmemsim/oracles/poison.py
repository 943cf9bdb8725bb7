"""Memory errors: what may still be done with a page once memory_failure returned (poison), and what its mappings
remember of it (I50)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.fault import RetPf
from ..audit.events import Unlock
from ..audit.inplace_events import ContentMode
from ..audit.kvm_events import Discard, GuestTouch, HostTouch, MapRet, MemoryFailureRet, PoisonEntry
from .watch import Shared, Subject, before, track

if TYPE_CHECKING:
    from ..engine.task import Task
    from .ledger import Life


class Poison(Subject):
    """Pages that hardware reported, and host entries that they were taken out of."""

    about = "memory errors"

    def __init__(self, oracles: Shared) -> None:
        super().__init__(oracles)
        #: Poison entries that nobody dropped yet: (mapping, index).
        self.entries: set[tuple[str, int]] = set()
        #: What each task is discarding.
        self.discarding: dict[Task, Discard] = {}

    # -- the page ----------------------------------------------------------------------------------

    @before("poison", MemoryFailureRet)
    def unmapped(self, t: Task, event: MemoryFailureRet) -> None:
        """When memory_failure returns, no SPTE shows the poisoned page."""
        life = self._reported(t)
        if life is None:
            return
        for label, gfn, private in sorted(life.mapped):
            vm = self.vm(label)
            spte = None if vm is None else vm.stage2.find(gfn, private)
            if spte is not None and spte.folio is life.folio:
                self.fail(
                    "poison",
                    f"gfn {gfn:#x} of {label} still maps the poisoned frame {life.pfn:#x}",
                    t,
                    event,
                    gfn=gfn,
                    pfn=life.pfn,
                    vm=label,
                    private=private,
                )

    @track(MemoryFailureRet)
    def returned(self, t: Task, event: MemoryFailureRet) -> None:
        """From here on nobody may get at it."""
        life = self._reported(t)
        if life is not None:
            life.failed = True

    def _reported(self, t: Task) -> Life | None:
        """The page that the task's memory_failure is about, if it is poisoned and still in its file."""
        life = self.ledger.lives.get(self.ledger.of(t).poison_pfn)
        alive = life is not None and life.cached and life.folio is not None and life.folio.poisoned
        return life if alive else None

    @before("poison", MapRet)
    def not_mapped_again(self, t: Task, event: MapRet) -> None:
        """No fault maps it any more: get_pfn answers -EHWPOISON, and one that was under way is stale."""
        gfn, pfn = self.ledger.of(t).fault
        if event.ret == RetPf.FIXED and self._failed(pfn):
            self.fail(
                "poison",
                f"gfn {gfn:#x} is mapped to frame {pfn:#x} after its memory failure was handled",
                t,
                event,
                gfn=gfn,
                pfn=pfn,
            )

    @before("poison", GuestTouch)
    def guest_stays_out(self, t: Task, event: GuestTouch) -> None:
        """No translation of it is left for a guest to use."""
        if self._failed(event.pfn):
            self.fail(
                "poison",
                f"the guest uses frame {event.pfn:#x} after its memory failure was handled",
                t,
                event,
                gfn=event.gfn,
                pfn=event.pfn,
                vm=event.vm,
            )

    @before("poison", HostTouch)
    def host_stays_out(self, t: Task, event: HostTouch) -> None:
        """No host entry leads to it; the event does not name the mapping, and none may."""
        for inode in self.world.inodes.values():
            for mapping in inode.mappings:
                folio = mapping.mapped.get(event.index)
                if folio is not None and folio.poisoned and self._failed(folio.pfn):
                    self.fail(
                        "poison",
                        f"the host maps frame {folio.pfn:#x} after its memory failure was handled",
                        t,
                        event,
                        index=event.index,
                        pfn=folio.pfn,
                    )

    @before("poison", ContentMode)
    def content_left_alone(self, t: Task, event: ContentMode) -> None:
        """A conversion that changes contents skips it."""
        converting = self.ledger.of(t).converting
        folio = None if converting is None else converting[0].inode.folios.get(event.index)
        if folio is not None and folio.poisoned and self._failed(folio.pfn):
            self.fail(
                "poison",
                f"the kernel writes to frame {folio.pfn:#x} after its memory failure was handled",
                t,
                event,
                index=event.index,
                pfn=folio.pfn,
            )

    def _failed(self, pfn: int) -> bool:
        life = self.ledger.life_at(pfn)
        return life is not None and life.failed

    # -- entries -----------------------------------------------------------------------------------

    @track(PoisonEntry)
    def left(self, t: Task, event: PoisonEntry) -> None:
        """The process is to be told at its next touch, unless it is just dropping the entry."""
        for discard in self.discarding.values():
            if discard.mapping == event.mapping and discard.start <= event.index < discard.end:
                return
        self.entries.add((event.mapping, event.index))

    @track(Discard)
    def dropped(self, t: Task, event: Discard) -> None:
        """madvise and munmap drop entries until they give mmap_lock back."""
        self.discarding[t] = event
        self.entries = {
            (mapping, index)
            for mapping, index in self.entries
            if mapping != event.mapping or not event.start <= index < event.end
        }

    @track(Unlock, locks=["mmap_lock"])
    def discarded(self, t: Task, event: Unlock) -> None:
        """The call is over."""
        self.discarding.pop(t, None)

    @before("I50", HostTouch)
    def told_first(self, t: Task, event: HostTouch) -> None:
        """Where an entry was lost to a memory failure, no page is found before somebody dropped the poison."""
        if not self.entries:
            return
        for inode in self.world.inodes.values():
            for mapping in inode.mappings:
                if event.index in mapping.mapped and (mapping.label, event.index) in self.entries:
                    self.fail(
                        "I50",
                        f"{mapping.label} has a page at index {event.index} again, which it lost to a memory failure, "
                        "and nobody told its process",
                        t,
                        event,
                        index=event.index,
                        pfn=mapping.mapped[event.index].pfn,
                    )
