"""Virtual time of huge folios under the default cost table: clearing, splitting, the mutex, the pool.

python bench/huge_questions.py
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from gmemsim.actors.inode import GmemFile, HostMapping, Process
from gmemsim.actors.vm import Vcpu, Vm, World
from gmemsim.arch.costs import CostTable
from gmemsim.arch.memory import PhysicalMemory
from gmemsim.arch.sw_protected import SwProtected
from gmemsim.audit.kvm_events import Retry
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.patches.hugepage import Hugepage
from gmemsim.patches.hugepage_mutex import HugepageMutex
from gmemsim.patches.hugepage_variants import HugepageStaged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gmemsim.engine.task import Task

BASE = 1 << 20
GIB = 1 << 18
HUGE = 512


class Machine:
    """One VM with one private file of huge folios, costs on."""

    def __init__(self, kernel: type[Hugepage], pages: int, size: str, vcpus: int = 8) -> None:
        costs = CostTable.default()
        memory = PhysicalMemory()
        self.world = World()
        self.vm = Vm("vm0", 0, SwProtected(memory, costs))
        self.world.vms["vm0"] = self.vm
        self.vm.vcpus += [Vcpu(self.vm, number, f"vcpu{number}") for number in range(vcpus)]
        self.vm.finalized = True
        self.kernel = kernel(self.world, memory, None, costs)
        self.pages = pages
        self.flags = frozenset({"MMAP", "HUGETLB", size})
        self.file: Any = None
        self.mapping: Any = None
        self.counts: Counter[str] = Counter()
        self.run(self._setup)

    async def _setup(self, t: Task) -> None:
        kernel = self.kernel
        self.file = await kernel.kvm_gmem_create(t, self.vm, "gmem0", self.pages * 4096, self.flags)
        assert isinstance(self.file, GmemFile)
        assert await kernel.kvm_set_memory_region(t, self.vm, 0, BASE, self.pages, self.file) == 0
        self.mapping = await kernel.kvm_gmem_mmap(t, self.file, Process("vmm"), "map0", 0, self.pages)
        assert isinstance(self.mapping, HostMapping)

    def _count(self, task: Task, event: Any) -> None:
        if isinstance(event, Retry):
            self.counts[event.reason] += 1

    def run(self, *bodies: Callable[[Task], Awaitable[object]]) -> list[int]:
        """Run the bodies side by side; virtual ns at the end of each, the engine's last."""
        ends: list[int] = []
        self.counts.clear()
        engine = Engine(rec=self._count)

        async def one(t: Task, body: Callable[[Task], Awaitable[object]]) -> None:
            await body(t)
            ends.append(t.engine.now)

        for number, body in enumerate(bodies):
            engine.spawn(f"t{number}", one, body)
        bare.run(engine)
        return [*ends, engine.now]

    def touch(self, vcpu: int, page: int) -> Callable[[Task], Awaitable[object]]:
        """A guest load."""
        return lambda t: self.kernel.guest_access(t, self.vm.vcpus[vcpu], BASE + page, None, None)

    def to(self, private: bool, start: int, pages: int = 1) -> Callable[[Task], Awaitable[object]]:
        """A conversion."""
        return lambda t: self.kernel.kvm_gmem_set_attributes(
            t, self.file, start * 4096, pages * 4096, private
        )

    def host(self, page: int) -> Callable[[Task], Awaitable[object]]:
        """A host load."""
        return lambda t: self.kernel.host_access(t, self.mapping, page, None)


def us(ns: int) -> str:
    """Microseconds."""
    return f"{ns / 1000:,.0f}"


def clearing() -> list[str]:
    """Q8: the first touch clears all of the folio, and whoever touches it next waits."""
    lines = ["| first touch of a folio (Q8) | first vCPU, µs | eighth vCPU at once, µs |", "|---|--:|--:|"]
    for size, pages in (("HUGETLB_2M", HUGE), ("HUGETLB_1G", GIB)):
        machine = Machine(HugepageMutex, pages, size)
        ends = machine.run(*[machine.touch(number, number * 8) for number in range(8)])
        lines.append(f"| {size[8:]} | {us(ends[0])} | {us(ends[-2])} |")
    return lines


def splitting() -> list[str]:
    """Q12: one page of a 1 GiB folio becomes shared and private again; what a re-fault beside it costs."""
    lines = ["| one page of 1 GiB (Q12) | to shared, µs | to private, µs | folios |", "|---|--:|--:|--:|"]
    for kernel in (HugepageMutex, HugepageStaged):
        machine = Machine(kernel, GIB, "HUGETLB_1G")
        machine.run(machine.touch(0, 0))
        away = machine.run(machine.to(False, 5))[0]
        cache = machine.kernel.huge_cache(machine.file.inode)
        assert cache is not None
        folios = sum(cache.orders().values())
        back = machine.run(machine.to(True, 5))[0]
        lines.append(f"| `{kernel.name}` | {us(away)} | {us(back)} | {folios:,} |")
    return lines


def rounding() -> list[str]:
    """Q12: vCPUs that fault 2 MiB away from the page while it is converted there and back, twenty times."""
    lines = [
        "| 4 vCPUs fault 20 pages each, 2 MiB away from 20 conversions there and back (Q12) | retries |",
        "|---|--:|",
    ]
    for size, pages in (("HUGETLB_2M", HUGE), ("HUGETLB_1G", GIB)):
        machine = Machine(HugepageStaged, 2 * pages, size)
        machine.run(machine.touch(0, 0), machine.touch(1, pages))

        async def convert(t: Task, machine: Machine = machine) -> None:
            for _ in range(20):
                await machine.to(False, 5)(t)
                await machine.to(True, 5)(t)

        async def faults(t: Task, vcpu: int, machine: Machine = machine) -> None:
            for number in range(20):
                page = HUGE + number
                await machine.vm.mmu_lock.write_lock(t)
                await machine.kernel.kvm_unmap_gfn_range(t, machine.vm, BASE + page, BASE + page + 1, "both")
                await machine.kernel.kvm_flush_remote_tlbs(t, machine.vm)
                await machine.vm.mmu_lock.write_unlock(t)
                await machine.touch(vcpu, page)(t)

        machine.run(convert, *[partial(faults, vcpu=vcpu) for vcpu in range(4)])
        lines.append(
            f"| {size[8:]} | {sum(machine.counts.values())} ({dict(sorted(machine.counts.items()))}) |"
        )
    return lines


def mutex() -> list[str]:
    """Q14: eight vCPUs fault 200 pages each of one cleared 1 GiB folio, with and without the mutex."""
    lines = [
        "| 8 vCPUs in one 1 GiB page of which one page is shared, 200 faults each (Q14) | µs |",
        "|---|--:|",
    ]
    for kernel in (Hugepage, HugepageMutex):
        machine = Machine(kernel, GIB, "HUGETLB_1G")
        machine.run(machine.touch(0, 0))
        machine.run(machine.to(False, 5))

        async def body(t: Task, vcpu: int, machine: Machine = machine) -> None:
            for number in range(200):
                await machine.touch(vcpu, 1000 + vcpu * 200 + number)(t)

        ends = machine.run(*[partial(body, vcpu=vcpu) for vcpu in range(8)])
        lines.append(f"| `{kernel.name}` | {us(ends[-1])} |")
    return lines


def pool() -> list[str]:
    """Q13: how long the pool waits for the huge page after a hole over a split one."""
    lines = [
        "| hole over a split 1 GiB page of which 64 pages were mapped (Q13) | hole, µs | pool whole, µs |"
    ]
    lines.append("|---|--:|--:|")
    for kernel in (Hugepage, HugepageMutex):
        machine = Machine(kernel, GIB, "HUGETLB_1G")
        machine.run(machine.to(False, 0, 64))
        for page in range(64):
            machine.run(machine.host(page))
        inode = machine.file.inode
        ends = machine.run(partial(machine.kernel.kvm_gmem_punch_hole, inode=inode, start=0, end=GIB))
        assert machine.kernel.subpools["gmem0"].used == 0
        lines.append(f"| `{kernel.name}` | {us(ends[0])} | {us(ends[-1])} |")
    return lines


def main() -> list[str]:
    """All tables."""
    tables = [clearing(), splitting(), rounding(), mutex(), pool()]
    return [line for table in tables for line in (*table, "")][:-1]


if __name__ == "__main__":
    print("\n".join(main()))
