"""Attributes of the VM where leaves can be large: huge pages of both kinds are mapped small (guest-memfd.md 4.13).

No version has both: those with huge folios keep private and shared in the file. `LargeVmAttributes` is for a kernel
that is built so, as `class Mine(LargeVmAttributes, Hugepage, InplaceOff)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.kernel import Kernel
from ..actors.stage2 import PG_LEVEL_1G, PG_LEVEL_2M, align, level_pages

if TYPE_CHECKING:
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..engine.task import Task


class LargeVmAttributes(Kernel):
    """What a change of attributes does to large leaves."""

    async def kvm_arch_pre_set_memory_attributes(
        self, t: Task, vm: Vm, slot: Memslot, start: int, end: int
    ) -> None:
        """Faults on the neighbours in huge pages that the range cuts must wait too: they would map the range along.

        Of 6.15 (guest-memfd.md 4.13 step 5 ii). Existing large leaves go with the exact range.
        """
        if not self.release.revoke_neighbours:
            return
        for level, low, high in cut_huge_pages(slot, start, end):
            if (level, low) not in slot.disallow_lpage:
                await self.kvm_mmu_invalidate_range_add(t, vm, low, high)

    def kvm_arch_post_set_memory_attributes(self, vm: Vm, slot: Memslot, start: int, end: int) -> None:
        """Which huge pages hold both kinds now; mmu_lock is held, so no fault sees it half done."""
        for level in (PG_LEVEL_2M, PG_LEVEL_1G):
            for low in range(align(start, level)[0], end, level_pages(level)):
                hugepage_set_mixed(vm, slot, level, low, start, end)

    def kvm_mmu_init_memslot_memory_attributes(self, vm: Vm, slot: Memslot) -> None:
        """Which huge pages of a new slot hold both kinds."""
        for level in (PG_LEVEL_2M, PG_LEVEL_1G):
            for low in range(align(slot.base_gfn, level)[0], slot.base_gfn + slot.pages, level_pages(level)):
                hugepage_set_mixed(vm, slot, level, low, low, low)


def cut_huge_pages(slot: Memslot, start: int, end: int) -> list[tuple[int, int, int]]:
    """(level, first gfn, end) of huge pages in the slot of which [start, end) covers a part only."""
    found = []
    for level in (PG_LEVEL_2M, PG_LEVEL_1G):
        ranges = {align(start, level), align(end - 1, level)}
        for low, high in sorted(ranges):
            cut = low < start or end < high
            if cut and slot.base_gfn <= low and high <= slot.base_gfn + slot.pages:
                found.append((level, low, high))
    return found


def hugepage_set_mixed(vm: Vm, slot: Memslot, level: int, low: int, start: int, end: int) -> None:
    """One huge page in the slot, of which [start, end) is of one kind."""
    high = low + level_pages(level)
    if low < slot.base_gfn or slot.base_gfn + slot.pages < high:
        return
    whole = start <= low and high <= end
    if not whole and vm.attributes.mixed(low, high):
        slot.disallow_lpage.add((level, low))
    else:
        slot.disallow_lpage.discard((level, low))
