"""Memory that was freed: memslots, inodes and files that somebody goes on to use (use_after_free).

An inode is freed by `evict_inode`, and its locks lie in it: whoever asks for one of them, waits for it, gets it or
gives it back from then on uses freed memory. A try that fails needs no event: it fails because somebody else has the
lock, and gets it or gives it back after the eviction, too. So does who slept on it when the inode was evicted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.events import Contended, Lock, LockRequest, Unlock
from ..audit.kvm_events import Create, UseAfterFree
from .watch import Shared, Subject, at_rest, before, track

if TYPE_CHECKING:
    from ..engine.task import Task

_IN_INODE = ("invalidate_lock", "i_mmap_rwsem")


class Freed(Subject):
    """Who uses what is gone."""

    about = "freed memory"

    def __init__(self, oracles: Shared) -> None:
        super().__init__(oracles)
        self.slots: list[str] = []
        #: Labels of files that there were, and of those the ones that a second file has.
        self.seen = set(self.world.inodes)
        self.again: set[str] = set()

    @track(Create)
    def created(self, t: Task, event: Create) -> None:
        """A file can have the label of one that was evicted: only who holds its lock tells the two apart then."""
        if event.ret == 0:
            (self.again if event.file in self.seen else self.seen).add(event.file)

    @before("use_after_free", LockRequest, Contended, Lock, Unlock, locks=_IN_INODE)
    def lock_of_an_inode(self, t: Task, event: LockRequest | Contended | Lock | Unlock) -> None:
        """The inode that the lock lies in is not evicted."""
        kind, owner = self.ledger.kind(event.lock)
        if not owner:
            return  # of nobody known: a lock of the patch's own that states the same class
        inode = self.world.inodes.get(owner)
        if inode is not None:
            if owner not in self.again or not isinstance(event, Lock | Unlock):
                return
            lock = getattr(inode, kind)
            if lock.read_held(t) or lock.write_held(t):
                return
        self.fail(
            "use_after_free",
            f"{t.name} uses {event.lock} after the inode of {owner}, in which it lies, was evicted and freed",
            t,
            event,
            lock=event.lock,
            file=owner,
        )

    @before("use_after_free", UseAfterFree)
    def used(self, t: Task, event: UseAfterFree) -> None:
        """A use that the kernel function noted where it happens; that of a memslot is judged at rest."""
        if event.ident < 0:
            says = f"{t.name} uses {event.what} after it was freed"
            self.fail("use_after_free", says, t, event, what=event.what)
            return
        says = f"{event.what} {event.ident} is used by {t.name} after it was freed"
        self.oracles.note("freed_memslot", says, t)
        if says not in self.slots:
            self.slots.append(says)

    @at_rest("use_after_free")
    def no_use_of_a_slot(self, full: bool) -> None:
        """Judged last: what else such a use breaks says more of how it came about."""
        for says in self.slots:
            self.fail("use_after_free", says, None, None)
