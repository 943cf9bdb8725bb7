"""A VM whose slot is aligned like its file of huge folios, so that guests map above 4 KiB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gmemsim.actors.inode import GmemFile, GmemInode, HostMapping, Process
from gmemsim.actors.vm import Vcpu, Vm, World
from gmemsim.arch.memory import PhysicalMemory
from gmemsim.arch.snp import Snp
from gmemsim.arch.sw_protected import SwProtected
from gmemsim.arch.tdx import Tdx
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.patches.registry import load_patch

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.actors.kernel import Kernel
    from gmemsim.audit.base import Event
    from gmemsim.engine.strategy import Strategy
    from gmemsim.engine.task import Task

__all__ = ["BASE", "HUGE", "PAGE", "LargeRig"]

PAGE = 4096
HUGE = 512
#: First gfn of the slot: aligned to 1 GiB.
BASE = 1 << 18

_ARCHES: dict[str, Callable[[PhysicalMemory], Any]] = {"private": SwProtected, "snp": Snp, "tdx": Tdx}


class LargeRig:
    """One VM, one file, one slot; the file begins private and is mapped by the host."""

    def __init__(
        self,
        kernel: type[Kernel] | str = "hugepage-mutex",
        kind: str | Callable[[PhysicalMemory], Any] = "private",
        *,
        base: int = BASE,
        pages: int = 2 * HUGE,
        file_pages: int | None = None,
        offset: int = 0,
        vcpus: int = 2,
        size: str = "HUGETLB_2M",
        private: range = range(0),
    ) -> None:
        self.memory = PhysicalMemory()
        self.world = World()
        made = load_patch(kernel) if isinstance(kernel, str) else kernel
        self.kernel: Any = made(self.world, self.memory)
        self.process = Process("vmm")
        self.world.processes["vmm"] = self.process
        self.base = base
        self.pages = pages
        self.events: list[tuple[str, Event]] = []
        self.vm = Vm("vm0", 0, (_ARCHES[kind] if isinstance(kind, str) else kind)(self.memory))
        self.world.vms["vm0"] = self.vm
        self.vm.vcpus += [Vcpu(self.vm, number, f"vm0.vcpu{number}") for number in range(vcpus)]
        self.vm.attributes.update(base + page for page in private)
        total = pages if file_pages is None else file_pages

        async def bind(t: Task) -> tuple[GmemFile, HostMapping]:
            flags = frozenset({"MMAP", "HUGETLB", size})
            file = await self.kernel.kvm_gmem_create(t, self.vm, "gmem0", total * PAGE, flags)
            assert isinstance(file, GmemFile), file
            ret = await self.kernel.kvm_set_memory_region(t, self.vm, 0, base, pages, file, offset * PAGE)
            assert ret == 0, ret
            mapping = await self.kernel.kvm_gmem_mmap(t, file, self.process, "map", 0, total)
            assert isinstance(mapping, HostMapping), mapping
            if not self.vm.finalized:
                assert await self.kernel.launch_finish(t, self.vm) == 0
            return file, mapping

        self.file, self.mapping = self.call(bind)

    @property
    def inode(self) -> GmemInode:
        inode: GmemInode = self.file.inode
        return inode

    @property
    def arch(self) -> Any:
        return self.vm.arch

    def run(
        self,
        *operations: Callable[[Task], Any],
        strategy: Strategy | None = None,
        faults: dict[str, int] | None = None,
    ) -> list[Any]:
        """Operations side by side; their results. `events` holds what happened."""
        self.events = []
        engine = Engine(
            strategy, rec=lambda task, event: self.events.append((task.name, event)), faults=faults
        )
        tasks = [engine.spawn(f"t{number}", operation) for number, operation in enumerate(operations)]
        bare.run(engine)
        return [task.result for task in tasks]

    def call(self, operation: Callable[[Task], Any]) -> Any:
        """One operation alone."""
        return self.run(operation)[0]

    def touch(self, page: int, write: str | None = None, vcpu: int = 0, private: bool = True) -> Any:
        """A guest access, as an operation."""
        return lambda t: self.kernel.guest_access(
            t, self.vm.vcpus[vcpu], self.base + page, private if self.arch.hardware_private else None, write
        )

    def accept(self, page: int, level: int = 1, vcpu: int = 0) -> Any:
        """The guest's PVALIDATE or ACCEPT, as an operation."""
        return lambda t: self.kernel.guest_accept(t, self.vm.vcpus[vcpu], self.base + page, level)

    def convert(self, start: int, end: int, private: bool) -> Any:
        """The conversion call, as an operation."""
        return lambda t: self.kernel.kvm_gmem_set_attributes(
            t, self.file, start * PAGE, (end - start) * PAGE, private
        )

    def frame(self, page: int) -> int:
        """The frame that the guest's translation of the page leads to."""
        spte = self.vm.stage2.find(self.base + page, True)
        assert spte is not None
        return spte.pfn

    def leaves(self) -> list[tuple[int, int]]:
        """(first page, level) of every leaf."""
        return [(gfn - self.base, spte.level) for gfn, spte in self.vm.stage2.all()]

    def names(self, *wanted: type[Event]) -> list[str]:
        return [type(event).__name__ for _, event in self.events if not wanted or isinstance(event, wanted)]

    def only(self, wanted: type[Event]) -> list[Any]:
        return [event for _, event in self.events if isinstance(event, wanted)]
