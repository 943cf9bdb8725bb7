"""What every part of the modelled kernel shares: world, memory, release, costs, messages.

The kernel is one object whose methods are the kernel's functions, under the kernel's names, spread over modules
by subject (`page_cache`, `truncate`, `tdp_fault`, …). State is in plain objects (`Vm`, `GmemInode`, `Folio`) that
are passed in, as in C. A patch version subclasses the whole and overrides the functions that the patch
touches; so does a seeded bug, and so does a user's own patch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..arch.costs import CostTable
from ..audit.events import Receive, Send
from ..audit.kvm_events import UseAfterFree
from .release import RELEASES, Release

if TYPE_CHECKING:
    from ..arch.memory import PhysicalMemory
    from ..engine.task import Task
    from .folio import Folio
    from .inode import GmemFile, GmemInode
    from .memslot import Memslot
    from .vm import World

__all__ = ["KernelBase", "RetPf"]


class RetPf:
    """RET_PF_*: how a stage-2 fault ended."""

    CONTINUE = 0
    RETRY = 1
    EMULATE = 2
    FIXED = 5
    SPURIOUS = 6


class KernelBase:
    """Shared state of the modelled kernel.

    Attributes:
        name: the patch version's name on the command line.
        default_release: the kernel release that the version belongs to.
        uptodate_means: what the uptodate flag promises of a folio: `cleared`, or `prepared` (cleared *and* made
            ready by the arch). Populated folios have it in both. `uptodate_promises` says it of one file.
        gup_under_invalidate_lock: populate reads user memory while it holds the invalidate lock.
        in_place: private or shared is an attribute of the file's index, converted in place.
        huge_pages: folios may be larger than 4 KiB.
        get_pfn_puts: `kvm_gmem_get_pfn` drops its reference itself instead of handing it out.
    """

    name: ClassVar[str] = ""
    default_release: ClassVar[str] = "6.18"
    uptodate_means: ClassVar[str] = "cleared"
    gup_under_invalidate_lock: ClassVar[bool] = False
    in_place: ClassVar[bool] = False
    huge_pages: ClassVar[bool] = False
    get_pfn_puts: ClassVar[bool] = False

    def uptodate_promises(self, inode: GmemInode | None) -> str:
        """`uptodate_means` for the folios of one file."""
        return self.uptodate_means

    def __init__(
        self,
        world: World,
        memory: PhysicalMemory,
        release: Release | None = None,
        costs: CostTable | None = None,
        gmem_prepare: bool = True,
    ) -> None:
        """Args:
        world: the VMs and files to work on.
        memory: frames and their contents.
        release: steps outside the series; default: the version's own.
        costs: virtual ns per operation; default: everything is free.
        gmem_prepare: CONFIG_HAVE_KVM_ARCH_GMEM_PREPARE, which KVM_AMD_SEV selects.
        """
        self.world = world
        self.memory = memory
        self.release: Release = RELEASES[self.default_release] if release is None else release
        self.costs = CostTable.zero() if costs is None else costs
        self.gmem_prepare = gmem_prepare
        #: Files whose release each task has put off (`task_struct.task_works`).
        self.task_works: dict[Task, list[GmemFile]] = {}

    def lru_references(self, folio: Folio) -> int:
        """References that batches on the way to an LRU list hold: none, in versions to which they do not matter."""
        return 0

    def folio_in_lru_batch(self, t: Task, folio: Folio) -> bool:
        """Whether a batch on the way to an LRU list still holds a reference of the folio."""
        return False

    def folios_in_batches(self) -> list[tuple[Task, Folio]]:
        """Folios that such batches hold, with the task on whose CPU the batch is."""
        return []

    def use_memslot(self, t: Task, slot: Memslot) -> None:
        """The present step reads or writes the slot: a use after free if `kvm_free_memslot` has run."""
        if slot.freed and t.rec is not None:
            t.rec(t, UseAfterFree("memslot", slot.ident))

    def request(self, t: Task, at: str, message: str, detail: str = "") -> int:
        """Log a request from `t` to actor `at`, at both ends; the result pairs it with its `answer`.

        Call it only when `t.rec` is set.
        """
        world = self.world
        world.next_message = ident = world.next_message + 1
        rec = t.rec
        if rec is not None:
            rec(t, Send(at, ident, message, detail))
            rec(t, Receive(at, ident, message))
        return ident

    def answer(self, t: Task, ident: int, message: str, detail: str) -> None:
        """Log the reply to request `ident`, at both ends."""
        rec = t.rec
        if rec is not None:
            rec(t, Send(t.name, ident, message, detail))
            rec(t, Receive(t.name, ident, message))
