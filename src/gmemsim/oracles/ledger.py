"""What the oracles remember of a run: the life of every frame, and what every task holds and is doing.

Kept from events alone where events say it; the world is only asked what they leave out (which inode a new
folio belongs to). So a check compares two accounts, the kernel's and ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..actors.huge_pool import ORDER_1G, ORDER_2M
from ..arch.huge_contents import HUGE_AREA
from .roles import Roles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..actors.folio import Folio
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.kernel import Kernel
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm, World
    from ..engine.task import Task

#: Stands for the kinds of all locks that sleep, as they say themselves (`engine.locks.kinds`).
SLEEPING: Final = "sleeping"


class Life:
    """One use of a frame by guest_memfd: from its allocation until it goes back to the allocator.

    Attributes:
        cached: the folio is in the page cache.
        clears: how often it was cleared; `clear_again` allows one more (A: prepare failed).
        prepared: the arch said yes to prepare or make_private.
        assigned: hardware was told to give the frame to a guest, and has not been told otherwise.
        populated: the populate callback succeeded.
        host_made: a host fault brought it up to date.
        dirty: KVM or the host's writes made it dirty.
        failed: memory_failure has returned for it.
        mapped: where SPTEs were installed, as (vm, gfn, private).
    """

    __slots__ = (
        "assigned",
        "cached",
        "clear_again",
        "clears",
        "dirty",
        "failed",
        "folio",
        "host_made",
        "index",
        "inode",
        "mapped",
        "pfn",
        "populated",
        "prepared",
        "uptodate",
    )

    def __init__(self, pfn: int, index: int) -> None:
        self.pfn = pfn
        self.index = index
        self.folio: Folio | None = None
        self.inode: GmemInode | None = None
        self.cached = False
        self.clears = 0
        self.clear_again = False
        self.uptodate = False
        self.prepared = False
        self.assigned = False
        self.populated = False
        self.host_made = False
        self.dirty = False
        self.failed = False
        self.mapped: set[tuple[str, int, bool]] = set()

    @property
    def label(self) -> str:
        """Tells lives apart in the digest of a state, whatever their addresses."""
        return f"{self.pfn:#x}[{self.index}]"


class Invalidation:
    """One `kvm_mmu_invalidate_start` that waits for its end; `ranges` are the gfns zapped so far."""

    __slots__ = ("ranges", "task", "vm")

    def __init__(self, vm: str, task: Task) -> None:
        self.vm = vm
        self.task = task
        self.ranges: list[tuple[int, int]] = []


class Doing:
    """What one task holds and is in the middle of."""

    __slots__ = (
        "attributes",
        "busy",
        "converting",
        "fault",
        "folio_life",
        "folio_pfn",
        "held",
        "invalidations",
        "mmu",
        "pfn_seq",
        "point_of_no_return",
        "poison_pfn",
        "populated",
        "prepare_pfn",
        "punch",
        "punched_inode",
        "sections",
        "stored",
        "task",
        "user_fault",
        "wanted_gfn",
        "zapping",
        "zaps",
    )

    def __init__(self, task: Task) -> None:
        self.task = task
        #: Locks held, by label, with their mode, in order of acquisition.
        self.held: dict[str, str] = {}
        #: VM whose mmu_lock is held.
        self.mmu = ""
        #: Locks held at the entry of functions that are being executed.
        self.sections: dict[str, tuple[str, ...]] = {}
        #: Between `begin` and `end` of an operation.
        self.busy = False
        #: Frame that the last find-or-create returned, and its use at that moment.
        self.folio_pfn = -1
        self.folio_life: Life | None = None
        #: gfn and pfn about to be mapped.
        self.fault: tuple[int, int] = (-1, -1)
        #: Sequence of every VM when the pfn was asked for; None for memory that is not guest_memfd's.
        self.pfn_seq: dict[str, int] | None = None
        self.prepare_pfn = -1
        #: Guest frame that the task's get_pfn is about.
        self.wanted_gfn = -1
        #: Frame that memory_failure is dealing with.
        self.poison_pfn = -1
        self.user_fault = False
        #: Pages populated so far by the call; None outside one.
        self.populated: int | None = None
        self.attributes: tuple[int, int, bool] | None = None
        #: File range that a conversion in place is about, and whether it can still fail.
        self.converting: tuple[GmemFile, int, int, bool] | None = None
        self.point_of_no_return = False
        self.stored = 0
        self.punch: tuple[int, int] | None = None
        self.punched_inode: GmemInode | None = None
        self.invalidations: list[Invalidation] = []
        #: Range that a zap is working on.
        self.zapping: tuple[str, int, int] | None = None
        #: Zapped and not yet flushed under the mmu_lock held now: (vm, start, end).
        self.zaps: list[tuple[str, int, int]] = []


class Ledger:
    """The oracles' own account of a run."""

    #: Says what labels stand for, which is no state.
    __digest_skip__ = ("roles",)

    def __init__(self, world: World, kernel: Kernel) -> None:
        self.world = world
        self.roles = Roles(world)
        self.kernel = kernel
        self.lives: dict[int, Life] = {}
        self.present: dict[tuple[str, int], Life] = {}
        #: Lives whose counts may have changed since the last look at rest.
        self.touched: set[Life] = set()
        #: Folios that left the page cache and are not freed yet.
        self.leaving: dict[Life, None] = {}
        #: Frames that left the page cache by eviction, until they are used again.
        self.evicted: set[int] = set()
        #: The life behind the last SPTE installed at (vm, gfn, private).
        self.installed: dict[tuple[str, int, bool], Life] = {}
        self.doing: dict[Task, Doing] = {}
        self.holders: dict[str, dict[Task, str]] = {}
        self.in_progress: dict[str, list[Invalidation]] = {}
        self._adopt()

    def _adopt(self) -> None:
        """Take over a world that already ran: memory in use before the oracles looked."""
        for inode in self.world.inodes.values():
            for folio in inode.folios.values():
                life = Life(folio.pfn, folio.index)
                life.folio = folio
                life.inode = inode
                life.cached = True
                life.uptodate = folio.uptodate
                life.clears = 1 if folio.uptodate else 0
                life.populated = life.prepared = folio.uptodate
                self.lives[folio.pfn] = self.present[inode.label, folio.index] = life
        for vm in self.world.vms.values():
            for gfn, spte in vm.stage2.all():
                found = self.lives.get(spte.pfn)
                if found is not None:
                    self.installed[vm.label, gfn, spte.private] = found
                    found.mapped.add((vm.label, gfn, spte.private))

    def kind(self, label: str) -> tuple[str, str]:
        """Which lock a label names, and whose it is: `("mmu_lock", "vm0")`; see `Roles.lock`."""
        return self.roles.lock(label)[:2]

    def of(self, task: Task) -> Doing:
        """The account of one task."""
        doing = self.doing.get(task)
        if doing is None:
            doing = self.doing[task] = Doing(task)
        return doing

    def stale(self, pfn: int) -> bool:
        """Whether nobody has written the frame since it was allocated."""
        return self.kernel.memory.stale(pfn, 1)

    def life_at(self, pfn: int) -> Life | None:
        """The account of the folio that a frame is part of: its own, or that of the huge folio around it."""
        life = self.lives.get(pfn)
        if life is not None or pfn < HUGE_AREA:
            return life
        for order in (ORDER_2M, ORDER_1G):
            life = self.lives.get(pfn >> order << order)
            if life is not None and life.folio is not None and pfn < life.pfn + life.folio.pages:
                return life
        return None

    def inode_with(self, index: int, pfn: int) -> GmemInode | None:
        """The inode whose page cache has that frame at `index`."""
        for inode in self.world.inodes.values():
            folio = inode.folios.get(index)
            if folio is not None and folio.pfn == pfn:
                return inode
        return None

    def bound_at(self, life: Life) -> Iterator[tuple[Vm, GmemFile, Memslot]]:
        """Every VM that has the index of `life` bound, with file and slot."""
        if life.inode is not None:
            for file in life.inode.files:
                slot = file.slot_at(life.index)
                if slot is not None:
                    yield file.vm, file, slot

    def any_private(self, life: Life) -> bool:
        """Whether the index of `life` is private: by its file, or in a VM that has it bound."""
        if life.inode is not None and life.inode.attributes is not None:
            return life.inode.attributes.get(life.index) is True
        return any(
            slot.base_gfn + life.index - slot.pgoff in vm.attributes for vm, _, slot in self.bound_at(life)
        )

    def how_it_left(self, pfn: int) -> dict[str, bool]:
        """What a failure says of a frame that was evicted, and of no other."""
        return {"evicted": True} if pfn in self.evicted else {}

    def is_private(self, vm: Vm, gfn: int) -> bool:
        """Whether a gfn is private: by the file that is bound there, or by the VM's attributes."""
        if not self.kernel.in_place:
            return gfn in vm.attributes
        for inode in self.world.inodes.values():
            for file in inode.files:
                for slot in file.bindings.values() if file.vm is vm else ():
                    if slot.base_gfn <= gfn < slot.base_gfn + slot.pages and inode.attributes is not None:
                        return inode.attributes.get(slot.index_of(gfn)) is True
        return False

    def file_of(self, label: str) -> GmemFile | None:
        """The open file of that label."""
        for inode in self.world.inodes.values():
            for file in inode.files:
                if file.label == label:
                    return file
        return None
