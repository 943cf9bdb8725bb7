"""In-place conversion with one thing wrong, each with the workload that shows it and the rule that it breaks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
from tests.explore.workloads import Plan
from tests.model.inplace_rig import InplaceRig

from gmemsim.actors.attribute_map import AttributeMap
from gmemsim.actors.errno import EAGAIN, ENOMEM
from gmemsim.actors.gmem_convert import Converted
from gmemsim.actors.kernel import Kernel
from gmemsim.patches.inplace import Inplace
from gmemsim.patches.inplace_v8 import InplaceV8

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.actors.folio import Folio
    from gmemsim.actors.gmem_populate import Source
    from gmemsim.actors.inode import GmemFile, GmemInode
    from gmemsim.actors.memslot import Memslot
    from gmemsim.actors.vm import Vm
    from gmemsim.engine.task import Task

__all__ = ["INPLACE_MUTANTS", "InplaceMutant"]


@attrs.frozen
class InplaceMutant:
    """A broken kernel and what shows it.

    Attributes:
        rule: the only rule that fires.
        seeds: random schedules to try; 1: any schedule will do.
        beside: rules that the same state breaks by definition, so that they are not checked.
    """

    name: str
    rule: str
    machine: Callable[[], InplaceRig]
    plan: Plan
    seeds: int = 1
    beside: frozenset[str] = frozenset()


class KeepsReference(Inplace):
    """get_pfn hands the page out with its reference, as before."""

    kvm_gmem_get_locked_pfn = InplaceV8.kvm_gmem_get_locked_pfn
    kvm_release_faultin_pfn = Kernel.kvm_release_faultin_pfn


class _Unmerged(AttributeMap):
    def store(self, start: int, end: int, private: bool) -> None:
        """Every range on its own."""
        pieces = [*self.ranges(0, start), (start, end, private), *self.ranges(end, self.pages)]
        self.starts = [low for low, _, _ in pieces]
        self.values = [kind for _, _, kind in pieces]


class _Holed(AttributeMap):
    def store(self, start: int, end: int, private: bool) -> None:
        """What was in front of the range is lost."""
        super().store(start, end, private)
        if start:
            del self.starts[0], self.values[0]


class UnmergedMap(Inplace):
    """Neighbours of one kind stay apart."""

    map_type: type[AttributeMap] = _Unmerged

    async def kvm_gmem_init_inode(self, t: Task, inode: GmemInode) -> None:
        await super().kvm_gmem_init_inode(t, inode)
        inode.attributes = self.map_type(inode.pages, not inode.init_shared)


class HoledMap(UnmergedMap):
    """A store loses an entry."""

    map_type = _Holed


class ConvertsUnderShared(Inplace):
    """The lock is only shared during the conversion."""

    async def kvm_gmem_convert(
        self, t: Task, inode: GmemInode, start: int, end: int, private: bool, flags: int
    ) -> Converted:
        await inode.invalidate_lock.up_write(t)
        await inode.invalidate_lock.down_read(t)
        done = await super().kvm_gmem_convert(t, inode, start, end, private, flags)
        await inode.invalidate_lock.up_read(t)
        await inode.invalidate_lock.down_write(t)
        return done


class UnmapsOnePage(Inplace):
    """Of the range only the first page is taken from the host before references are counted."""

    async def unmap_mapping_pages(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
        await super().unmap_mapping_pages(t, inode, start, start + 1)


class HostMapsPrivate(Inplace):
    """A host fault does not look at the attribute."""

    async def kvm_gmem_user_fault_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | str:
        await inode.invalidate_lock.down_read(t)
        found = await self.kvm_gmem_get_folio(t, inode, index)
        await inode.invalidate_lock.up_read(t)
        return found if not isinstance(found, int) else "oom" if found == ENOMEM else "SIGBUS"


class ChecksAttributeUnlocked(Inplace):
    """A host fault looks at the attribute, and finds the page without the lock."""

    async def kvm_gmem_user_fault_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | str:
        if await self.kvm_gmem_is_private(t, inode, index):
            return "SIGBUS"
        found = await self.kvm_gmem_get_folio(t, inode, index)
        return found if not isinstance(found, int) else "oom" if found == ENOMEM else "SIGBUS"


class NoReferenceCheck(Inplace):
    """To-private takes pages that a device writes to."""

    async def kvm_gmem_outside_reference(
        self, t: Task, inode: GmemInode, start: int, end: int
    ) -> Folio | None:
        return None


class ChecksAfterZap(Inplace):
    """The reference check comes after the invalidation has begun."""

    async def kvm_gmem_convert(
        self, t: Task, inode: GmemInode, start: int, end: int, private: bool, flags: int
    ) -> Converted:
        if private:
            await self.unmap_mapping_pages(t, inode, start, end)
            await self.kvm_gmem_invalidate_start(t, inode, start, end, "shared")
            used = await self.kvm_gmem_outside_reference(t, inode, start, end)
            await self.kvm_gmem_invalidate_end(t, inode, start, end)
            if used is not None:
                return Converted(EAGAIN, used.index)
        return await super().kvm_gmem_convert(t, inode, start, end, private, flags)


class PunchResets(Inplace):
    """A hole becomes what the file was in the beginning."""

    async def truncate_inode_pages_range(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
        await super().truncate_inode_pages_range(t, inode, start, end)
        await self.kvm_gmem_store_attributes(t, inode, start, end, not inode.init_shared)


class StoresThenFails(Inplace):
    """-EAGAIN after the store."""

    async def kvm_gmem_convert(
        self, t: Task, inode: GmemInode, start: int, end: int, private: bool, flags: int
    ) -> Converted:
        await self.kvm_gmem_store_attributes(t, inode, start, end, private)
        return Converted(EAGAIN, start)


class BothModes(Inplace):
    """The VM's call still works."""

    kvm_vm_ioctl_set_mem_attributes = Kernel.kvm_vm_ioctl_set_mem_attributes


class ZapsTheNewKind(Inplace):
    """The filter is the kind that is entered, not the one that is left."""

    def convert_filter(self, inode: GmemInode, start: int, end: int, private: bool) -> str:
        return "private" if private else "shared"


class PreparesShared(Inplace):
    """make_private whatever the attribute says."""

    async def kvm_gmem_make_private(
        self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int, index: int
    ) -> int:
        return await self.kvm_arch_gmem_make_private(t, vm, gfn, folio.pfn, folio.pages)


class ForgetsMakeShared(Inplace):
    """To-shared leaves the pages with the guest."""

    async def kvm_gmem_make_shared(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
        """Nothing."""


class PopulatesUnderLock(Inplace):
    """User memory is read inside the exclusive section."""

    async def kvm_gmem_populate_pages(
        self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, pages: int, source: Source | None
    ) -> int:
        await file.inode.invalidate_lock.down_write(t)
        ret = 0
        for number in range(pages):
            found: Any = None if source is None else await self.get_user_pages_fast(t, source, number)
            ret = found if isinstance(found, int) else 0
            ret = ret or await self.kvm_gmem_populate_one(t, vm, slot, file, gfn + number, found)
            if ret:
                break
        await file.inode.invalidate_lock.up_write(t)
        return ret or pages


def _mutant(
    kernel: type[Inplace],
    rule: str,
    *threads: list[tuple[Any, ...]],
    kind: str = "private",
    shared: bool = False,
    seeds: int = 1,
    beside: frozenset[str] = frozenset(),
    finalized: bool = True,
) -> InplaceMutant:
    machine = partial(InplaceRig, kernel, kind, shared=shared, finalized=finalized)
    return InplaceMutant(f"{rule}-{kernel.__name__}", rule, machine, Plan(*threads), seeds, beside)


INPLACE_MUTANTS = [
    _mutant(KeepsReference, "I10", [("access", 0, 0, 0, True)]),
    _mutant(UnmergedMap, "I22", [("convert", 0, 0, 1, False), ("convert", 0, 1, 2, False)]),
    _mutant(HoledMap, "I22", [("convert", 0, 1, 2, False)]),
    _mutant(ConvertsUnderShared, "I23", [("convert", 0, 0, 1, False)]),
    _mutant(HostMapsPrivate, "I24", [("touch", 0, 0, True)]),
    _mutant(
        ChecksAttributeUnlocked,
        "I24",
        [("touch", 0, 0, True)],
        [("convert", 0, 0, 1, True)],
        shared=True,
        seeds=400,
        beside=frozenset({"I25"}),
    ),
    _mutant(NoReferenceCheck, "I25", [("pin", 0, 0), ("convert", 0, 0, 1, True)], shared=True),
    _mutant(UnmapsOnePage, "I51", [("touch", 0, 1, True), ("convert", 0, 0, 2, True)], shared=True),
    _mutant(ChecksAfterZap, "I26", [("pin", 0, 0), ("convert", 0, 0, 1, True)], shared=True),
    _mutant(
        PunchResets,
        "I27",
        [("convert", 0, 0, 1, False), ("access", 0, 0, 0, True), ("fallocate", 0, 0, 1, True)],
    ),
    _mutant(StoresThenFails, "I27", [("convert", 0, 0, 1, False)]),
    _mutant(BothModes, "I29", [("convert_vm", 0, 1, True)], shared=True),
    _mutant(ZapsTheNewKind, "I20", [("access", 0, 0, 0, True), ("convert", 0, 0, 1, False)], kind="tdx"),
    _mutant(
        ZapsTheNewKind,
        "I30",
        [("access", 0, 0, 0, True), ("convert", 0, 0, 1, False), ("access", 0, 0, 0, True)],
        kind="tdx",
        beside=frozenset({"I20", "I28", "I35"}),
    ),
    _mutant(PreparesShared, "I34", [("access", 0, 0, 0, True)], kind="assigned", shared=True),
    _mutant(
        ForgetsMakeShared, "I34", [("access", 0, 0, 0, True), ("convert", 0, 0, 1, False)], kind="assigned"
    ),
    _mutant(PopulatesUnderLock, "I37", [("populate", 0, 0, 1)], kind="assigned", finalized=False),
]
