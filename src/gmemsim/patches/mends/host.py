# mypy: disable-error-code="misc,valid-type,no-any-return"
"""Mends of what a memory error does to host mappings: a fault that evicts the page, and entries that stay poisoned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...audit.kvm_events import UnmapHost
from ...engine.observed_containers import keys_within
from ...engine.op import Op
from .entry import Mend

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemFile, GmemInode
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...engine.task import Task

_EVICTED: Final = ("host-fault-on-poisoned-page",)
_ANY_EVICTED: Final = (*_EVICTED, "soft-offline-evicts-guest-page")
_ENTRIES: Final = ("poisoned-mapping-survives-punch",)


def fault_dirties(parent: type[Kernel]) -> type[Kernel]:
    """The look-up of get_pfn marks the folio dirty while it has it locked, as KVM's fault path did to 7.3."""

    class FaultDirties(parent):
        async def kvm_gmem_get_checked_folio(
            self, t: Task, file: GmemFile, slot: Memslot, index: int
        ) -> Folio | int:
            folio: Folio | int = await super().kvm_gmem_get_checked_folio(t, file, slot, index)
            if not isinstance(folio, int):
                self.folio_mark_dirty(t, folio)
            return folio

    return FaultDirties


def look_up_dirties(parent: type[Kernel]) -> type[Kernel]:
    """kvm_gmem_get_folio marks the folio dirty while it has it locked, whoever asks for it."""

    class LookUpDirties(parent):
        async def kvm_gmem_get_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | int:
            folio: Folio | int = await super().kvm_gmem_get_folio(t, inode, index)
            if not isinstance(folio, int):
                self.folio_mark_dirty(t, folio)
            return folio

    return LookUpDirties


def eviction_refuses(parent: type[Kernel]) -> type[Kernel]:
    """mapping_evict_folio refuses mappings that are inaccessible (AS_INACCESSIBLE), which never changes."""

    class EvictionRefuses(parent):
        async def mapping_evict_folio(self, t: Task, inode: GmemInode, folio: Folio) -> bool:
            return False

    return EvictionRefuses


def error_references_first(parent: type[Kernel]) -> type[Kernel]:
    """memory_failure takes its reference before it sets the poison bit."""

    class ErrorReferencesFirst(parent):
        async def memory_failure(self, t: Task, inode: GmemInode, index: int) -> int:
            if t.traps:
                await t.point(Op("rmw", inode.ref_label, index, index + 1))
            folio = inode.folios.get(index)
            if folio is None or folio.ref == 0:
                return await super().memory_failure(t, inode, index)
            folio.ref += 1
            ret: int = await super().memory_failure(t, inode, index)
            # The one that stays was taken where it always was.
            await self.folio_put(t, inode, folio)
            return ret

    return ErrorReferencesFirst


def host_fault_refuses(parent: type[Kernel]) -> type[Kernel]:
    """guest_memfd's handler of host faults answers for a poisoned folio itself, so that the core evicts nothing."""

    class HostFaultRefuses(parent):
        async def kvm_gmem_user_fault_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | str:
            folio: Folio | str = await super().kvm_gmem_user_fault_folio(t, inode, index)
            if isinstance(folio, str):
                return folio
            if not folio.poisoned:
                if t.traps:
                    # The core's own look is a step of its own now, later than this one.
                    await t.point(Op("load", folio.poison_label, index, index + 1, "r"))
                return folio
            await self.folio_unlock(t, folio)
            await self.folio_put(t, inode, folio)
            # VM_FAULT_HWPOISON
            return "hwpoison"

    return HostFaultRefuses


def _hole_unmaps(parent: type[Kernel], *, even_cows: bool) -> type[Kernel]:
    """PUNCH_HOLE calls `unmap_mapping_pages` of its range before it truncates, under the invalidate lock."""

    class HoleUnmaps(parent):
        def holes(self) -> set[Task]:
            """Tasks in PUNCH_HOLE: truncation at the last close has no mapping left to unmap."""
            found: set[Task] = self.__dict__.setdefault("_holes_that_unmap", set())
            return found

        async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
            self.holes().add(t)
            ret: int = await super().kvm_gmem_punch_hole(t, inode, start, end)
            self.holes().discard(t)
            return ret

        async def truncate_inode_pages_range(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
            if t in self.holes():
                await self._unmap_range(t, inode, start, end)
            await super().truncate_inode_pages_range(t, inode, start, end)

        async def _unmap_range(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
            await inode.i_mmap_rwsem.down_read(t)
            if t.rec is not None:
                t.rec(t, UnmapHost(start, end))
            for mapping in list(inode.mappings):
                low, high = max(start, mapping.start), min(end, mapping.start + mapping.pages)
                if low >= high:
                    continue
                told = await self.mmu_notifier_invalidate_start(t, mapping, low, high)
                if t.traps:
                    await t.point(Op("rmw", mapping.label, low, high))
                for index in keys_within(mapping.mapped, low, high):
                    folio = mapping.mapped.pop(index)
                    folio.mapcount -= 1
                    await self.folio_put(t, inode, folio)
                if even_cows:
                    # zap_nonpresent_ptes takes a poison entry away only where private copies go as well.
                    mapping.hwpoison -= set(range(low, high))
                await self.mmu_notifier_invalidate_end(t, mapping, low, high, told)
            await inode.i_mmap_rwsem.up_read(t)

    return HoleUnmaps


def hole_unmaps_poison(parent: type[Kernel]) -> type[Kernel]:
    """With `even_cows`: poison entries of the range go too."""
    return _hole_unmaps(parent, even_cows=True)


def hole_unmaps(parent: type[Kernel]) -> type[Kernel]:
    """Without `even_cows`, as a conversion calls it: present entries only."""
    return _hole_unmaps(parent, even_cows=False)


def truncation_unmaps_poison(parent: type[Kernel]) -> type[Kernel]:
    """Truncation takes poison entries of a folio away if that folio is the poisoned one."""

    class TruncationUnmapsPoison(parent):
        async def truncate_inode_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
            await self._unmap_entries(t, inode, folio)
            await super().truncate_inode_folio(t, inode, folio)

        async def delete_from_page_cache_batch(self, t: Task, inode: GmemInode, batch: list[Folio]) -> None:
            for folio in batch:
                await self._unmap_entries(t, inode, folio)
            await super().delete_from_page_cache_batch(t, inode, batch)

        async def _unmap_entries(self, t: Task, inode: GmemInode, folio: Folio) -> None:
            if not folio.poisoned:
                return
            await inode.i_mmap_rwsem.down_read(t)
            for mapping in list(inode.mappings):
                if mapping.covers(folio.index):
                    if t.traps:
                        await t.point(Op("rmw", mapping.label, folio.index, folio.index + 1))
                    mapping.hwpoison.discard(folio.index)
            await inode.i_mmap_rwsem.up_read(t)

    return TruncationUnmapsPoison


MENDS: Final = (
    Mend(
        ident="fault-dirties",
        title="get_pfn marks the folio dirty while it has it locked, and eviction refuses dirty folios",
        says="what protected the page to 7.3, where the fault's end marked it. One flag a fault; populate marks too",
        findings=_ANY_EVICTED,
        make=fault_dirties,
        blind="writeback and the accounting of dirty pages, which guest_memfd has none of (`noop_dirty_folio`)",
    ),
    Mend(
        ident="look-up-dirties",
        title="kvm_gmem_get_folio marks the folio dirty while it has it locked, and eviction refuses dirty folios",
        says="every page of a file is dirty from its first moment, as those of shmem are once they have data; "
        "fallocate marks too",
        findings=_ANY_EVICTED,
        make=look_up_dirties,
        blind="writeback and the accounting of dirty pages, which guest_memfd has none of (`noop_dirty_folio`)",
    ),
    Mend(
        ident="eviction-refuses",
        title="mapping_evict_folio refuses a mapping that is inaccessible (AS_INACCESSIBLE)",
        says="in mm/truncate.c, one look at a flag of the mapping, which guest_memfd sets when it makes a file. "
        "Whoever meets a poisoned page then has the error, and no page is taken out of use before it fails",
        findings=_ANY_EVICTED,
        make=eviction_refuses,
        blind="other files with that flag",
    ),
    Mend(
        ident="error-references-first",
        title="memory_failure takes its reference before it sets the poison bit",
        says="so that whoever sees the bit sees the reference, and does not evict. A change of mm/memory-failure.c for "
        "every kind of page",
        findings=_EVICTED,
        make=error_references_first,
        blind="pages that are free, in slabs, or huge, for which the order of bit and reference matters as well",
    ),
    Mend(
        ident="host-fault-refuses",
        title="guest_memfd's host fault handler answers VM_FAULT_HWPOISON for a poisoned folio itself",
        says="the core is given no poisoned folio, so that it evicts none",
        findings=_EVICTED,
        make=host_fault_refuses,
        wrong="the poison bit is set without the folio lock: between the handler's look and the core's own the page "
        "can still become poisoned, and be evicted",
    ),
    Mend(
        ident="hole-unmaps-poison",
        title="PUNCH_HOLE unmaps its range from host mappings with even_cows, which takes poison entries away",
        says="a process that did not punch the hole itself is no longer told that its data is lost (rule I50): the "
        "entry was the only thing that said so",
        findings=_ENTRIES,
        make=hole_unmaps_poison,
        blind="processes that count on the entry, which are told nothing of the loss any more",
        meets=("punch",),
        arches=("default",),
    ),
    Mend(
        ident="truncation-unmaps-poison",
        title="truncation takes the poison entries of a poisoned folio away",
        says="in mm/truncate.c, for every file system. As hole-unmaps-poison, a process may not be told (rule I50)",
        findings=_ENTRIES,
        make=truncation_unmaps_poison,
        blind="other file systems, which it changes too",
        meets=("punch",),
        arches=("default",),
    ),
    Mend(
        ident="hole-unmaps",
        title="PUNCH_HOLE unmaps its range from host mappings as a conversion does, without even_cows",
        says="the call that comes to mind first",
        findings=_ENTRIES,
        make=hole_unmaps,
        wrong="without even_cows the zap leaves poison entries where they are",
        meets=("punch",),
        arches=("default",),
    ),
)
