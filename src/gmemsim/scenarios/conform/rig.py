"""The machine that a vector runs on: the real actors, and the names that the vector's steps use for them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from ...actors.errno import errno_name
from ...actors.gmem_convert import GmemConversion
from ...actors.inode import Process
from ...actors.memslot import UserMemory
from ...actors.vm import Vcpu, Vm, World
from ...arch.costs import CostTable
from ...arch.memory import ZERO, PhysicalMemory
from ...arch.registry import ARCHES
from ...arch.tdx import Tdx
from ...patches.inplace import Inplace
from ...patches.inplace_content import InplaceContent
from ..units import PAGE
from .branches import Branches

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors.folio import Folio
    from ...actors.inode import GmemFile, GmemInode, HostMapping
    from ...actors.kernel import Kernel
    from ...actors.release import Release
    from ...engine.task import Task
    from .results import Got
    from .vector import Vector

__all__ = ["Rig", "Unsupported"]

#: `setup.variant` of the vectors for content modes.
_CONTENT_MODES = "content_modes_rfc_v5"


class Unsupported(Exception):
    """The vector asks for something that the model or the runner does not have."""


class Rig:
    """World, kernel, and what the steps of one run have made so far.

    Attributes:
        vms: by name; `vm0` is where actors without `@` live.
        files: open descriptors, by the vector's name.
        maps: host mappings, and ordinary buffers, by name.
        pins: pinned folios by (mapping, page).
        pending: the access that each vCPU left with an exit, to be completed by `resume`.
        counts: audit events of the measured part that `event_count` asks for, by (name, gfn or pfn).
        noted: values that a step saved for a later one.
    """

    def __init__(self, vector: Vector, cls: type[Kernel], vm_type: str, release: Release) -> None:
        self.vector = vector
        self.setup = vector.setup
        self.world = World()
        self.memory = PhysicalMemory()
        if self.setup.get("variant") == _CONTENT_MODES and issubclass(cls, Inplace):
            # The interface of an RFC: a variant of the version that came of it.
            cls = type(cls.__name__, (InplaceContent, cls), {}) if cls is not Inplace else InplaceContent
        if self.setup.get("module_params", {}).get("gmem_in_place_conversion") is False:
            cls = type(cls.__name__, (cls,), {"in_place": False})
        self.kernel = cls(self.world, self.memory, release, CostTable.default())
        self.vms: dict[str, Vm] = {}
        self.files: dict[str, GmemFile] = {}
        self.inodes: dict[str, GmemInode] = {}
        self.maps: dict[str, HostMapping | UserMemory] = {}
        self.pins: dict[tuple[str, int], list[tuple[GmemInode, Folio]]] = {}
        self.pending: dict[str, Callable[[], Awaitable[Got]]] = {}
        self.counts: Counter[tuple[str, int]] = Counter()
        self.noted: dict[str, Any] = {}
        self.numbers: dict[int, int] = {}
        self.launch_started = bool(self.setup.get("launch_started", True))
        self.others = Branches()
        self.poisoned: list[tuple[GmemInode, Folio]] = []
        self.vm_type = vm_type
        for ident, label in enumerate(self.setup.get("vms") or ["vm0"]):
            arch = ARCHES[vm_type](self.memory, CostTable.default())
            if isinstance(arch, Tdx):
                # The vectors' guests accept pages when they meet them, which takes the #VE.
                arch.choices = attrs.evolve(arch.choices, sept_ve_disable=False)
            vm = Vm(label, ident, arch)
            self.vms[label] = self.world.vms[label] = vm
            if ident == 0:
                vm.vcpus += [Vcpu(vm, n, f"vcpu{n}") for n in range(self.setup.get("vcpus", 0))]

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

    def file(self, name: str) -> GmemFile:
        """An open file.

        Raises:
            Unsupported: the vector never made it.
        """
        if name not in self.files:
            raise Unsupported(f"no file {name!r}")
        return self.files[name]

    def mapping(self, name: str) -> HostMapping | UserMemory:
        """A host mapping; a name that was never mapped is an ordinary buffer."""
        found = self.maps.get(name)
        if found is None:
            found = self.maps[name] = self.buffer(name)
        return found

    def buffer(self, name: str) -> UserMemory:
        """The ordinary buffer of that name."""
        found = self.world.buffers.get(name)
        if found is None:
            found = self.world.buffers[name] = UserMemory(name)
        return found

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
        for gmem in self.setup.get("gmems", ()):
            vm = self.vms.get(gmem.get("vm") or "vm0")
            if vm is None:
                raise Unsupported(f"setup: file {gmem['id']}: no VM {gmem.get('vm')!r}")
            ret = await self.create(t, vm, gmem["id"], gmem["size"], frozenset(gmem["flags"]))
            self._must(ret, f"create {gmem['id']}")
        for slot in self.setup.get("slots", ()):
            private = "GUEST_MEMFD" in slot["flags"]
            ret = await self.bind(
                t,
                self.vms["vm0"],
                slot["slot"],
                slot["gpa"],
                slot["size"],
                slot.get("gmem") if private else None,
                slot.get("gmem_offset", 0),
                slot["userspace"],
                private,
            )
            self._must(ret, f"bind slot {slot['slot']}")
        for made in self.setup.get("maps", ()):
            ret = await self.mmap(
                t, "host", made["id"], made["gmem"], made["offset"], made["len"], made["share"]
            )
            self._must(ret, f"mmap {made['id']}")
        await self._initial_state(t)
        vm = self.vms["vm0"]
        if vm.arch.needs_launch and self.setup.get("finalized", True):
            self._must(await self.kernel.launch_finish(t, vm), "launch_finish")

    def _know(self, setup: dict[str, Any]) -> None:
        known = {
            "page_size", "vcpus", "gmems", "slots", "maps", "finalized", "launch_started", "vcpu_initialized",
            "initial_state", "module_params", "variant", "vms", "foreign_files", "numa_nodes",
        }  # fmt: skip
        for name in setup:
            if name not in known:
                raise Unsupported(f"setup key {name!r}")
        if setup.get("variant", _CONTENT_MODES) != _CONTENT_MODES:
            raise Unsupported(f"variant {setup['variant']!r}")
        if "variant" in setup and not isinstance(self.kernel, InplaceContent):
            raise Unsupported(f"variant {setup['variant']!r} on {self.kernel.name}")
        for name in setup.get("module_params", {}):
            if name != "gmem_in_place_conversion":
                raise Unsupported(f"module parameter {name!r}")
        if setup.get("page_size", PAGE) != PAGE:
            raise Unsupported(f"page size {setup['page_size']}")
        if setup.get("vcpu_initialized") is False:
            raise Unsupported("a vCPU that is not initialized")
        for gmem in setup.get("gmems", ()):
            if gmem.get("huge_page_size") and not self.kernel.huge_pages:
                raise Unsupported("huge pages")

    def _must(self, ret: int, what: str) -> None:
        if ret:
            raise Unsupported(f"setup: {what} returned {errno_name(ret)}")

    async def _initial_state(self, t: Task) -> None:
        state = self.setup.get("initial_state")
        if state is None:
            return
        vm = self.vms["vm0"]
        for slot in vm.slots:
            if not slot.gmem or slot.gmem_file is None:
                continue
            private = state == "private"
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

    async def bind(
        self,
        t: Task,
        vm: Vm,
        slot: int,
        gpa: int,
        size: int,
        gmem: str | None,
        offset: int,
        userspace: str,
        private: bool,
    ) -> int:
        """KVM_SET_USER_MEMORY_REGION2."""
        file = None
        if gmem is not None and not gmem.startswith("file:"):
            file = self.file(gmem)
        elif gmem is not None:
            # A descriptor of something else is found, and refused because it is no guest_memfd.
            return -22
        if gpa % PAGE or size % PAGE:
            return -22
        shows = userspace == "gmem"
        buffer = None if shows or userspace == "none" else userspace
        user = None if buffer is None else self.buffer(f"slot{slot}" if buffer == "separate" else buffer)
        made: HostMapping | int = 0
        if shows and file is not None:
            made = await self.kernel.kvm_gmem_mmap(
                t, file, self.process("host"), f"slot{slot}.hva", offset // PAGE, size // PAGE
            )
        hva = None if isinstance(made, int) else made
        ret = await self.kernel.kvm_set_memory_region(
            t,
            vm,
            slot,
            gpa // PAGE,
            size // PAGE,
            file,
            offset,
            user,
            offset // PAGE if user is not None and buffer != "separate" else 0,
            private,
            hva,
        )
        if ret and hva is not None:
            await self.kernel.munmap(t, hva)
        return ret

    async def mmap(
        self, t: Task, actor: str, name: str, gmem: str, offset: int, length: int, share: str
    ) -> int:
        """mmap(2) of a guest_memfd."""
        if offset % PAGE:
            return -22
        made = await self.kernel.kvm_gmem_mmap(
            t,
            self.file(gmem),
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
