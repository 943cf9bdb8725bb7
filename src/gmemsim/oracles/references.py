"""References of folios: what they must add up to when nothing is in flight (I8)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..audit.kvm_events import FreePage, MemoryFailure, Pin, Unpin
from .watch import Subject, at_rest, before, track

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..actors.folio import Folio
    from ..engine.task import Task
    from .ledger import Life


class References(Subject):
    """Counts."""

    about = "references"

    @before("I8", FreePage)
    def nobody_uses_it(self, t: Task, event: FreePage) -> None:
        """A frame is freed only when the page cache and the host's page tables let go of it."""
        life = self.ledger.lives.get(event.pfn)
        if life is None or life.folio is None:
            return
        if life.cached:
            self.fail(
                "I8",
                f"frame {event.pfn:#x} is freed while it is in the page cache at index {life.index}",
                t,
                event,
                pfn=event.pfn,
            )
        elif life.folio.mapcount or life.folio.pins:
            self.fail(
                "I8",
                f"frame {event.pfn:#x} is freed while the host maps or pins it",
                t,
                event,
                pfn=event.pfn,
                mapcount=life.folio.mapcount,
                pins=life.folio.pins,
            )

    @track(Pin, Unpin, MemoryFailure)
    def touched(self, t: Task, event: Pin | Unpin | MemoryFailure) -> None:
        """These change counts without a look-up."""
        life = self.ledger.lives.get(event.pfn)
        if life is not None:
            self.ledger.touched.add(life)
        if isinstance(event, MemoryFailure):
            self.ledger.of(t).poison_pfn = event.pfn

    @at_rest("I8")
    def balanced(self, full: bool) -> None:
        """REF = pages in the cache + host mappings + pins + LRU batches + 1 if poisoned; at 0 the frame is freed."""
        ledger = self.ledger
        lives: Iterable[Life] = list(ledger.lives.values()) if full else ledger.touched
        for life in sorted(lives, key=lambda life: (life.pfn, life.index)):
            folio = life.folio
            if folio is None:
                self.fail(
                    "I8",
                    f"frame {life.pfn:#x} was allocated for index {life.index} and lost",
                    None,
                    None,
                    pfn=life.pfn,
                )
                continue
            expected = (folio.pages if life.cached else 0) + folio.mapcount + folio.pins + folio.poisoned
            expected += self.kernel.lru_references(folio)
            if folio.ref != expected:
                self._wrong(folio, life, expected)
            elif not expected:
                self.fail(
                    "I8",
                    f"frame {life.pfn:#x} has no reference left and was not freed",
                    None,
                    None,
                    pfn=life.pfn,
                )
        if full:
            self._mapcounts()

    def _wrong(self, folio: Folio, life: Life, expected: int) -> None:
        where = f"index {life.index}" if life.cached else f"frame {life.pfn:#x}, gone from the page cache,"
        self.fail(
            "I8",
            f"{where} has {folio.ref} references at rest, not {expected}",
            None,
            None,
            pfn=life.pfn,
            ref=folio.ref,
            mapcount=folio.mapcount,
            pins=folio.pins,
            poisoned=folio.poisoned,
        )

    def _mapcounts(self) -> None:
        """mapcount is the number of host page-table entries."""
        entries: Counter[Folio] = Counter()
        for inode in self.world.inodes.values():
            for mapping in inode.mappings:
                entries.update(mapping.mapped.values())
        for life in self.ledger.lives.values():
            folio = life.folio
            if folio is not None and folio.mapcount != entries[folio]:
                self.fail(
                    "I8",
                    f"index {life.index} has mapcount {folio.mapcount}, {entries[folio]} host entries",
                    None,
                    None,
                    pfn=life.pfn,
                )
