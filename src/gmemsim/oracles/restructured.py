"""Split and merge replace folios without a page leaving the page cache: whom the other checks then speak of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.huge_events import HugeMerge, HugeSplit
from .ledger import Life
from .watch import Subject, track

if TYPE_CHECKING:
    from ..engine.task import Task


class Restructured(Subject):
    """The account of a huge folio ends when it is split, and a new one begins when the pages are merged.

    Pages of a split range have none: the model makes folios of them when somebody looks, and logs nothing then.
    """

    about = "split and merge"

    @track(HugeSplit)
    def split(self, t: Task, event: HugeSplit) -> None:
        """Nobody's folio; who held its lock (who inserted it) has let go."""
        ledger = self.ledger
        life = ledger.lives.pop(event.pfn, None)
        if life is None:
            return
        self._forget(life)
        if life.inode is not None:
            label = f"{life.inode.lock_label}[{event.index}]"
            ledger.of(t).held.pop(label, None)
            ledger.holders.get(label, {}).pop(t, None)

    @track(HugeMerge)
    def merged(self, t: Task, event: HugeMerge) -> None:
        """A folio in the page cache, as it is now."""
        ledger = self.ledger
        for pfn in [pfn for pfn in ledger.lives if event.pfn <= pfn < event.pfn + (1 << event.order)]:
            self._forget(ledger.lives.pop(pfn))
        inode = ledger.inode_with(event.index, event.pfn)
        if inode is None:
            return
        folio = inode.folios[event.index]
        life = ledger.lives[event.pfn] = ledger.present[inode.label, event.index] = Life(
            event.pfn, event.index
        )
        life.folio, life.inode, life.cached = folio, inode, True
        life.uptodate = life.prepared = folio.uptodate
        life.clears = 1 if folio.uptodate else 0
        ledger.touched.add(life)

    def _forget(self, life: Life) -> None:
        ledger = self.ledger
        ledger.touched.discard(life)
        ledger.leaving.pop(life, None)
        for key in life.mapped:
            ledger.installed.pop(key, None)
        if life.inode is not None:
            ledger.present.pop((life.inode.label, life.index), None)
