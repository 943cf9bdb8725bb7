"""Attributes of the VM beside large leaves: huge pages that hold both kinds are mapped small (guest-memfd.md 4.13)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.explore.workloads import BASE as SMALL_BASE
from tests.explore.workloads import Machine
from tests.model.large_rig import BASE, HUGE, PAGE, LargeRig

from gmemsim.actors.release import RELEASES
from gmemsim.actors.stage2 import PG_LEVEL_2M, align
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.patches.hugepage import Hugepage
from gmemsim.patches.inplace import InplaceOff
from gmemsim.patches.v3 import V3

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.task import Task

PAGES = 3 * HUGE


class VmKinds(Hugepage, InplaceOff):
    """Huge folios, with private and shared an attribute of the VM: a file's folios stay whole."""

    in_place = False

    def all_private(self, inode: Any, base: int, pages: int) -> bool:
        return True


class NotRevoked(VmKinds):
    """Only the exact range is kept from faults."""

    async def kvm_mmu_invalidate_range_add(self, t: Any, vm: Any, start: int, end: int) -> None:
        if end - start != HUGE:
            await super().kvm_mmu_invalidate_range_add(t, vm, start, end)


def rig(kernel: type[VmKinds] = VmKinds, private: range = range(PAGES)) -> LargeRig:
    return LargeRig(kernel, pages=PAGES, private=private)


def change(machine: LargeRig, start: int, end: int, private: bool) -> Callable[[Task], Any]:
    return lambda t: machine.kernel.kvm_vm_ioctl_set_mem_attributes(
        t, machine.vm, (BASE + start) * PAGE, (end - start) * PAGE, private
    )


def mixed(machine: LargeRig) -> set[int]:
    return {low - BASE for level, low in machine.vm.slots[0].disallow_lpage if level == 2}


def test_head_and_tail_become_mixed_and_whole_again() -> None:
    machine = rig()
    assert machine.call(change(machine, HUGE - 1, 2 * HUGE + 1, False)) == 0
    assert mixed(machine) == {0, 2 * HUGE}
    for page in (5, 2 * HUGE + 5):
        machine.call(machine.touch(page))
    assert machine.leaves() == [(5, 1), (2 * HUGE + 5, 1)]
    assert machine.call(change(machine, HUGE - 1, HUGE, True)) == 0
    assert mixed(machine) == {2 * HUGE}
    machine.call(machine.touch(6))
    assert (0, 2) in machine.leaves()


def test_a_whole_huge_page_of_another_kind_is_not_mixed() -> None:
    machine = rig()
    assert machine.call(change(machine, 3, 4, False)) == 0
    assert machine.call(change(machine, 0, HUGE, False)) == 0
    assert mixed(machine) == set()


def test_a_slot_over_attributes_that_are_there() -> None:
    assert mixed(rig(private=range(5, HUGE))) == {0}
    assert mixed(rig(private=range(HUGE))) == set()


def covered(kernel: type[VmKinds]) -> bool:
    """Whether in some schedule a large leaf covers the page that another task makes shared."""
    for seed in range(300):
        machine = rig(kernel)
        machine.call(partial(machine.kernel.kvm_gmem_allocate, inode=machine.inode, start=0, end=HUGE))
        machine.run(machine.touch(9), change(machine, 5, 6, False), strategy=RandomStrategy(seed))
        if (0, 2) in machine.leaves():
            return True
    return False


def test_why_neighbours_are_revoked() -> None:
    """Without it a fault on a neighbour maps the page along with its own while the attribute changes."""
    assert covered(NotRevoked)
    assert not covered(VmKinds)


@pytest.mark.parametrize("release", ["6.12", "7.2", "7.3"])
def test_neighbours_of_small_folios_wait_too(release: str) -> None:
    """`kvm_arch_pre_set_memory_attributes` goes by slot and attributes; 6.12.117 has it as well."""
    machine = Machine(V3, "private", pages=3 * HUGE, release=RELEASES[release])
    vm = machine.vm
    base = align(SMALL_BASE, PG_LEVEL_2M)[1]

    def refused(start: int, end: int) -> tuple[int, int]:
        machine.do(
            lambda t: machine.kernel.kvm_vm_ioctl_set_mem_attributes(
                t, vm, (base + start) * PAGE, (end - start) * PAGE, False
            )
        )
        return vm.range_start - base, vm.range_end - base

    assert refused(5, 6) == (0, HUGE)
    assert refused(7, 8) == (7, 8), "the huge page holds both kinds by now"
    assert refused(HUGE, 2 * HUGE) == (HUGE, 2 * HUGE), "nothing is cut"
