"""Faults a second of the full model: first touch of fresh pages by one vCPU, timed, without and with a record.

python bench/fault_rate.py
"""

from __future__ import annotations

from typing import Any

from harness import measure, rows

from gmemsim.actors.kernel import Kernel
from gmemsim.actors.vm import Vcpu, Vm, World
from gmemsim.arch.base import Arch
from gmemsim.arch.costs import CostTable
from gmemsim.arch.memory import PhysicalMemory
from gmemsim.audit.recorder import Recorder
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.task import Task
from gmemsim.patches.registry import PATCHES

PAGES = 3000
GFN = 0x10000


def machine(patch: str) -> tuple[Kernel, Vcpu]:
    """A VM with one slot over a file of `PAGES` pages."""
    memory = PhysicalMemory()
    world = World()
    vm = Vm("vm0", 0, Arch(memory))
    world.vms["vm0"] = vm
    kernel = PATCHES[patch](world, memory, costs=CostTable.default())
    vcpu = Vcpu(vm, 0, "vcpu0")
    vm.vcpus.append(vcpu)

    async def boot(t: Task) -> None:
        file = await kernel.kvm_gmem_create(t, vm, "gmem0", PAGES * 4096, frozenset({"MMAP", "INIT_SHARED"}))
        assert not isinstance(file, int)
        assert await kernel.kvm_set_memory_region(t, vm, 0, GFN, PAGES, file) == 0

    engine = Engine()
    engine.spawn("boot", boot)
    bare.run(engine)
    return kernel, vcpu


async def _touch(t: Task, kernel: Kernel, vcpu: Vcpu) -> None:
    for gfn in range(GFN, GFN + PAGES):
        result = await kernel.guest_access(t, vcpu, gfn, False, None)
        assert result.kind == "ok"


def first_touch(patch: str, rec: Any) -> int:
    """`PAGES` first-touch faults."""
    kernel, vcpu = machine(patch)
    engine = Engine(rec=rec)
    engine.spawn("vcpu0", _touch, kernel, vcpu)
    bare.run(engine)
    return PAGES


def main() -> list[str]:
    """The table."""
    cases = {}
    for patch in ("baseline", "v3"):
        cases[f"{patch}, no log"] = lambda patch=patch: first_touch(patch, None)
        cases[f"{patch}, in-memory record"] = lambda patch=patch: first_touch(patch, Recorder().rec)
    found = measure(cases, 5)
    goals = {name: "≥ 30,000/s" if "record" in name else "≥ 50,000/s" for name in cases}
    return rows("a first-touch fault of the full model", found, "baseline, no log", goals)


if __name__ == "__main__":
    print("\n".join(main()))
