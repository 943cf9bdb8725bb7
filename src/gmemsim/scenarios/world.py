"""The objects of a run: VMs, files, slots and mappings as declared, and what is open at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ..actors.errno import errno_name
from ..actors.inode import FILES, MAPPINGS, Process
from ..actors.memory_region import MemoryRegion
from ..actors.memslot import UserMemory
from ..actors.vm import Vcpu, Vm, World
from ..arch.memory import PhysicalMemory
from ..engine.locks.rwsem import RwSem
from ..nearest import hint
from .acceptance import Acceptance
from .errors import ScenarioError
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
    from .tables import File, Map, Slot
    from .workload import Workload

__all__ = ["Machine"]


class Machine:
    """State of one run beside the engine.

    Attributes:
        files: open descriptors by file id.
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
        self.pins: dict[tuple[str, int], list[tuple[GmemInode, Folio]]] = {}
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

    async def create(self, t: Task, file: File, size: int | None = None) -> str:
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
        t.changed(FILES)
        self.inodes.append(inode)
        self.files[file.id] = made
        return "ok"

    async def close(self, t: Task, file: File) -> str:
        """close(2)."""
        t.changed(FILES)
        opened = self.files.pop(file.id, None)
        if opened is None:
            return "EBADF"
        await self.kernel.fput(t, opened)
        return "ok"

    async def bind(self, t: Task, slot: Slot) -> str:
        """Create the slot, its userspace address set as declared."""
        vm = self.vm(slot.vm)
        t.saw(FILES)
        file = None if slot.file is None else self.files.get(slot.file)
        shows = slot.userspace
        if shows == "auto":
            shows = "gmem" if file is not None and "MMAP" in file.inode.flags else f"slot{slot.id}.user"
        user = None if shows == "gmem" else self.buffer(shows)
        hva, mapped = None, False
        if shows == "gmem" and file is not None:
            hva, mapped = await self._address(t, slot, file)
        region = MemoryRegion(
            slot.id,
            slot.gfn * PAGE,
            slot.pages * PAGE,
            slot.flags,
            file=file,
            offset=slot.start * PAGE,
            user=user,
            hva=hva,
        )
        ret = await self.kernel.kvm_vm_ioctl_set_memory_region(t, vm, region)
        if ret and mapped and hva is not None:
            await self.kernel.munmap(t, hva)
        return "ok" if ret == 0 else errno_name(ret)

    async def _address(self, t: Task, slot: Slot, file: GmemFile) -> tuple[HostMapping | None, bool]:
        """The mapping at the slot's userspace address, which KVM's MMU notifier watches, and whether it is new."""
        label = f"slot{slot.id}.hva"
        t.saw(MAPPINGS)
        mapping = self.world.mappings.get(label)
        if mapping is not None:
            # Another file at that address is not the slot's.
            return (mapping if mapping.inode is file.inode else None), False
        made = await self.kernel.kvm_gmem_mmap(t, file, self.process("vmm"), label, slot.start, slot.pages)
        return (None, False) if isinstance(made, int) else (made, True)

    async def unbind(self, t: Task, slot: Slot) -> str:
        """Delete the slot. Its userspace mapping stays, and KVM does not watch it any more."""
        vm = self.vm(slot.vm)
        ret = await self.kernel.kvm_set_memory_region(t, vm, slot.id, 0, 0)
        return "ok" if ret == 0 else errno_name(ret)

    async def mmap(self, t: Task, mapping: Map, owner: str, shared: bool = True) -> str:
        """mmap(2) of the file, for the thread `owner` if each has its own."""
        t.saw(FILES)
        file = self.files.get(mapping.file)
        if file is None:
            return "EBADF"
        made = await self.kernel.kvm_gmem_mmap(
            t, file, self.process(mapping.process), mapping.label(owner), mapping.start, mapping.pages, shared
        )
        return errno_name(made) if isinstance(made, int) else "ok"

    async def munmap(self, t: Task, mapping: Map, owner: str) -> str:
        """munmap(2); nothing mapped there is no error."""
        t.saw(MAPPINGS)
        made = self.world.mappings.get(mapping.label(owner))
        if made is not None:
            await self.kernel.munmap(t, made)
        return "ok"


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
