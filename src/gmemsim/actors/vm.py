"""A VM (`struct kvm`), its vCPUs, and the world that several VMs share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..arch.range_set import RangeSet
from ..arch.spin import SpinWait
from ..engine.locks.mutex import Mutex
from ..engine.locks.spinlock import QueuedRwLock
from ..engine.locks.srcu import Srcu
from ..engine.locks.stats import LockClass
from ..engine.observed import announces, whole
from ..engine.op import ALL, Op
from .inode import FILES, MAPPINGS
from .stage2 import Spte, Stage2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..arch.base import Arch
    from ..engine.locks.stats import LockStatistics
    from ..engine.task import Task
    from .inode import GmemFile, GmemInode, HostMapping, Process
    from .memslot import Memslot, UserMemory
    from .vmsa import Vmsa

#: Both ends of the invalidation range while no slot was added (`INVALID_GPA` in the kernel).
INVALID_GFN = -1


@announces(
    slots=lambda vm: (vm.load_slots.obj, 0, ALL),
    in_progress=lambda vm: (vm.load_seq.obj, 0, ALL),
    seq=lambda vm: (vm.load_seq.obj, 0, ALL),
    range_start=lambda vm: (vm.load_seq.obj, 0, ALL),
    range_end=lambda vm: (vm.load_seq.obj, 0, ALL),
    finalized=lambda vm: (vm.finalized_label, 0, ALL),
    killed=lambda vm: (vm.dead_label, 0, ALL),
    root_generation=lambda vm: (vm.roots_label, 0, ALL),
    files=whole(lambda vm: (FILES, 0, ALL)),
    mn_active=whole(lambda vm: (vm.mn_active_op.obj, 0, ALL)),
)
class Vm:
    """State of one VM.

    Attributes:
        in_progress, seq, range_start, range_end: the MMU invalidation state (guest-memfd.md 1.3), guarded by mmu_lock.
        slots: the published memslot array; replaced, never modified (SRCU).
        attributes: gfns that are private (`mem_attr_array`); written under slots_lock, read lock-free.
        finalized: memory may be mapped before the guest runs; always true for VMs without a launch phase.
        late_launch: whether commands of the launch may come after its end (`vcpu_ioctl_lock`).
        mn_active: tasks between the start and the end of an MMU notifier's invalidation, once for each
            (`mn_active_invalidate_count`); who publishes a slot array waits until there are none.
    """

    def __init__(self, label: str, ident: int, arch: Arch) -> None:
        self.label = label
        self.ident = ident
        self.arch = arch
        self.mmu_lock = QueuedRwLock(f"{label}.mmu_lock", LockClass("mmu_lock"))
        self.slots_lock = Mutex(f"{label}.slots_lock", LockClass("slots_lock"))
        self.slots_arch_lock = Mutex(f"{label}.slots_arch_lock", LockClass("slots_arch_lock"))
        self.lock = Mutex(f"{label}.lock", LockClass("kvm_lock"))
        self.srcu = Srcu(f"{label}.srcu")
        self.in_progress = 0
        self.seq = 0
        self.range_start = INVALID_GFN
        self.range_end = INVALID_GFN
        self.slots: tuple[Memslot, ...] = ()
        self.attr_label = f"{label}.attributes"
        self.attributes = RangeSet(label=self.attr_label)
        self.stage2 = Stage2(label, arch.mirror_root)
        self.root_generation = 0
        self.vcpus: list[Vcpu] = []
        self.files: dict[str, GmemFile] = {}
        self.finalized = not arch.needs_launch
        self.late_launch = False
        self.killed = False
        self.mn_active: list[Task] = []
        self.mn_wait = SpinWait(f"{label}.mn_active", lambda: [task.name for task in self.mn_active])
        self.mn_active_op = Op("rmw", f"{label}.mn_active")
        self.load_seq = Op("load", f"{label}.seq", mode="r")
        self.load_range = Op("load", f"{label}.seq", mode="r")
        self.load_slots = Op("load", f"{label}.memslots", mode="r")
        self.store_slots = Op("store", f"{label}.memslots")
        self.spte_label = self.stage2.label
        self.table_label = self.stage2.table_label
        #: Objects of the steps that look at or change these; `tlb` is that of all vCPUs.
        self.dead_label = f"{label}.dead"
        self.finalized_label = f"{label}.finalized"
        self.roots_label = f"{label}.roots"
        self.tlb_label = f"{label}.tlb"

    @property
    def dead(self) -> bool:
        """`kvm->vm_dead`: KVM gave the VM up (`Arch.kvm_bug`), or the guest was killed (`killed`)."""
        return self.killed or self.ident in self.arch.bugged

    def slot_of(self, gfn: int) -> Memslot | None:
        """`gfn_to_memslot` on the published array."""
        for slot in self.slots:
            if slot.base_gfn <= gfn < slot.base_gfn + slot.pages:
                return slot
        return None

    def flush_tlbs(self) -> None:
        """Every vCPU forgets its cached translations."""
        for vcpu in self.vcpus:
            vcpu.tlb.clear()


@announces(
    tlb=whole(lambda vcpu: (vcpu.vm.tlb_label, vcpu.ident, vcpu.ident + 1)),
    state_protected=lambda vcpu: (f"{vcpu.label}.state_protected", 0, ALL),
    vmsa=lambda vcpu: (f"{vcpu.label}.vmsa", 0, ALL),
)
class Vcpu:
    """One virtual CPU: cached translations and what its last run told userspace.

    Attributes:
        mutex: `vcpu->mutex`, which each ioctl of the vCPU holds.
        root_generation: of the root that `kvm_mmu_reload` loaded last, or None.
        state_protected: `guest_state_protected`: its first VMSA is encrypted.
        vmsa: the save area that the guest gave it, if it did.
    """

    __slots__ = (
        "exit_gfn", "exit_private", "exit_reason", "goal_level", "ident", "label", "mutex", "root_generation",
        "state_protected", "tlb", "vm", "vmsa",
    )  # fmt: skip

    def __init__(self, vm: Vm, ident: int, label: str) -> None:
        self.vm = vm
        self.ident = ident
        self.label = label
        self.tlb: dict[tuple[int, bool], Spte] = {}
        self.exit_reason = ""
        self.exit_gfn = 0
        self.exit_private = False
        #: Level of the leaf that the last fault ended with.
        self.goal_level = 1
        self.mutex = Mutex(f"{label}.mutex", LockClass("vcpu_mutex"))
        self.root_generation: int | None = None
        self.state_protected = False
        self.vmsa: Vmsa | None = None


@announces(
    inodes=whole(lambda world: (FILES, 0, ALL)),
    mappings=whole(lambda world: (MAPPINGS, 0, ALL)),
)
class World:
    """Everything that one run simulates: VMs, files, processes.

    Attributes:
        inodes: by label, in order of creation.
        vm_list_lock: `kvm_lock`, made by the first who takes it (`kvm->lock` is `Vm.lock`).
        next_message: number of the next message between actors.
    """

    def __init__(self) -> None:
        self.vms: dict[str, Vm] = {}
        self.inodes: dict[str, GmemInode] = {}
        self.processes: dict[str, Process] = {}
        self.buffers: dict[str, UserMemory] = {}
        self.mappings: dict[str, HostMapping] = {}
        self.vm_list_lock: Mutex | None = None
        self.next_message = 0

    def lock_statistics(self, made: Iterable[LockClass] = ()) -> list[LockStatistics]:
        """Statistics of every lock class in use, summed over the locks of the class, by name.

        Args:
            made: as in `lock_table.collect`.
        """
        from .lock_table import collect

        return collect(self, made)
