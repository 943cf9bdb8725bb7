"""Exact ranges retry what the kernel would have to retry, and only that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmemsim.contention.machine import StormMachine
from gmemsim.contention.point import Point
from gmemsim.contention.questions.q15_exact_ranges import with_exact_ranges
from gmemsim.contention.questions.runner import DEFAULT

if TYPE_CHECKING:
    from gmemsim.engine.task import Task


def test_a_retry_is_for_the_gfn_alone() -> None:
    point = Point("v3", "sw-protected", "refault", pages=8)
    machine = StormMachine(point, DEFAULT.costs("sw-protected"), with_exact_ranges)
    kernel, vm = machine.kernel, machine.vm
    seen: dict[str, tuple[bool, bool]] = {}

    def retries(seq: int) -> tuple[bool, bool]:
        return tuple(kernel.mmu_invalidate_retry_gfn(vm, seq, gfn) for gfn in (5, 50))  # type: ignore[return-value]

    async def body(t: Task) -> None:
        before = vm.seq
        await kernel.kvm_mmu_invalidate_start(t, vm)
        await kernel.kvm_mmu_invalidate_range_add(t, vm, 0, 8)
        seen["while it runs"] = retries(vm.seq)
        await kernel.kvm_mmu_invalidate_end(t, vm)
        seen["snapshot before its end"] = retries(before)
        seen["snapshot after it"] = retries(vm.seq)

    machine.phase(("test", body))
    assert seen == {
        "while it runs": (True, False),
        "snapshot before its end": (True, False),
        "snapshot after it": (False, False),
    }
