"""The objects of a run: VMs, files, slots and mappings as declared, and what is open at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ..actors.errno import EINVAL, ENOMEM, EOVERFLOW, errno_name
from ..actors.inode import FILES, Process
from ..actors.memory_region import MemoryRegion
from ..actors.memslot import UserMemory
from ..actors.memslots import KVM_USER_MEM_SLOTS
from ..actors.vm import Vcpu, Vm, World
from ..arch.memory import ZERO, PhysicalMemory
from ..engine.locks.rwsem import RwSem
from ..engine.observed import announces, by_key, whole
from ..engine.op import ALL, Op
from ..nearest import hint
from .acceptance import Acceptance
from .errors import ScenarioError
from .tables import VMM
from .units import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..actors.folio import Folio
    from ..actors.inode import GmemFile, GmemInode, HostMapping
    from ..actors.kernel import Kernel
    from ..arch.base import Arch
    from ..arch.costs import CostTable
    from ..engine.locks.rwsem_protocol import RwLock
    from ..engine.task import Task
    from .ops_calls import RawRegion
    from .tables import File, Map, Slot
    from .workload import Actor, Workload


def _files(owner: object) -> tuple[str, int, int]:
    return FILES, 0, ALL


@announces(files=whole(_files))
class Child:
    """A process that was forked, with its open descriptors by file id."""

    __slots__ = ("files",)

    def __init__(self, files: dict[str, GmemFile]) -> None:
        self.files = files


@announces(
    files=whole(_files),
    children=whole(_files),
    inodes=whole(_files),
    pins=by_key(lambda machine: "pins", lambda key: (key[1], key[1] + 1)),
    armed=whole(lambda machine: ("armed", 0, ALL)),
)
class Machine:
    """State of one run beside the engine.

    Attributes:
        files: open descriptors of the VMM by file id; `children` are those of the processes that it forked.
        pins: long-term pins by mapping and page.
        inodes: every inode that was ever created, also those that are gone.
        accepted: what each VM's guest has accepted of its private memory.
        armed: tasks to which a signal comes with their next operation.
    """

    def __init__(
        self,
        workload: Workload,
        arches: dict[str, type[Arch]],
        vm_type: str,
        kernel: Callable[[World, PhysicalMemory], Kernel],
        costs: CostTable,
        policy: type[RwLock] | str | None,
    ) -> None:
        self.workload = workload
        self.world = World()
        self.memory = PhysicalMemory()
        self.costs = costs
        self._lock = _lock_class(policy)
        self.files: dict[str, GmemFile] = {}
        self.children: dict[str, Child] = {}
        self.pins: dict[tuple[str, int], tuple[tuple[GmemInode, Folio], ...]] = {}
        self.inodes: list[GmemInode] = []
        self.accepted: dict[str, Acceptance] = {}
        self.armed: set[str] = set()
        first = next(iter(workload.tables.vms))
        for ident, (label, table) in enumerate(workload.tables.vms.items()):
            # One arch actor a VM; what the machine has once (RMP, security processor) is in `memory`.
            arch = arches[table.type or vm_type](self.memory, costs)
            _choose(arch, table.choices)
            vm = Vm(label, ident, arch)
            self.world.vms[label] = vm
            self.accepted[label] = Acceptance(label)
            for number in range(workload.vcpus[label]):
                name = f"vcpu{number}" if label == first else f"{label}.vcpu{number}"
                vm.vcpus.append(Vcpu(vm, number, name))
        for slot in workload.tables.slots.values():
            if slot.id >> 16 == 1 and self.vm(slot.vm).arch.name == "default":
                # `kvm_arch_nr_memslot_as_ids` is 2 for these VMs.
                message = f"expected less than {KVM_USER_MEM_SLOTS}; the address space of SMM is not modelled"
                raise workload.tables.source.error((*slot.path, "id"), message)
        self.kernel = kernel(self.world, self.memory)

    def vm(self, label: str) -> Vm:
        return self.world.vms[label]

    def process(self, label: str) -> Process:
        """The process, made at its first mention."""
        found = self.world.processes.get(label)
        if found is None:
            found = self.world.processes[label] = Process(label)
            found.mmap_lock.line_ns = self.costs.line
        return found

    def buffer(self, label: str) -> UserMemory:
        """The ordinary buffer, made at its first mention."""
        found = self.world.buffers.get(label)
        if found is None:
            found = self.world.buffers[label] = UserMemory(label)
        return found

    def flags(self, file: File) -> frozenset[str]:
        """Creation flags: as given, or those that suit the VM type."""
        if file.flags is not None:
            return file.flags
        return frozenset() if self.vm(file.vm).arch.has_private_memory else frozenset({"MMAP", "INIT_SHARED"})

    def descriptors(self, process: str) -> dict[str, GmemFile]:
        """The open files of a process; one that nobody forked has none."""
        if process == VMM:
            return self.files
        child = self.children.get(process)
        return {} if child is None else child.files

    async def create(self, t: Task, file: File, size: int | None = None, process: str = VMM) -> str:
        """KVM_CREATE_GUEST_MEMFD; a second descriptor under one id takes the place of the first."""
        vm = self.vm(file.vm)
        size = file.pages * PAGE if size is None else size
        made = await self.kernel.kvm_gmem_create(t, vm, file.id, size, self.flags(file))
        if isinstance(made, int):
            return errno_name(made)
        inode = made.inode
        # Nobody can have seen the inode yet: there was no step since it was made.
        label = inode.invalidate_lock.label
        inode.invalidate_lock = self._lock(label, inode.invalidate_lock.cls, line_ns=self.costs.line)  # type: ignore[assignment]
        inode.i_mmap_rwsem.line_ns = self.costs.line
        self.inodes.append(inode)
        self.descriptors(process)[file.id] = made
        return "ok"

    async def close(self, t: Task, file: File, process: str = VMM) -> str:
        """close(2)."""
        opened = self.descriptors(process).pop(file.id, None)
        if opened is None:
            return "EBADF"
        await self.kernel.fput(t, opened)
        return "ok"

    async def fork(self, t: Task, parent: str, child: str) -> None:
        """fork(2)."""
        files = self.descriptors(parent)
        copies = await self.kernel.fork(t, self.process(parent), self.process(child), files)
        self.children[child] = Child(copies)

    async def exit(self, t: Task, process: str) -> None:
        """_exit(2) of a process that was forked."""
        files = list(self.descriptors(process).values())
        self.children.pop(process, None)
        await self.kernel.do_exit(t, self.process(process), files)

    async def bind(self, t: Task, slot: Slot, raw: RawRegion | None = None) -> str:
        """Create the slot, its userspace address set as declared."""
        vm = self.vm(slot.vm)
        file = None if slot.file is None else self.files.get(slot.file)
        shows = slot.userspace
        if shows == "auto":
            shows = "gmem" if file is not None and "MMAP" in file.inode.flags else f"slot{slot.id}.user"
        user = None if shows in ("gmem", "none") else self.buffer(shows)
        region = MemoryRegion(
            slot.id,
            slot.gfn * PAGE,
            slot.pages * PAGE,
            slot.flags,
            file=file,
            offset=slot.start * PAGE,
            user=user,
            user_offset=slot.userspace_start,
        )
        if raw is not None:
            region = _with_words(region, raw)
            bad = self.kernel.check_memory_region_flags(vm, region.flags)
            bad = bad or self.kernel.check_memory_region(region)
            # A descriptor of something else is found, and refused because it is no guest_memfd.
            if bad or raw.other_file or (raw.v1 and "GUEST_MEMFD" in region.flags):
                return errno_name(bad or EINVAL)
        hva, mapped = None, False
        if shows == "gmem" and file is not None:
            hva, mapped = await self._address(t, slot, file)
            region = attrs.evolve(region, hva=hva)
        ret = await self.kernel.kvm_vm_ioctl_set_memory_region(t, vm, region)
        if ret and mapped and hva is not None:
            await self.kernel.munmap(t, hva)
        return "ok" if ret == 0 else errno_name(ret)

    async def _address(self, t: Task, slot: Slot, file: GmemFile) -> tuple[HostMapping | None, bool]:
        """The mapping at the slot's userspace address, which KVM's MMU notifier watches, and whether it is new."""
        label = f"slot{slot.id}.hva"
        mapping = self.world.mappings.get(label)
        if mapping is not None and mapping.inode is not file.inode:
            # Another file at that address is not the slot's.
            return None, False
        if mapping is not None and (mapping.start, mapping.pages) == (slot.start, slot.pages):
            return mapping, False
        made = await self.kernel.kvm_gmem_mmap(t, file, self.process("vmm"), label, slot.start, slot.pages)
        return (None, False) if isinstance(made, int) else (made, True)

    async def unbind(self, t: Task, slot: Slot) -> str:
        """Delete the slot. Its userspace mapping stays, and KVM does not watch it any more."""
        vm = self.vm(slot.vm)
        ret = await self.kernel.kvm_set_memory_region(t, vm, slot.id, 0, 0)
        return "ok" if ret == 0 else errno_name(ret)

    async def mmap(
        self,
        t: Task,
        mapping: Map,
        owner: str,
        shared: bool = True,
        raw: tuple[int, int] | None = None,
        process: str = VMM,
    ) -> str:
        """mmap(2) of the file, for the thread `owner` if each has its own; `raw` are offset and length in bytes.

        What `ksys_mmap_pgoff` and `do_mmap` say to these comes before the file is asked.
        """
        file = self.descriptors(process).get(mapping.file)
        if file is None:
            return "EBADF"
        start, pages = mapping.start, mapping.pages
        if raw is not None:
            offset, length = raw
            if offset % PAGE or length == 0:
                return errno_name(EINVAL)
            if not 0 < length < 1 << 47:
                return errno_name(ENOMEM)
            if not 0 <= offset < 1 << 62:
                return errno_name(EOVERFLOW)
            start, pages = offset // PAGE, -(-length // PAGE)
        made = await self.kernel.kvm_gmem_mmap(
            t, file, self.process(mapping.process), mapping.label(owner), start, pages, shared
        )
        return errno_name(made) if isinstance(made, int) else "ok"

    def mapping_label(self, mapping: Map, actor: Actor) -> str:
        """Name in the world of the thread's own mapping, or of its process's copy of the parent's."""
        label = mapping.label(actor.name)
        if actor.process == mapping.process or actor.process not in self.children:
            return label
        return self.kernel.forked_label(label, self.process(actor.process))

    async def munmap(self, t: Task, mapping: Map, actor: Actor) -> str:
        """munmap(2); nothing mapped there is no error."""
        made = self.world.mappings.get(self.mapping_label(mapping, actor))
        if made is not None:
            await self.kernel.munmap(t, made)
        return "ok"

    async def buffer_access(self, t: Task, label: str, page: int, value: str | None) -> str:
        """A host load (`value` None) or store of a page of an ordinary buffer; its first touch zeroes it."""
        buffer = self.buffer(label)
        if t.traps:
            await t.point(Op("rmw", buffer.label, page, page + 1))
        pfn = buffer.frames.get(page)
        if pfn is None:
            pfn = self.memory.allocate()
            if pfn is None:
                return "oom"
            buffer.frames[page] = pfn
            self.memory.write(pfn, ZERO)
        if value is None:
            return self.memory.read(pfn)
        self.memory.write(pfn, value)
        return value


def _with_words(region: MemoryRegion, raw: RawRegion) -> MemoryRegion:
    given = {
        "gpa": raw.address, "size": raw.size, "offset": raw.offset, "userspace_addr": raw.userspace_addr,
        "flags": None if raw.flags is None else frozenset(raw.flags),
    }  # fmt: skip
    return attrs.evolve(region, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _choose(arch: Arch, wanted: dict[str, Any]) -> None:
    """Change the arch actor's open points as far as it has them; a list stands for a set."""
    choices = getattr(arch, "choices", None)
    if choices is None:
        return
    known = {field.name for field in attrs.fields(type(choices))}
    values = {name: frozenset(value) if isinstance(value, list) else value for name, value in wanted.items()}
    arch.choices = attrs.evolve(choices, **{name: value for name, value in values.items() if name in known})  # type: ignore[attr-defined]


def _lock_class(policy: type[RwLock] | str | None) -> type[RwLock]:
    """The class of the invalidate lock.

    Raises:
        ScenarioError: no policy of that name.
    """
    if policy is None:
        return RwSem
    if not isinstance(policy, str):
        return policy
    from ..engine.locks.policies import LOCK_POLICIES

    if policy not in LOCK_POLICIES:
        raise ScenarioError("", 0, "", f"no lock policy {policy!r}; {hint(policy, LOCK_POLICIES)}")
    return LOCK_POLICIES[policy]
