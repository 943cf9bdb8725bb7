"""Leaves above 4 KiB in the fault path: which level, and how it meets what is there.

See guest-memfd.md 4.6 steps 11 and 12.

Nothing here runs, and no step is taken, in versions whose folios are single pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.observed_containers import keys_within
from ..engine.op import Op
from .errno import EBUSY
from .fault import RetPf
from .stage2 import FROZEN, PG_LEVEL_1G, PG_LEVEL_2M, PG_LEVEL_4K, Spte, align, level_pages

if TYPE_CHECKING:
    from ..engine.task import Task
    from .fault import Fault
    from .kernel import Kernel
    from .memslot import Memslot
    from .vm import Vm


def level_of_order(order: int) -> int:
    """`kvm_max_level_for_order`."""
    return PG_LEVEL_1G if order >= 18 else PG_LEVEL_2M if order >= 9 else PG_LEVEL_4K


# -- level ---------------------------------------------------------------------------------------


def lpage_allowed(self: Kernel, slot: Memslot, gfn: int, level: int) -> bool:
    """`lpage_info`: the range lies in the slot, is aligned in the file too, and is not mixed."""
    low, high = align(gfn, level)
    return (
        slot.base_gfn <= low
        and high <= slot.base_gfn + slot.pages
        and slot.congruent(level)
        and (level, low) not in slot.disallow_lpage
    )


def kvm_gmem_max_order(self: Kernel, vm: Vm, gfn: int, index: int, order: int) -> int:
    """Order of the folio as far as the slot lets a mapping use it: it must be whole in the binding, and aligned."""
    if vm.arch.host_stage2:
        # The hypervisor of the projection moves single pages only (arch.md 4.1).
        return 0
    slot = vm.slot_of(gfn)
    for level in (PG_LEVEL_1G, PG_LEVEL_2M):
        if order >= 9 * (level - 1) and slot is not None and self.lpage_allowed(slot, gfn, level):
            return 9 * (level - 1)
    return 0


async def kvm_mmu_hugepage_adjust(self: Kernel, t: Task, fault: Fault) -> int:
    """The goal level: the folio's, no more than slot, attributes and arch allow; mmu_lock is held."""
    vm, slot = fault.vcpu.vm, fault.slot
    level = level_of_order(fault.order)
    if slot is None or vm.arch.host_stage2:
        return PG_LEVEL_4K
    while level > PG_LEVEL_4K and not self.lpage_allowed(slot, fault.gfn, level):
        level -= 1
    if level > PG_LEVEL_4K:
        limit = await vm.arch.max_mapping_level(t, vm, fault.gfn, fault.pfn, fault.private, fault.prefetch)
        if limit:
            level = min(level, limit)
    return level


# -- walk ----------------------------------------------------------------------------------------


async def tdp_mmu_map_level(self: Kernel, t: Task, fault: Fault, level: int) -> int:
    """The walk of `kvm_tdp_mmu_map` from the root to the entry of that level, and the leaf there.

    On the way a missing table is linked, and a leaf in the way split. A mirror root never splits here: who
    finds a larger leaf takes it as it is (the vCPU comes back with the larger level anyway), and never
    merges: a table stays, and the leaf goes below it.
    """
    vm, gfn = fault.vcpu.vm, fault.gfn
    stage2 = vm.stage2
    root, tables = stage2.root(fault.private), stage2.tables(fault.private)
    mirror = stage2.mirrored and fault.private
    entry = 4
    if (level + 1, gfn >> 9 * level) in tables:
        # A table only stands in a table, so the lowest one speaks for all.
        entry = level
    while True:
        low, high = align(gfn, entry)
        key = (entry, gfn >> 9 * (entry - 1))
        if entry == level and not (mirror and key in tables):
            fault.goal_level = level
            return await self.tdp_mmu_map_handle_target_level(t, fault, level)
        if t.traps:
            await t.point(Op("load", vm.table_label, low, high, "r"))
        if entry == level:
            level -= 1
        leaf = root.get(low)
        if key in tables:
            entry -= 1
            continue
        if leaf is not None and leaf.level == entry:
            if leaf.pfn == FROZEN:
                return self.retry(t, fault, "frozen")
            if mirror:
                fault.goal_level = entry
                same = leaf.pfn + gfn - low == fault.pfn
                return RetPf.SPURIOUS if same else self.retry(t, fault, "spte")
            linked = await self.tdp_mmu_split_huge_page(t, vm, fault.private, low, leaf)
        else:
            linked = await self.tdp_mmu_link_sp(t, vm, fault.private, low, entry)
        if not linked:
            return self.retry(t, fault, "spte")
        entry -= 1


async def tdp_mmu_link_sp(self: Kernel, t: Task, vm: Vm, private: bool, low: int, level: int) -> bool:
    """An empty table in place of an empty entry; False if somebody else wrote the entry first."""
    await t.spend(self.costs.alloc_4k)
    if t.traps:
        await t.point(Op("rmw", vm.table_label, low, low + level_pages(level)))
    key = (level, low >> 9 * (level - 1))
    tables, leaf = vm.stage2.tables(private), vm.stage2.root(private).get(low)
    if key in tables or (leaf is not None and leaf.level == level):
        return False
    tables.add(key)
    return True


async def tdp_mmu_split_huge_page(self: Kernel, t: Task, vm: Vm, private: bool, low: int, leaf: Spte) -> bool:
    """512 leaves of the level below in a new table, in place of `leaf`; False if the entry changed meanwhile.

    No flush: a vCPU that still uses the large translation gets the same frames.
    """
    await t.spend(self.costs.alloc_4k)
    high = low + level_pages(leaf.level)
    if t.traps:
        await t.point(Op("rmw", vm.spte_label, low, high))
    root = vm.stage2.root(private)
    if root.get(low) is not leaf:
        return False
    self.tdp_mmu_write_split(t, vm, low, leaf, root)
    return True


# -- target --------------------------------------------------------------------------------------


async def tdp_mmu_map_handle_target_level(self: Kernel, t: Task, fault: Fault, level: int) -> int:
    """The leaf itself, in place of nothing, of another leaf, or of a whole table."""
    vm = fault.vcpu.vm
    root, tables = vm.stage2.root(fault.private), vm.stage2.tables(fault.private)
    low, high = align(fault.gfn, level)
    if t.traps:
        await t.point(Op("load", vm.spte_label, low, high, "r"))
    found = root.get(low)
    key = (level, low >> 9 * (level - 1))
    table = key in tables
    old = found if found is not None and found.level == level and not table else None
    new = Spte(fault.pfn - (fault.gfn - low), level, fault.private, fault.folio)
    if old is not None and old.pfn == FROZEN:
        return self.retry(t, fault, "frozen")
    if old is not None:
        # With another frame too, which is a WARN in the kernel.
        return RetPf.SPURIOUS
    await t.spend(self.costs.spte_install)
    if t.traps:
        await t.point(Op("rmw", vm.spte_label, low, high))
    elif t.engine.cpus is not None:
        await self.move_spte_line(t, vm, low, level)
    if (level + 1, fault.gfn >> 9 * level) not in tables or (key in tables) != table:
        # The table that holds the entry was taken out (its entries are frozen then), or the entry got a table.
        return self.retry(t, fault, "spte")
    if not table and self.entry_of(root, low, level) is not old:
        return self.retry(t, fault, "spte")
    if level > PG_LEVEL_4K and not vm.stage2.large:
        vm.stage2.large = True
    if vm.stage2.mirrored and fault.private:
        return await self.publish_through_arch(t, fault, root, old, new)
    if table:
        # `handle_removed_pt`: the table goes with everything below it.
        self.remove_below(root, tables, low, level)
    root[low] = new
    if table:
        await self.kvm_flush_remote_tlbs(t, vm)
    return RetPf.FIXED


def entry_of(root: dict[int, Spte], low: int, level: int) -> Spte | None:
    """The leaf of that level that stands at `low`."""
    leaf = root.get(low)
    return leaf if leaf is not None and leaf.level == level else None


def remove_below(root: dict[int, Spte], tables: set[tuple[int, int]], low: int, level: int) -> None:
    """Take the table that the entry of that level points to out, with its leaves and tables."""
    high = low + level_pages(level)
    for gfn in keys_within(root, low, high):
        del root[gfn]
    for below in range(level, PG_LEVEL_4K, -1):
        shift = 9 * (below - 1)
        tables.difference_update([key for key in tables if key[0] == below and low <= key[1] << shift < high])


async def publish_through_arch(
    self: Kernel, t: Task, fault: Fault, root: dict[int, Spte], old: Spte | None, new: Spte
) -> int:
    """A mirror root: the entry is frozen until the arch has done its part."""
    vm = fault.vcpu.vm
    low = align(fault.gfn, new.level)[0]
    root[low] = Spte(FROZEN, new.level, True, None)
    # The level goes along only where there is one: an arch of single pages need not know the parameter.
    level = (new.level,) if new.level > PG_LEVEL_4K else ()
    ret = await vm.arch.set_spte(t, vm, low, new.pfn, True, *level)
    if ret == 0:
        root[low] = new
        return RetPf.FIXED
    if old is None:
        del root[low]
    else:
        root[low] = old
    return self.retry(t, fault, "busy") if ret == EBUSY else ret
