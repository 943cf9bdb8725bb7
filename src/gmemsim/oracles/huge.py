"""Huge folios: structure and attributes (I41, I47, I48), who may change it (I42, I43), stash and pool (I44, I45)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.huge_cache import Gap, HugeCache
from ..audit.huge_events import HugeMerge, HugePagesPut, HugeSplit
from ..audit.kvm_events import FilemapAdd, FreePage, GetFolio, GetFolioRet, PageCacheAdd, SetUptodate
from ..patches.hugepage import Hugepage
from .ledger import Life
from .watch import Shared, Subject, after, at_rest, before, track

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.huge_pool import Subpool
    from ..actors.inode import GmemInode
    from ..engine.task import Task


class HugePages(Subject):
    """What must hold of files with huge folios."""

    about = "huge pages"

    def __init__(self, oracles: Shared) -> None:
        super().__init__(oracles)
        #: Huge pages that were allocated and not given back, by first frame, with the pages of each that came back.
        self.out: dict[int, int] = {}
        self.sizes: dict[int, int] = {}
        #: First frame of the huge page that a task has just inserted.
        self.inserted: dict[Task, int] = {}
        #: Index that a task looks up.
        self.asked: dict[Task, int] = {}
        if isinstance(self.kernel, Hugepage):
            for first, pool in self.kernel.huge_frames.items():
                self.out[first] = pool.stash.get(first, 0)
                self.sizes[first] = 1 << pool.order

    def _pool(self, pfn: int) -> tuple[int, Subpool] | None:
        return self.kernel.huge_page_of(pfn) if isinstance(self.kernel, Hugepage) else None

    def _inode(self, pfn: int) -> GmemInode | None:
        """The file whose huge page a frame is part of."""
        found = self._pool(pfn)
        if found is None or not isinstance(self.kernel, Hugepage):
            return None
        for label, pool in self.kernel.subpools.items():
            if pool is found[1]:
                return self.world.inodes.get(label)
        return None

    @staticmethod
    def _shared(inode: GmemInode, index: int, pages: int) -> bool:
        return inode.attributes is not None and not inode.attributes.uniform(index, index + pages, True)

    # -- structure and attributes --------------------------------------------------------------------

    @after("I41", GetFolioRet)
    def found_folio_is_private(self, t: Task, event: GetFolioRet) -> None:
        """Nobody is given a large folio of which a page is shared."""
        life = self.ledger.lives.get(event.pfn)
        if life is None or life.folio is None or life.inode is None or not life.folio.order:
            return
        if self._shared(life.inode, life.folio.index, life.folio.pages):
            self.fail(
                "I41",
                f"a folio of order {life.folio.order} at index {life.folio.index} has shared pages",
                t,
                event,
                index=life.folio.index,
                pfn=event.pfn,
            )

    @at_rest("I41")
    def large_folios_are_private(self, full: bool) -> None:
        """At rest every folio larger than a page is private as a whole, untouched ones too."""
        if not full:
            return
        for inode in self.world.inodes.values():
            cache = inode.folios
            if not isinstance(cache, HugeCache) or inode.attributes is None:
                continue
            for start, end, private in inode.attributes.ranges():
                order = 0 if private else cache.largest(start, end)
                if order:
                    self.fail(
                        "I41",
                        f"{inode.label} has a folio of order {order} over shared pages [{start}, {end})",
                        None,
                        None,
                        index=start,
                        order=order,
                    )

    @before("I47", HugeSplit, HugeMerge)
    def one_clear_state(self, t: Task, event: HugeSplit | HugeMerge) -> None:
        """A flag that speaks for all pages is true of each: none holds what the host had there before."""
        inode = self._inode(event.pfn)
        if inode is None or not isinstance(inode.folios, HugeCache):
            return
        memory = self.kernel.memory
        piece = inode.folios.next_piece(event.index, event.index + 1)
        uptodate = piece is not None and (piece.split if isinstance(piece, Gap) else piece).uptodate
        if uptodate and memory.stale(event.pfn, 1 << event.order):
            self.fail(
                "I47",
                f"the folio at index {event.index} counts as uptodate with pages that nobody cleared",
                t,
                event,
                index=event.index,
                pfn=event.pfn,
            )

    @before("I47", SetUptodate)
    def all_of_it_is_cleared(self, t: Task, event: SetUptodate) -> None:
        """The same when the flag of a large folio is set."""
        life = self.ledger.lives.get(event.pfn)
        if life is None or life.folio is None or not life.folio.order:
            return
        if self.kernel.memory.stale(event.pfn, life.folio.pages):
            self.fail(
                "I47",
                f"the folio at index {event.index} becomes uptodate with pages that nobody cleared",
                t,
                event,
                index=event.index,
                pfn=event.pfn,
            )

    @before("I48", HugeMerge)
    def merged_when_all_private(self, t: Task, event: HugeMerge) -> None:
        """A conversion merges what has no shared page left; a hole, which frees the range, may merge any."""
        inode = self._inode(event.pfn)
        if inode is None or self.ledger.of(t).converting is None:
            return
        if self._shared(inode, event.index, 1 << event.order):
            self.fail("I48", f"index {event.index} is merged while pages of it are shared", t, event)

    # -- who may restructure -------------------------------------------------------------------------

    def _fresh(self, t: Task, pfn: int) -> bool:
        found = self._pool(pfn)
        return found is not None and self.inserted.get(t) == found[0]

    @track(PageCacheAdd)
    def inserts(self, t: Task, event: PageCacheAdd) -> None:
        """Until its look-up returns the task may split what it inserted."""
        if event.order:
            self.inserted[t] = event.pfn

    @track(GetFolioRet)
    def looked_up(self, t: Task, event: GetFolioRet) -> None:
        """The look-up returns; a page of a split range has an account from the first one on."""
        self.inserted.pop(t, None)
        found = self._pool(event.pfn) if event.pfn >= 0 else None
        if found is None or event.pfn in self.ledger.lives:
            return
        inode = self._inode(event.pfn)
        folio = None if inode is None else inode.folios.get(self.asked.get(t, -1))
        if inode is not None and folio is not None and folio.pfn == event.pfn:
            self._follow(inode, folio)

    @track(GetFolio)
    def asks(self, t: Task, event: GetFolio) -> None:
        """Remember the index."""
        self.asked[t] = event.index

    def _follow(self, inode: GmemInode, folio: Folio) -> None:
        life = Life(folio.pfn, folio.index)
        life.folio, life.inode, life.cached = folio, inode, True
        life.uptodate = life.prepared = folio.uptodate
        life.clears = 1 if folio.uptodate else 0
        self.ledger.lives[folio.pfn] = self.ledger.present[inode.label, folio.index] = life

    @before("I42", HugeSplit, HugeMerge)
    def under_the_lock(self, t: Task, event: HugeSplit | HugeMerge) -> None:
        """The invalidate lock is held for writing; or it is the look-up that has just inserted the folio."""
        inode = self._inode(event.pfn)
        if inode is None:
            return
        doing = self.ledger.of(t)
        if doing.held.get(f"{inode.label}.invalidate_lock") == "w":
            return
        if not self._fresh(t, event.pfn):
            self.fail(
                "I42",
                f"{t.name} changes the structure at index {event.index} of {inode.label} without its lock",
                t,
                event,
                index=event.index,
            )

    @before("I43", HugeSplit, HugeMerge)
    def frozen(self, t: Task, event: HugeSplit | HugeMerge) -> None:
        """Nobody but the page cache, and who has just inserted it, has a reference of what is replaced."""
        lives = self.ledger.lives
        end = event.pfn + (1 << event.order)
        own = 1 if isinstance(event, HugeSplit) and self._fresh(t, event.pfn) else 0
        for pfn in [pfn for pfn in lives if event.pfn <= pfn < end]:
            life = lives[pfn]
            folio = life.folio
            if folio is None or not life.cached:
                continue
            if folio.ref > folio.pages + (own if folio.order else 0):
                self.fail(
                    "I43",
                    f"index {folio.index} is restructured while somebody else holds it",
                    t,
                    event,
                    pfn=pfn,
                    ref=folio.ref,
                )

    # -- stash and pool ------------------------------------------------------------------------------

    @track(FilemapAdd)
    def allocated(self, t: Task, event: FilemapAdd) -> None:
        """One more huge page is out."""
        found = self._pool(event.pfn)
        if found is not None and found[0] == event.pfn:
            self.out[event.pfn] = 0
            self.sizes[event.pfn] = 1 << found[1].order

    @after("I45", FilemapAdd)
    def within_the_reservation(self, t: Task, event: FilemapAdd) -> None:
        """A file has no more huge pages than were reserved for it."""
        found = self._pool(event.pfn)
        if found is None:
            return
        pool = found[1]
        mine = [first for first in self.out if (other := self._pool(first)) is not None and other[1] is pool]
        if len(mine) > pool.size:
            self.fail(
                "I45",
                f"{len(mine)} huge pages are out of a subpool of {pool.size}",
                t,
                event,
                out=len(mine),
                size=pool.size,
            )

    @before("I8", HugePagesPut)
    def nobody_uses_them(self, t: Task, event: HugePagesPut) -> None:
        """Page cache and host page tables have let go of pages that come back."""
        lives = self.ledger.lives
        for pfn in [pfn for pfn in lives if event.pfn <= pfn < event.pfn + event.pages]:
            life = lives[pfn]
            if life.cached or (life.folio is not None and (life.folio.mapcount or life.folio.pins)):
                self.fail("I8", f"frame {pfn:#x} comes back while it is in use", t, event, pfn=pfn)

    @track(HugePagesPut)
    def came_back(self, t: Task, event: HugePagesPut) -> None:
        """Pages of a split one; whoever had an account of one closes it."""
        found = self._pool(event.pfn)
        if found is not None and found[0] in self.out:
            self.out[found[0]] += event.pages
        ledger = self.ledger
        for pfn in [pfn for pfn in ledger.lives if event.pfn <= pfn < event.pfn + event.pages]:
            life = ledger.lives.pop(pfn)
            ledger.touched.discard(life)
            ledger.leaving.pop(life, None)

    @track(FreePage)
    def given_back(self, t: Task, event: FreePage) -> None:
        """It is in the pool again."""
        self.out.pop(event.pfn, None)
        self.sizes.pop(event.pfn, None)

    @before("I44", FreePage)
    def whole_when_given_back(self, t: Task, event: FreePage) -> None:
        """A split page goes back when all of its pages came, and its stash entry is gone then."""
        back = self.out.get(event.pfn)
        pools = getattr(self.kernel, "subpools", {}).values()
        if back is None:
            return
        if any(event.pfn in pool.stash for pool in pools) or back not in {0, self.sizes[event.pfn]}:
            self.fail(
                "I44",
                f"huge page {event.pfn:#x} is given back with {back} of {self.sizes[event.pfn]} pages",
                t,
                event,
                pfn=event.pfn,
                back=back,
            )

    @at_rest("I44")
    def stash_matches(self, full: bool) -> None:
        """Every split range has its stash entry, and every entry a split range, or pages that have yet to come back."""
        if not full or not isinstance(self.kernel, Hugepage):
            return
        for label, pool in self.kernel.subpools.items():
            inode = self.world.inodes.get(label)
            cache = None if inode is None else inode.folios
            if not isinstance(cache, HugeCache):
                continue
            split = {found.pfn for (_, order), found in cache.splits.items() if order == pool.order}
            for pfn in sorted(split - pool.stash.keys()):
                self.fail(
                    "I44", f"split huge page {pfn:#x} of {label} has no stash entry", None, None, pfn=pfn
                )
            whole = {folio.pfn for folio in dict.values(cache) if folio.order == pool.order}
            for pfn in sorted(pool.stash.keys() & whole):
                self.fail("I44", f"{pfn:#x} of {label} is merged, and has a stash entry", None, None, pfn=pfn)
            for pfn in sorted(pool.stash.keys() - split):
                if self.out.get(pfn, 0) >= 1 << pool.order or pfn not in self.kernel.huge_frames:
                    self.fail(
                        "I44",
                        f"all pages of {pfn:#x} came back, and it is still in the stash of {label}",
                        None,
                        None,
                        pfn=pfn,
                    )
