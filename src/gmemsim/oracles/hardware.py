"""Accesses that hardware punishes (arch.md 1.6, 2.6, 4.3), and oddities known to be harmless."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..actors.huge_cache import HugeCache
from ..audit.events import Lock, Unlock
from ..audit.kvm_events import Fallocate, FallocateRet, IllegalAccess, PageCacheDelete
from .watch import Shared, Subject, after, at_rest, before, track

if TYPE_CHECKING:
    from ..engine.task import Task
    from .ledger import Life

#: Flags that mean a bug of the kernel: the rule that they break, and what happened.
FATAL_FLAGS: Final[dict[str, tuple[str, str]]] = {
    "HOST_RMP_VIOLATION": ("I35", "the host wrote to a page that the RMP assigns to a guest"),
    "KVM_BUG": ("arch:KVM_BUG", "the TDX module refused what KVM thinks cannot fail"),
    "LIVELOCK": ("arch:LIVELOCK", "an operation spins without bound on a result that cannot change"),
    "PAMT_DOUBLE_MAP": ("arch:PAMT_DOUBLE_MAP", "a frame that a TD owns was given to a TD again"),
    "PKVM_DOUBLE_DONATE": ("arch:PKVM_DOUBLE_DONATE", "a page that a guest owns was donated again"),
    "PKVM_FORCED_RECLAIM": ("I35", "the host touched a page that a guest owns, and destroyed it"),
    "PKVM_LEAK": ("I31", "a frame went back to the allocator while EL2 has it as a guest's"),
    "PKVM_OOPS": ("I35", "the host kernel touched a page that it cannot have back"),
    "PKVM_UNSCRUBBED": (
        "arch:PKVM_UNSCRUBBED",
        "a frame went back to the allocator with the content of its guest",
    ),
    "RMP_LEAK": ("I31", "a frame went back to the allocator while the RMP assigns it to a guest"),
    "RMP_NOT_SHARED": ("I34", "a page became shared in place while the RMP assigns it to a guest"),
    "RMP_SHARED_STALE": ("I34", "a shared access reached a page that the RMP assigns to a guest"),
    "SEPT_UAF": ("I31", "a frame went back to the allocator while an S-EPT maps it"),
    "TDX_MCE": ("I35", "a TD read a line that the host had poisoned"),
    "TDX_POISON_WRITE": ("I35", "the host wrote to a page of a TD"),
    "TDX_UNFLUSHED": (
        "I31",
        "a frame went back to the allocator, or into use, with lines of its TD in the caches",
    ),
    "TLB_STALE": ("arch:TLB_STALE", "a private page was removed while a vCPU may still cache it"),
}

#: Flags that the guest, the VMM or a peek of the host can cause with a kernel that is right.
SOFT_FLAGS: Final[dict[str, str]] = {
    "DOUBLE_VALIDATE": "the guest validated a page twice: its own bug, or a replay",
    "HOST_READ_CIPHERTEXT": "the host read a guest's page and saw ciphertext",
    "PKVM_GFN_STALE": "the file was bound at another address; its donated pages keep the old one",
    "RMP_ASID_STALE": "the page belongs to another guest of the same file",
    "RMP_GPA_STALE": "the file was bound at another address; its prepared pages keep the old one",
    "TDX_FAILED": "the TDX module failed as the run asked; KVM gave the VM up",
    "TDX_HOST_READ": "the host read a TD's page and saw nothing of it",
    "TDX_LOST_PAGE": "the VMM took an accepted page away from the guest",
}


class Hardware(Subject):
    """Flags of the arch actors, and notes."""

    about = "hardware"

    def __init__(self, oracles: Shared) -> None:
        super().__init__(oracles)
        self.note = oracles.note
        #: What was in the range when a PUNCH_HOLE got the invalidate lock, and has not left the page cache since.
        self.holes: dict[Task, list[Life]] = {}
        #: What of that was still there when it gave the lock back.
        self.left: dict[Task, list[Life]] = {}

    @before("arch:flags", IllegalAccess)
    def punished(self, t: Task, event: IllegalAccess) -> None:
        """A flag that means a bug breaks its rule; the others, and unknown ones, are noted."""
        fatal = FATAL_FLAGS.get(event.flag)
        if fatal is None:
            says = SOFT_FLAGS.get(event.flag, "the arch actor flagged an access")
            self.note(event.flag, f"{event.flag}: {says}", t, pfn=event.pfn)
            return
        rule, says = fatal
        if rule in self.oracles.rules or rule.startswith("arch:"):
            self.fail(rule, f"{event.flag}: {says}", t, event, pfn=event.pfn, flag=event.flag)

    @at_rest("I31")
    def held_by_a_batch_only(self, full: bool) -> None:
        """A frame that only a batch on its way to an LRU list still holds is as good as freed: the next drain does it.

        Without this a run that ends before a batch is full would hide what its frames go back with.
        """
        for t, folio in self.kernel.folios_in_batches():
            if folio.mapping is not None or folio.ref != self.kernel.lru_references(folio):
                continue
            for pfn in range(folio.pfn, folio.pfn + folio.pages):
                flags = [vm.arch.page_freed(t, pfn) for vm in self.world.vms.values()]
                flag = next((flag for flag in flags if flag is not None), None)
                if flag is not None and flag in FATAL_FLAGS:
                    rule, says = FATAL_FLAGS[flag]
                    says = says.replace("went back to the allocator", "is about to go back to the allocator")
                    self.fail(rule, f"{flag}: {says}", None, None, pfn=pfn, flag=flag)

    # -- the hole that is not empty (guest-memfd.md 4.5, commit b85524314a3d: documented as harmless) --------------

    @track(Fallocate)
    def punch_begins(self, t: Task, event: Fallocate) -> None:
        """Remember the range of a PUNCH_HOLE."""
        self.ledger.of(t).punch = (event.start, event.end) if event.punch else None
        self.holes.pop(t, None)
        self.left.pop(t, None)

    @track(Lock, locks=["invalidate_lock"])
    def punch_locks(self, t: Task, event: Lock) -> None:
        """Pages that are there now have to go; of huge folios parts may stay.

        Those that come while a hole lets go of the lock and takes it again are another matter, as after it.
        """
        if t in self.holes:
            return
        punch = self.ledger.of(t).punch
        inode = self.world.inodes.get(self.ledger.kind(event.lock)[1])
        if punch is not None and inode is not None and not isinstance(inode.folios, HugeCache):
            present = self.ledger.present
            self.holes[t] = [
                present[inode.label, index]
                for index in sorted(inode.folios)
                if punch[0] <= index < punch[1] and (inode.label, index) in present
            ]

    @track(PageCacheDelete)
    def hole_took_one(self, t: Task, event: PageCacheDelete) -> None:
        """What is gone need not be remembered."""
        for task, lives in self.holes.items():
            if any(life.pfn == event.pfn for life in lives):
                self.holes[task] = [life for life in lives if life.pfn != event.pfn]

    @track(Unlock, locks=["invalidate_lock"])
    def hole_leaves(self, t: Task, event: Unlock) -> None:
        """What comes after the lock is another matter; the last time that it is let go counts."""
        self.left.pop(t, None)
        left = [life for life in self.holes.get(t, ()) if life.cached]
        if left and self.ledger.of(t).punch is not None:
            self.left[t] = left

    @before("I53", FallocateRet)
    def hole_took_all(self, t: Task, event: FallocateRet) -> None:
        """Truncation waits for whoever has a page locked; it never leaves one out. A hole that is refused may."""
        self.holes.pop(t, None)
        for life in self.left.pop(t, ()):
            if not event.ret:
                self.fail(
                    "I53",
                    f"PUNCH_HOLE leaves the page at index {life.index}, which was there when it began",
                    t,
                    event,
                    index=life.index,
                    pfn=life.pfn,
                )

    @before("I54", PageCacheDelete)
    def hole_is_exclusive(self, t: Task, event: PageCacheDelete) -> None:
        """Whoever holds the lock shared may rely on pages that it found."""
        doing = self.ledger.of(t)
        life = self.ledger.lives.get(event.pfn)
        if doing.punch is None or life is None or life.inode is None:
            return
        if doing.held.get(life.inode.invalidate_lock.label) != "w":
            self.fail(
                "I54",
                f"PUNCH_HOLE removes index {event.index} of {life.inode.label} without its lock, exclusive",
                t,
                event,
                index=event.index,
                pfn=event.pfn,
            )

    @track(Unlock, locks=["invalidate_lock"])
    def punch_ends(self, t: Task, event: Unlock) -> None:
        """Remember the file while its lock still tells which it is."""
        doing = self.ledger.of(t)
        if doing.punch is not None:
            kind, owner = self.ledger.kind(event.lock)
            if kind == "invalidate_lock":
                doing.punched_inode = self.world.inodes.get(owner)

    @after("", FallocateRet)
    def hole_is_empty(self, t: Task, event: FallocateRet) -> None:
        """Where faults take no invalidate lock, one of them may have filled the hole again."""
        doing = self.ledger.of(t)
        inode, punch = doing.punched_inode, doing.punch
        doing.punched_inode = doing.punch = None
        if inode is None or punch is None or event.ret:
            return
        start, end = punch
        left = range(start, end) if end - start < len(inode.folios) else sorted(inode.folios)
        filled = [index for index in left if start <= index < end and index in inode.folios]
        if filled:
            self.note("hole", "a fault filled the hole again before PUNCH_HOLE returned", t, indices=filled)
