"""The guest_memfd inode, its files (one per VM and descriptor) and host mappings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..engine.cell import RefCount
from ..engine.cpus import Line
from ..engine.locks.folio_lock import FolioLockClass
from ..engine.locks.rwsem import RwSem
from ..engine.locks.stats import LockClass
from ..engine.observed import announces, by_key, changes, reads, whole
from ..engine.op import ALL

if TYPE_CHECKING:
    from .attribute_map import AttributeMap
    from .folio import Folio
    from .memslot import Memslot
    from .vm import Vm

#: Object of the steps that look up, open or close files by name, and of those that do it to mappings.
FILES: Final = "world.files"
MAPPINGS: Final = "world.mappings"


@announces(
    files=whole(lambda inode: (inode.users_label, 0, ALL)),
    mappings=whole(lambda inode: (inode.users_label, 0, ALL)),
    folios=by_key(lambda inode: inode.label),
    policy=by_key(lambda inode: f"{inode.label}.policy"),
    evicted=lambda inode: (f"{inode.label}.evicted", 0, ALL),
)
class GmemInode:
    """The filemap actor's state: page cache, invalidate lock, list of files.

    Attributes:
        label: name in the log (`gmem0`).
        pages: size in 4 KiB pages; never changes.
        flags: subset of {"MMAP", "INIT_SHARED"}.
        folios: page cache, by index. An index that was never touched costs nothing.
        invalidate_lock: `mapping->invalidate_lock`.
        i_mmap_rwsem: taken shared to unmap host mappings.
        attributes: which indices are private, in versions that convert in place; else None.
        policy: NUMA policy and nodes by index, where it is not the default (`struct shared_policy`).
        creator: the VM that it was created for; its arch still answers when no file is left.
        files: one per open descriptor, in order of creation.
        mappings: host mappings of the file.
        evicted: `evict_inode` is over, and the memory with it (`use_inode`).
    """

    __slots__ = (
        "attributes",
        "creator",
        "evicted",
        "files",
        "flags",
        "folio_locks",
        "folios",
        "i_mmap_rwsem",
        "invalidate_lock",
        "label",
        "lock_label",
        "mappings",
        "pages",
        "policy",
        "ref_label",
    )

    def __init__(self, label: str, pages: int, flags: frozenset[str]) -> None:
        self.label = label
        self.pages = pages
        self.flags = flags
        self.folios: dict[int, Folio] = {}
        self.lock_label = f"{label}.folio"
        self.ref_label = f"{label}.ref"
        self.folio_locks = FolioLockClass("folio_lock")
        self.invalidate_lock = RwSem(f"{label}.invalidate_lock", LockClass("invalidate_lock"))
        self.i_mmap_rwsem = RwSem(f"{label}.i_mmap_rwsem", LockClass("i_mmap_rwsem"))
        self.attributes: AttributeMap | None = None
        self.policy: dict[int, tuple[str, tuple[int, ...]]] = {}
        self.creator: Vm | None = None
        self.files: list[GmemFile] = []
        self.mappings: list[HostMapping] = []
        self.evicted = False

    @property
    def users_label(self) -> str:
        """Object of the steps that look at or change `files` and `mappings`."""
        return f"{self.label}.users"

    @property
    def mapcount_label(self) -> str:
        """Object of the steps that look at or change the map counts of its folios."""
        return f"{self.label}.mapcount"

    @property
    def content_label(self) -> str:
        """Object of the steps that clear or move what its folios hold, by index."""
        return f"{self.label}.content"

    @property
    def attributes_label(self) -> str:
        """Object of the steps that look at or change `attributes`, by index."""
        return f"{self.label}.attributes"

    @property
    def init_shared(self) -> bool:
        return "INIT_SHARED" in self.flags


@announces(
    released=lambda file: (FILES, 0, ALL),
    bindings=whole(lambda file: (file.bindings_label, 0, ALL)),
)
class GmemFile:
    """`struct gmem_file`: what one VM sees of the inode.

    Attributes:
        count: references of the descriptor; 0 means that release is under way or done.
        bindings: bound slots, by first index; ranges are disjoint.
        released: `kvm_gmem_release` has run.
    """

    __slots__ = ("bindings", "count", "inode", "label", "line_state", "released", "vm")

    def __init__(self, label: str, inode: GmemInode, vm: Vm) -> None:
        self.label = label
        self.inode = inode
        self.vm = vm
        self.count = RefCount(f"{label}.f_count")
        self.line_state = Line()
        self.bindings: dict[int, Memslot] = {}
        self.released = False

    @property
    def bindings_label(self) -> str:
        """Object of the steps that look at or change `bindings`, by index."""
        return f"{self.label}.bindings"

    @reads(lambda file, index: (file.bindings_label, index, index + 1))
    def slot_at(self, index: int) -> Memslot | None:
        """The slot bound at `index` (`xa_load(&f->bindings, index)`)."""
        for slot in self.bindings.values():
            if slot.bound_start <= index < slot.bound_end:
                return slot
        return None

    @reads(lambda file, start, end: (file.bindings_label, start, end))
    def slots_in(self, start: int, end: int) -> list[Memslot]:
        """Slots bound anywhere in [start, end), in index order."""
        found = [s for s in self.bindings.values() if s.bound_start < end and start < s.bound_end]
        return sorted(found, key=lambda slot: slot.bound_start)

    @changes(lambda file, slot, start, end: (file.bindings_label, start, end))
    def store(self, slot: Memslot, start: int, end: int) -> None:
        """Bind the slot at [start, end) (`xa_store_range`)."""
        slot.bound_start, slot.bound_end = start, end
        self.bindings[start] = slot

    @changes(lambda file, slot: (file.bindings_label, slot.bound_start, slot.bound_end))
    def erase(self, slot: Memslot) -> None:
        """Forget where the slot was bound (`xa_store_range` of NULL)."""
        self.bindings.pop(slot.bound_start, None)


@announces(
    vms=whole(lambda mapping: (mapping.vms_label, 0, ALL)),
    mapped=by_key(lambda mapping: mapping.label),
    hwpoison=by_key(lambda mapping: mapping.label),
)
class HostMapping:
    """A MAP_SHARED mapping of [start, start + pages) by one process.

    `mapped` are the present entries. `hwpoison` are the poison entries: where a memory failure took a present one out.
    Truncation and PUNCH_HOLE leave them, MADV_DONTNEED and munmap drop them, and a touch in between is SIGBUS.

    `file` is the descriptor that the mapping holds a reference of (`vma->vm_file`). `vms` are those that had a memslot
    whose userspace address lies in it (`Memslot.hva`): their MMU notifiers are told of what happens to it.
    """

    __slots__ = ("file", "hwpoison", "inode", "label", "mapped", "pages", "process", "start", "vms")

    def __init__(self, label: str, process: Process, inode: GmemInode, start: int, pages: int) -> None:
        self.label = label
        self.process = process
        self.inode = inode
        self.start = start
        self.pages = pages
        self.mapped: dict[int, Folio] = {}
        self.hwpoison: set[int] = set()
        self.file: GmemFile | None = None
        self.vms: list[Vm] = []

    @property
    def vms_label(self) -> str:
        """Object of the steps that look at or change `vms`."""
        return f"{self.label}.vms"

    def covers(self, index: int) -> bool:
        return self.start <= index < self.start + self.pages


class Process:
    """A host process: its mmap_lock is what orders page faults against mmap and munmap."""

    __slots__ = ("label", "mmap_lock")

    def __init__(self, label: str) -> None:
        self.label = label
        self.mmap_lock = RwSem(f"{label}.mmap_lock", LockClass("mmap_lock"))
