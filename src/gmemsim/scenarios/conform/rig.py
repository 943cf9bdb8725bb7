"""The machine that a vector runs on: the real actors, and the names that the vector's steps use for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from ...actors.errno import EBADF, EINVAL, ENOMEM, EOVERFLOW, errno_name
from ...actors.gmem_convert import GmemConversion
from ...actors.inode import HostMapping, Process
from ...actors.memory_region import MemoryRegion
from ...actors.memslot import UserMemory
from ...actors.memslots import KVM_USER_MEM_SLOTS
from ...actors.vm import Vcpu, Vm, World
from ...arch.costs import CostTable
from ...arch.memory import ZERO, PhysicalMemory
from ...arch.registry import ARCHES
from ...arch.tdx import Tdx
from ...patches.inplace import Inplace
from ...patches.inplace_content import InplaceContent
from ...patches.registry import check_instance
from ..units import PAGE
from .branches import Branches
from .counts import EventCounts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ...actors.folio import Folio
    from ...actors.inode import GmemFile, GmemInode
    from ...actors.kernel import Kernel
    from ...actors.release import Release
    from ...engine.task import Task
    from .document import Setup
    from .results import Got
    from .vector import Vector

__all__ = ["MAPPED", "WALKED", "BadDescriptor", "Rig", "Unsupported"]


#: Bytes of a call that goes from page to page, and of one that goes by entries of maps.
WALKED: Final = 1 << 30
MAPPED: Final = 1 << 37


class Unsupported(Exception):
    """The vector asks for something that the model or the runner does not have."""


class BadDescriptor(Exception):
    """The call names a descriptor that is not open: -EBADF."""


class Rig:
    """World, kernel, and what the steps of one run have made so far.

    Attributes:
        vms: by name; `vm0` is where actors without `@` live.
        files: open descriptors of the VMM, by the vector's name; `forked` are those of its children.
        armed: actors to which a signal comes with their next operation.
        maps: host mappings, also those that are gone, and ordinary buffers, by name; `forked_maps` are the child's.
        pins: pinned folios by (mapping, page).
        pending: the access that each vCPU left with an exit, to be completed by `resume`.
        counts: audit events of the measured part that `event_count` asks for.
        noted: values that a step saved for a later one.
    """

    def __init__(self, vector: Vector, cls: type[Kernel], vm_type: str, release: Release) -> None:
        self.vector = vector
        self.setup = vector.setup
        self.world = World()
        self.memory = PhysicalMemory()
        if self.setup.variant is not None and issubclass(cls, Inplace):
            # The interface of an RFC: a variant of the version that came of it.
            cls = type(cls.__name__, (InplaceContent, cls), {}) if cls is not Inplace else InplaceContent
        if self.setup.module_params.gmem_in_place_conversion is False:
            cls = type(cls.__name__, (cls,), {"in_place": False})
        self.kernel = cls(self.world, self.memory, release, CostTable.default())
        check_instance(self.kernel)
        self.vms: dict[str, Vm] = {}
        self.files: dict[str, GmemFile] = {}
        self.forked: dict[str, dict[str, GmemFile]] = {}
        self.forked_maps: dict[str, HostMapping] = {}
        self.armed: set[str] = set()
        self.inodes: dict[str, GmemInode] = {}
        self.maps: dict[str, HostMapping | UserMemory] = {}
        self.pins: dict[tuple[str, int], list[tuple[GmemInode, Folio]]] = {}
        self.pending: dict[str, Callable[[], Awaitable[Got]]] = {}
        self.counts = EventCounts(self.world)
        self.noted: dict[str, Any] = {}
        self.numbers: dict[int, int] = {}
        self.launch_started = self.setup.launch_started
        self.others = Branches()
        self.poisoned: list[tuple[GmemInode, Folio]] = []
        self.vm_type = vm_type
        for ident, label in enumerate(self.setup.vms):
            arch = ARCHES[vm_type](self.memory, CostTable.default())
            if isinstance(arch, Tdx):
                # The vectors' guests accept pages when they meet them, which takes the #VE.
                arch.choices = attrs.evolve(arch.choices, sept_ve_disable=False)
            vm = Vm(label, ident, arch)
            self.vms[label] = self.world.vms[label] = vm
            if ident == 0:
                vm.vcpus += [Vcpu(vm, n, f"vcpu{n}") for n in range(self.setup.vcpus)]

    @staticmethod
    def bounded(length: int, most: int = WALKED) -> None:
        """What takes a step a page, or an entry, takes hours for all of memory.

        Raises:
            Unsupported: more than `most` bytes.
        """
        if length > most:
            raise Unsupported(f"a call on more than {most >> 30} GiB")

    # -- names ---------------------------------------------------------------------------------

    def vm(self, actor: str) -> Vm:
        """The VM on whose behalf the actor acts."""
        label = actor.partition("@")[2] or "vm0"
        if label not in self.vms:
            raise Unsupported(f"actor {actor!r}: no such VM")
        return self.vms[label]

    def vcpu(self, actor: str) -> Vcpu:
        """The vCPU that the actor is."""
        for vcpu in self.vms["vm0"].vcpus:
            if vcpu.label == actor:
                return vcpu
        raise Unsupported(f"actor {actor!r}: no such vCPU")

    def process(self, actor: str) -> Process:
        """All host threads are one process; `child` is another."""
        label = "child" if actor == "child" else "vmm"
        found = self.world.processes.get(label)
        if found is None:
            found = self.world.processes[label] = Process(label)
        return found

    def descriptors(self, actor: str) -> dict[str, GmemFile]:
        """The open files of the actor's process."""
        return self.forked.get(actor, self.files)

    def file(self, name: str, actor: str = "host") -> GmemFile:
        """An open file.

        Raises:
            BadDescriptor: it was closed.
            Unsupported: the vector never made it.
        """
        found = self.descriptors(actor).get(name)
        if found is not None:
            return found
        if name in self.inodes:
            raise BadDescriptor
        raise Unsupported(f"no file {name!r}")

    def mapping(self, name: str, actor: str = "host") -> HostMapping | UserMemory:
        """A host mapping of the actor's process; a name that was never mapped is an ordinary buffer."""
        found: HostMapping | UserMemory | None = self.forked_maps.get(name) if actor in self.forked else None
        found = found or self.maps.get(name)
        if found is None:
            found = self.maps[name] = self.buffer(name)
        if actor in self.forked and getattr(found, "process", None) is not self.process(actor):
            raise Unsupported(f"actor {actor!r}: {name!r} is no shared mapping that it has")
        return found

    async def fork(self, t: Task, actor: str, child: str) -> None:
        """The child has copies of the mappings and descriptors of the VMM."""
        kernel, parent = self.kernel, self.process(actor)
        self.forked[child] = await kernel.fork(t, parent, self.process(child), self.descriptors(actor))
        for name, mapping in self.maps.items():
            copy = self.world.mappings.get(kernel.forked_label(mapping.label, self.process(child)))
            if copy is not None and isinstance(mapping, HostMapping):
                self.forked_maps[name] = copy

    def buffer(self, name: str) -> UserMemory:
        """The ordinary buffer of that name."""
        found = self.world.buffers.get(name)
        if found is None:
            found = self.world.buffers[name] = UserMemory(name)
        return found

    def only_inode(self) -> GmemInode | None:
        """The file, if there is one only."""
        return next(iter(self.inodes.values())) if len(self.inodes) == 1 else None

    def number(self, inode: GmemInode) -> int:
        """Its inode number: inodes are numbered as they are asked for."""
        return self.numbers.setdefault(id(inode), len(self.numbers) + 1)

    def frame(self, buffer: UserMemory, page: int) -> int:
        """The frame of an ordinary buffer, zeroed at first touch like any anonymous memory."""
        pfn = buffer.frames.get(page)
        if pfn is None:
            made = self.memory.allocate()
            assert made is not None
            pfn = buffer.frames[page] = made
            self.memory.write(pfn, ZERO)
        return pfn

    # -- initial state -------------------------------------------------------------------------

    async def bring_about(self, t: Task) -> None:
        """Files, slots, mappings and launch state as the vector's `setup` has them.

        Raises:
            Unsupported: the version cannot get there.
        """
        self._know(self.setup)
        for gmem in self.setup.gmems:
            vm = self.vms.get(gmem.vm)
            if vm is None:
                raise Unsupported(f"setup: file {gmem.id}: no VM {gmem.vm!r}")
            ret = await self.create(t, vm, gmem.id, gmem.size, frozenset(gmem.flags))
            self._must(ret, f"create {gmem.id}")
        for slot in self.setup.slots:
            region = self.region(slot.slot, slot.gpa, slot.size, slot.flags, slot.gmem_offset)
            ret = await self.bind(t, self.vms["vm0"], region, slot.gmem, slot.userspace)
            self._must(ret, f"bind slot {slot.slot}")
        for made in self.setup.maps:
            ret = await self.mmap(t, "host", made.id, made.gmem, made.offset, made.len, made.share)
            self._must(ret, f"mmap {made.id}")
        await self._initial_state(t)
        vm = self.vms["vm0"]
        if vm.arch.needs_launch and self.setup.finalized:
            self._must(await self.kernel.launch_finish(t, vm), "launch_finish")

    def _know(self, setup: Setup) -> None:
        if setup.variant is not None and not isinstance(self.kernel, InplaceContent):
            raise Unsupported(f"variant {setup.variant!r} on {self.kernel.name}")
        if any(gmem.huge_page_size for gmem in setup.gmems) and not self.kernel.huge_pages:
            raise Unsupported("huge pages")

    def _must(self, ret: int, what: str) -> None:
        if ret:
            raise Unsupported(f"setup: {what} returned {errno_name(ret)}")

    async def _initial_state(self, t: Task) -> None:
        state = self.setup.initial_state
        if state is None:
            return
        vm = self.vms["vm0"]
        for slot in vm.slots:
            if not slot.gmem or slot.gmem_file is None:
                continue
            private = state == "private"
            self.bounded(slot.pages * PAGE, MAPPED if self.kernel.in_place else WALKED)
            if self.kernel.in_place:
                ret = await self.convert(t, slot.gmem_file, slot.pgoff, slot.pgoff + slot.pages, private)
            else:
                ret = await self.kernel.kvm_vm_ioctl_set_mem_attributes(
                    t, vm, slot.base_gfn * PAGE, slot.pages * PAGE, private
                )
            self._must(ret, "initial_state")

    # -- calls that setup and steps share ------------------------------------------------------

    async def create(self, t: Task, vm: Vm, name: str, size: int, flags: frozenset[str]) -> int:
        """KVM_CREATE_GUEST_MEMFD."""
        made = await self.kernel.kvm_gmem_create(t, vm, name, size, flags)
        if isinstance(made, int):
            return made
        self.files[name] = made
        self.inodes[name] = made.inode
        return 0

    def region(
        self,
        slot: int | str,
        gpa: int,
        size: int,
        flags: Iterable[str],
        offset: int = 0,
        userspace: int | str = 0,
    ) -> MemoryRegion:
        """The argument of a call on a slot; memory at its userspace address is `bind`'s matter."""
        number = KVM_USER_MEM_SLOTS if slot == "max_slots" else slot
        assert isinstance(number, int)
        address = userspace if isinstance(userspace, int) else 0
        return MemoryRegion(number, gpa, size, frozenset(flags), address, None, offset)

    async def bind(self, t: Task, vm: Vm, region: MemoryRegion, gmem: str | int | None, shows: str) -> int:
        """KVM_SET_USER_MEMORY_REGION2; `shows` is what is at the userspace address."""
        kernel = self.kernel
        bad = kernel.check_memory_region_flags(vm, region.flags) or kernel.check_memory_region(region)
        if bad:
            return bad
        if "READONLY" in region.flags:
            raise Unsupported("read-only slots of ordinary memory")
        private = "GUEST_MEMFD" in region.flags
        file = None
        if private and isinstance(gmem, str):
            if gmem.startswith("file:"):
                # A descriptor of something else is found, and refused because it is no guest_memfd.
                return self._foreign(gmem.removeprefix("file:"))
            file = self.descriptors("host").get(gmem)
            if file is None and gmem not in self.inodes:
                raise Unsupported(f"no file {gmem!r}")
        made: HostMapping | int = 0
        first, pages = region.offset // PAGE, region.size // PAGE
        user, user_offset = None, 0
        if shows == "gmem" and file is not None:
            label = f"slot{region.slot}.hva"
            made = await kernel.kvm_gmem_mmap(t, file, self.process("host"), label, first, pages)
        elif shows not in ("gmem", "none"):
            own = shows == "separate"
            user = self.buffer(f"slot{region.slot}" if own else shows)
            user_offset = 0 if own else first
        hva = None if isinstance(made, int) else made
        full = attrs.evolve(region, file=file, user=user, user_offset=user_offset, hva=hva)
        ret = await kernel.kvm_vm_ioctl_set_memory_region(t, vm, full)
        if ret and hva is not None:
            await kernel.munmap(t, hva)
        return ret

    def _foreign(self, name: str) -> int:
        """What binding a descriptor that is no guest_memfd comes to."""
        if name in ("closed", "bad", "none"):
            return EBADF
        if name not in self.setup.foreign_files:
            raise Unsupported(f"no foreign file {name!r}")
        return EINVAL

    async def mmap(
        self, t: Task, actor: str, name: str, gmem: str, offset: int, length: int, share: str
    ) -> int:
        """mmap(2) of a guest_memfd; what `ksys_mmap_pgoff` and `do_mmap` say before they ask the file."""
        file = self.file(gmem, actor)
        if offset % PAGE or length == 0:
            return EINVAL
        if not 0 < length < 1 << 47:
            return ENOMEM
        if not 0 <= offset < 1 << 62:
            return EOVERFLOW
        made = await self.kernel.kvm_gmem_mmap(
            t,
            file,
            self.process(actor),
            name,
            offset // PAGE,
            -(-length // PAGE),
            share == "shared",
        )
        if isinstance(made, int):
            return made
        self.maps[name] = made
        return 0

    async def convert(self, t: Task, file: GmemFile, start: int, end: int, private: bool) -> int:
        """The per-file conversion call, for the initial state.

        Raises:
            Unsupported: the version has none.
        """
        if not isinstance(self.kernel, GmemConversion):
            raise Unsupported("conversion in place")
        size = (end - start) * PAGE
        return (await self.kernel.kvm_gmem_set_attributes(t, file, start * PAGE, size, private)).ret
