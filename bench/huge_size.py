"""Cost per operation and memory of files from 1 GiB to 1 TiB: 1 GiB folios, and 4 KiB pages up to 64 GiB.

python bench/huge_size.py
"""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

from gmemsim.actors.inode import GmemFile, HostMapping, Process
from gmemsim.actors.vm import Vcpu, Vm, World
from gmemsim.arch.memory import PhysicalMemory
from gmemsim.arch.sw_protected import SwProtected
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.patches.hugepage import Hugepage
from gmemsim.patches.inplace import Inplace

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.task import Task

GIB = 1 << 30
BASE = 1 << 20
HUGE = frozenset({"MMAP", "HUGETLB", "HUGETLB_1G"})
SMALL = frozenset({"MMAP"})
ROUNDS = 15
BATCH = 120


class Machine:
    """One VM with one private file, bound and mapped."""

    def __init__(self, kernel: type[Inplace], size: int, flags: frozenset[str]) -> None:
        memory = PhysicalMemory()
        self.world = World()
        self.vm = Vm("vm0", 0, SwProtected(memory))
        self.world.vms["vm0"] = self.vm
        self.vm.vcpus.append(Vcpu(self.vm, 0, "vcpu0"))
        self.vm.finalized = True
        self.kernel = kernel(self.world, memory)
        self.pages = size // 4096
        self.file: Any = None
        self.mapping: Any = None
        self.size, self.flags = size, flags
        self.run(self._setup)

    async def _setup(self, t: Task) -> None:
        kernel = self.kernel
        self.file = await kernel.kvm_gmem_create(t, self.vm, "gmem0", self.size, self.flags)
        assert isinstance(self.file, GmemFile)
        assert await kernel.kvm_set_memory_region(t, self.vm, 0, BASE, self.pages, self.file) == 0
        self.mapping = await kernel.kvm_gmem_mmap(t, self.file, Process("vmm"), "map0", 0, self.pages)
        assert isinstance(self.mapping, HostMapping)

    def run(self, body: Callable[[Task], Any]) -> None:
        """Run one task to its end."""
        engine = Engine()
        engine.spawn("t", body)
        bare.run(engine)

    async def fault(self, t: Task, index: int) -> None:
        """The guest loads from a page."""
        assert (await self.kernel.guest_access(t, self.vm.vcpus[0], BASE + index, None, None)).kind == "ok"

    async def convert(self, t: Task, start: int, pages: int, private: bool) -> None:
        """Convert a range."""
        done = await self.kernel.kvm_gmem_set_attributes(t, self.file, start * 4096, pages * 4096, private)
        assert done.ret == 0

    def there_and_back(self, indices: list[int]) -> None:
        """Every page: to shared, a host store, to private, a guest load."""

        async def body(t: Task) -> None:
            for index in indices:
                await self.convert(t, index, 1, False)
                assert await self.kernel.host_access(t, self.mapping, index, "data:x") == "data:x"
                await self.convert(t, index, 1, True)
                await self.fault(t, index)

        self.run(body)

    def faults(self, indices: list[int]) -> None:
        """First touches."""

        async def body(t: Task) -> None:
            for index in indices:
                await self.fault(t, index)

        self.run(body)

    def zaps_and_faults(self, indices: list[int]) -> None:
        """Every page is zapped, and faulted in again."""

        async def body(t: Task) -> None:
            for index in indices:
                gfn = BASE + index
                await self.vm.mmu_lock.write_lock(t)
                await self.kernel.kvm_unmap_gfn_range(t, self.vm, gfn, gfn + 1, "both")
                await self.kernel.kvm_flush_remote_tlbs(t, self.vm)
                await self.vm.mmu_lock.write_unlock(t)
                await self.fault(t, index)

        self.run(body)


def spread(rng: random.Random, gibs: int, count: int) -> list[int]:
    """`count` pages of the file, all over it."""
    per = 1 << 18
    return [(number * gibs // count) * per + rng.randrange(per) for number in range(count)]


def per_operation(kernel: type[Inplace], sizes: list[int], flags: frozenset[str]) -> list[list[float]]:
    """Processor µs a zap and fault and a conversion there and back, by size: best of the rounds, sizes in turn."""
    rng = random.Random(1)
    machines = [Machine(kernel, size, flags) for size in sizes]
    chosen = []
    for machine in machines:
        # Every GiB of the file has been touched before anything is timed, and the pages of the figures too.
        gibs = machine.pages >> 18
        machine.faults([number << 18 for number in range(gibs)])
        chosen.append(spread(rng, gibs, BATCH))
        machine.there_and_back(chosen[-1])
    best = [[float("inf")] * 2 for _ in sizes]
    for _ in range(ROUNDS):
        for machine, found, indices in zip(machines, best, chosen, strict=True):
            for column, work in enumerate((machine.zaps_and_faults, machine.there_and_back)):
                gc.collect()
                began = time.process_time()
                work(indices)
                found[column] = min(found[column], (time.process_time() - began) / BATCH * 1e6)
    return best


def table(title: str, kernel: type[Inplace], sizes: list[int], flags: frozenset[str]) -> list[str]:
    """Cost by size, with ratios to the smallest."""
    rows = per_operation(kernel, sizes, flags)
    lines = [
        f"| {title} | zap and fault, µs | ratio | conversion there and back, µs | ratio |",
        "|---|--:|--:|--:|--:|",
    ]
    for size, (fault, convert) in zip(sizes, rows, strict=True):
        name = f"{size // GIB} GiB" if size < 1024 * GIB else "1 TiB"
        lines.append(
            f"| {name} | {fault:.1f} | {fault / rows[0][0]:.2f} | {convert:.1f} | {convert / rows[0][1]:.2f} |"
        )
    return lines


def held(size: int, flags: frozenset[str], kernel: type[Inplace], work: Callable[[Machine], None]) -> int:
    """Bytes of a world after `work`."""
    gc.collect()
    tracemalloc.start()
    machine = Machine(kernel, size, flags)
    work(machine)
    gc.collect()
    found, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return found


def memory() -> list[str]:
    """Bytes per file, per touched page, per attribute range."""
    count = 5_000
    tib = 1024 * GIB

    def touch_small(machine: Machine) -> None:
        machine.faults([number * (machine.pages // count) for number in range(count)])

    def touch_huge(machine: Machine) -> None:
        machine.faults([number << 18 for number in range(machine.pages >> 18)])

    def touch_split(machine: Machine) -> None:
        async def body(t: Task) -> None:
            await machine.convert(t, 0, 1, False)
            for number in range(1, count + 1):
                await machine.fault(t, number * 50)

        machine.run(body)

    def ranges(machine: Machine) -> None:
        async def body(t: Task) -> None:
            for number in range(count):
                await machine.convert(t, number * 100, 50, False)

        machine.run(body)

    def nothing(machine: Machine) -> None:
        pass

    empty = held(tib, HUGE, Hugepage, nothing)
    gib = held(GIB, HUGE, Hugepage, nothing)
    return [
        "| memory | bytes |",
        "|---|--:|",
        f"| file of 1 GiB in 1 GiB folios, untouched | {gib:,} |",
        f"| file of 1 TiB in 1 GiB folios, untouched | {empty:,} |",
        f"| per touched 1 GiB folio | {(held(tib, HUGE, Hugepage, touch_huge) - empty) / 1024:,.0f} |",
        f"| per touched page of a split 1 GiB folio | {(held(GIB, HUGE, Hugepage, touch_split) - gib) / count:,.0f} |",
        "| per touched 4 KiB page "
        f"| {(held(64 * GIB, SMALL, Inplace, touch_small) - held(64 * GIB, SMALL, Inplace, nothing)) / count:,.0f} |",
        f"| per two attribute ranges (one conversion) | {(held(tib, SMALL, Inplace, ranges) - empty) / count:,.0f} |",
    ]


def main() -> list[str]:
    """All tables."""
    return [
        *table("1 GiB folios", Hugepage, [GIB, 16 * GIB, 256 * GIB, 1024 * GIB], HUGE),
        "",
        *table("4 KiB pages", Inplace, [GIB, 4 * GIB, 16 * GIB, 64 * GIB], SMALL),
        "",
        *memory(),
    ]


if __name__ == "__main__":
    print("\n".join(main()))
