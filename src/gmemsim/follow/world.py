"""The model that a trace is followed with: one VM, one file, the slots and mappings that the recording had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.inode import GmemFile, HostMapping, Process
from ..actors.memslot import UserMemory
from ..actors.release import RELEASES
from ..actors.vm import Vcpu, Vm, World
from ..arch.base import Arch
from ..arch.memory import ZERO, PhysicalMemory
from ..arch.sw_protected import SwProtected
from ..engine import bare
from ..engine.engine import Engine
from ..patches.registry import check_instance

if TYPE_CHECKING:
    from ..actors.kernel import Kernel
    from ..actors.release import Release
    from ..engine.task import Task
    from .trace import Trace


class Setup:
    """The objects that the follower's calls need."""

    def __init__(self, trace: Trace, kernel_class: type[Kernel], release: Release | None) -> None:
        self.trace = trace
        self.world = World()
        self.memory = PhysicalMemory()
        arch = SwProtected(self.memory) if trace.sw_protected else Arch(self.memory)
        self.vm = Vm("vm0", 0, arch)
        self.world.vms["vm0"] = self.vm
        self.kernel = kernel_class(self.world, self.memory, release, gmem_prepare=trace.gmem_prepare)
        check_instance(self.kernel)
        self.process = Process("vmm")
        self.world.processes["vmm"] = self.process
        self.vcpus: dict[str, Vcpu] = {}
        self.mappings: dict[str, HostMapping] = {}
        self.file: GmemFile | None = None
        self.hva: HostMapping | None = None

    @property
    def gmem(self) -> GmemFile:
        assert self.file is not None
        return self.file

    def vcpu(self, thread: str) -> Vcpu:
        """The vCPU that a thread runs."""
        vcpu = self.vcpus.get(thread)
        if vcpu is None:
            vcpu = Vcpu(self.vm, len(self.vcpus), thread)
            self.vcpus[thread] = vcpu
            self.vm.vcpus.append(vcpu)
        return vcpu

    def mapping(self, thread: str) -> HostMapping:
        """The thread's own mapping of the file."""
        mapping = self.mappings.get(thread)
        if mapping is None:
            inode = self.gmem.inode
            mapping = HostMapping(f"map:{thread}", self.process, inode, 0, inode.pages)
            inode.mappings.append(mapping)
            self.mappings[thread] = mapping
        return mapping

    async def prepare(self, t: Task) -> None:
        """Create and bind, as the recorded VMM did before the trace began."""
        trace, kernel, vm = self.trace, self.kernel, self.vm
        shared = not trace.sw_protected
        supported = kernel.gmem_supported_flags(vm)
        flags = frozenset({"MMAP", "INIT_SHARED"} & supported) if shared else frozenset()
        file = await kernel.kvm_gmem_create(t, vm, "gmem0", trace.pages * 4096, flags)
        if isinstance(file, int):
            raise ValueError(f"the model refuses the recorded file: errno {file}")
        self.file = file
        if "MMAP" in flags:
            # The slot's userspace address is a mapping of the same file; nobody touches memory through it.
            self.hva = HostMapping("slot0", self.process, file.inode, 0, trace.pages)
            file.inode.mappings.append(self.hva)
        ret = await self.set_region(t, trace.data_gfn, trace.pages, 0) if trace.is_bound() else 0
        ret = ret or await kernel.kvm_set_memory_region(
            t, vm, 1, 0, trace.data_gfn, None, 0, UserMemory("code")
        )
        above = [gfn for gfn in trace.faulted() if gfn >= trace.data_gfn + trace.pages]
        if above:
            ret = ret or await kernel.kvm_set_memory_region(
                t, vm, 2, min(above), max(above) - min(above) + 1, None, 0, UserMemory("high")
            )
        if ret:
            raise ValueError(f"the model refuses the recorded slots: errno {ret}")
        if trace.sw_protected:
            # "All memory private at start" (seen in the recordings).
            vm.attributes.update(range(trace.data_gfn, trace.data_gfn + trace.pages))
            for start, end, private in trace.converted:
                change = vm.attributes.update if private else vm.attributes.difference_update
                change(range(start, end))

    async def set_region(self, t: Task, first: int, pages: int, index: int) -> int:
        """Make or (no pages) delete the slot of the file, as the ioctl does: 0 or an errno."""
        trace = self.trace
        if not pages:
            return await self.kernel.kvm_set_memory_region(t, self.vm, 0, 0, 0)
        user = UserMemory("anon") if trace.sw_protected else None
        return await self.kernel.kvm_set_memory_region(
            t, self.vm, 0, first, pages, self.gmem, index << 12, user, hva=self.hva
        )

    async def preallocate(self, t: Task, pages: dict[int, bool]) -> None:
        """Put the folios in that were there before the trace began; True for those that were uptodate."""
        for index, uptodate in sorted(pages.items()):
            folio = await self.kernel.kvm_gmem_get_folio(t, self.gmem.inode, index)
            assert not isinstance(folio, int)
            folio.uptodate = uptodate
            if uptodate:
                self.memory.write(folio.pfn, ZERO)
            await self.kernel.folio_unlock(t, folio)
            await self.kernel.folio_put(t, self.gmem.inode, folio)

    async def map(self, t: Task, pages: dict[int, bool], mapped: frozenset[int]) -> None:
        """Let a vCPU map these of the pages, where they were uptodate."""
        vcpu = self.vcpu(min(self.trace.threads))
        for index, uptodate in sorted(pages.items()):
            if uptodate and index in mapped:
                await self.kernel.handle_ept_violation(t, vcpu, self.trace.data_gfn + index, None)


def chosen_release(trace: Trace, kernel_class: type[Kernel], release: str | None) -> str:
    """The kernel release around the patch: the one asked for, else the trace's, else the version's own."""
    of_trace = trace.release if trace.release in RELEASES else None
    return release or of_trace or kernel_class.default_release


def build_world(
    trace: Trace,
    kernel_class: type[Kernel],
    release: Release | None,
    present: dict[int, bool],
    mapped: frozenset[int],
) -> Setup:
    """A world in the state that the recording started from, with `mapped` of `present` mapped for the guest.

    Raises:
        ValueError: the model would not have accepted the recorded set-up.
    """
    setup = Setup(trace, kernel_class, release)

    async def boot(t: Task) -> None:
        await setup.prepare(t)
        await setup.preallocate(t, present)
        if mapped and trace.is_bound():
            await setup.map(t, present, mapped)

    engine = Engine()
    engine.spawn("boot", boot)
    bare.run(engine)
    return setup
