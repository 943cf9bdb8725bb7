"""Splitting large leaves before a zap that would take neighbours along (guest-memfd.md 4.15, end; arch.md 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.op import Op
from .stage2 import level_pages

if TYPE_CHECKING:
    from ..engine.task import Task
    from .kernel import Kernel
    from .stage2 import Spte
    from .vm import Vm


def tdp_mmu_write_split(self: Kernel, t: Task, vm: Vm, low: int, leaf: Spte, root: dict[int, Spte]) -> None:
    """Store the table of 512 leaves that stands for `leaf`; one step with what comes before."""
    high = low + level_pages(leaf.level)
    vm.stage2.tables(leaf.private).add((leaf.level, low >> 9 * (leaf.level - 1)))
    for gfn in range(low, high, level_pages(leaf.level - 1)):
        root[gfn] = leaf._replace(pfn=leaf.pfn + gfn - low, level=leaf.level - 1)


async def split_for_accept(self: Kernel, t: Task, vm: Vm, gfn: int, level: int) -> None:
    """An accept at `level` met a larger leaf: it becomes a table, if pages are at hand; the guest tries again."""
    if not (vm.stage2.mirrored and vm.stage2.large):
        return
    await vm.mmu_lock.write_lock(t)
    root = vm.stage2.root(True)
    while (found := vm.stage2.covering(root, gfn)) is not None and found[1].level > level:
        low, leaf = found
        if t.traps:
            await t.point(Op("rmw", vm.spte_label, low, low + level_pages(leaf.level)))
        if await vm.arch.split_spte(t, vm, low, leaf.pfn, leaf.level):
            break
        self.tdp_mmu_write_split(t, vm, low, leaf, root)
    await vm.mmu_lock.write_unlock(t)


async def kvm_split_cross_boundary_leafs(self: Kernel, t: Task, vm: Vm, start: int, end: int) -> int:
    """Split private leaves of a mirror root that [start, end) cuts: 0 or a negative errno.

    mmu_lock is held for writing. Only head and tail are looked at, each level by level until no leaf reaches
    over it. Nothing to do where private and shared memory have one table: there a zap costs a fault, no content.
    """
    if not (vm.stage2.mirrored and vm.stage2.large):
        return 0
    root = vm.stage2.root(True)
    for gfn in (start, end):
        while (found := vm.stage2.covering(root, gfn)) is not None and found[0] < gfn:
            low, leaf = found
            if t.traps:
                await t.point(Op("rmw", vm.spte_label, low, low + level_pages(leaf.level)))
            ret = await vm.arch.split_spte(t, vm, low, leaf.pfn, leaf.level)
            if ret:
                return ret
            self.tdp_mmu_write_split(t, vm, low, leaf, root)
    return 0
