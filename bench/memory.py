"""Memory per touched and per untouched page of a 1 TiB file.

python bench/memory.py
"""

from __future__ import annotations

import gc
import tracemalloc

from gmemsim.actors.vm import Vcpu, Vm, World
from gmemsim.arch.base import Arch
from gmemsim.arch.memory import PhysicalMemory
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.task import Task
from gmemsim.patches.v3 import V3

TIB = 1 << 40
TOUCHED = 20_000


def footprint(size: int, touched: int) -> int:
    """Bytes held by a world with one file of `size` bytes of which `touched` pages, far apart, were faulted in."""
    gc.collect()
    tracemalloc.start()
    memory = PhysicalMemory()
    world = World()
    vm = Vm("vm0", 0, Arch(memory))
    world.vms["vm0"] = vm
    kernel = V3(world, memory)
    vcpu = Vcpu(vm, 0, "vcpu0")
    vm.vcpus.append(vcpu)
    pages = size // 4096

    async def body(t: Task) -> None:
        file = await kernel.kvm_gmem_create(t, vm, "gmem0", size, frozenset({"MMAP", "INIT_SHARED"}))
        assert not isinstance(file, int)
        assert await kernel.kvm_set_memory_region(t, vm, 0, 0x10000, pages, file) == 0
        for number in range(touched):
            gfn = 0x10000 + number * (pages // max(touched, 1))
            assert (await kernel.guest_access(t, vcpu, gfn, False, None)).kind == "ok"

    engine = Engine()
    engine.spawn("vcpu0", body)
    bare.run(engine)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held


def main() -> list[str]:
    """The table."""
    small, large = footprint(1 << 30, 0), footprint(TIB, 0)
    full = footprint(TIB, TOUCHED)
    untouched = (large - small) / ((TIB - (1 << 30)) // 4096)
    return [
        "| a file of 4 KiB pages | bytes |",
        "|---|--:|",
        f"| world with 1 GiB, untouched | {small:,} |",
        f"| world with 1 TiB, untouched | {large:,} |",
        f"| per untouched page | {abs(untouched):,.3f} |",
        f"| per touched page ({TOUCHED:,} pages, folio, SPTE, TLB entry, content, tables) "
        f"| {(full - large) / TOUCHED:,.0f} |",
    ]


if __name__ == "__main__":
    print("\n".join(main()))
