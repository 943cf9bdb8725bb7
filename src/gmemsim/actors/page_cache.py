"""The page cache of a guest_memfd inode: find, create, insert and drop folios (mm/filemap.c; guest-memfd.md 1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.kvm_events import (
    FilemapAdd,
    FilemapAddRet,
    FilemapGet,
    FilemapGetRet,
    FreePage,
    PageCacheAdd,
    PoisonEntry,
    UnmapHost,
)
from ..engine.errors import ModelError
from ..engine.op import Op
from .errno import EEXIST, ENOENT, ENOMEM
from .folio import Folio
from .mm_locks import allocated, inserted

if TYPE_CHECKING:
    from ..engine.task import Task
    from .inode import GmemInode
    from .kernel import Kernel


async def filemap_get_folio(self: Kernel, t: Task, inode: GmemInode, index: int, create: bool) -> Folio | int:
    """`__filemap_get_folio`: the folio of `index`, locked and referenced, or -ENOENT, -ENOMEM.

    With `create`, a missing folio is allocated and inserted. It holds stale data and is not uptodate.
    """
    rec = t.rec
    if rec is not None:
        rec(t, FilemapGet(index, create))
    folios = inode.folios
    costs = self.costs
    found: Folio | int = ENOENT
    while True:
        if t.traps:
            await t.point(Op("load", inode.label, index, index + 1, "r"))
        await t.spend(costs.xarray_lookup)
        self.use_inode(t, inode)
        folio = folios.get(index)
        if folio is None:
            if not create:
                break
            found = await self.filemap_create_folio(t, inode, index)
            if found == EEXIST:
                continue
            break
        # filemap_get_entry takes the reference and rechecks the slot: one step here.
        if t.engine.cpus is not None:
            await self.move_folio_line(t, folio)
        folio.ref += 1
        await folio.lock.lock(t)
        if folio.mapping is inode:
            found = folio
            break
        # Truncated while we waited for the lock.
        await self.folio_unlock(t, folio)
        await self.folio_put(t, inode, folio)
    if rec is not None:
        rec(t, FilemapGetRet(found if isinstance(found, int) else found.pfn))
    return found


async def filemap_create_folio(self: Kernel, t: Task, inode: GmemInode, index: int) -> Folio | int:
    """What `__filemap_get_folio` does with FGP_CREAT: a new folio, or -EEXIST, -ENOMEM; it ends in `folio_add_lru`.

    Reclaim drains every batch of folios on their way to an LRU list before memory runs out.
    """
    if self.memory.in_use >= self.memory.limit:
        await self.lru_add_drain_all(t)
    folio = await self.filemap_insert_folio(t, inode, index)
    if not isinstance(folio, int):
        await self.folio_add_lru(t, inode, folio)
        self.note_node(inode, folio)
    return folio


async def filemap_insert_folio(self: Kernel, t: Task, inode: GmemInode, index: int) -> Folio | int:
    """Allocate a folio and insert it: locked, two references (cache and caller), or -EEXIST, -ENOMEM."""
    t.might_sleep("filemap_alloc_folio")
    if t.fault("alloc_folio"):
        return ENOMEM
    pfn = self.memory.allocate()
    if pfn is None:
        return ENOMEM
    await t.spend(self.costs.alloc_4k)
    folio = Folio(inode, index, pfn)
    folio.lock.take_new(t)
    rec = t.rec
    if rec is not None:
        rec(t, FilemapAdd(index, pfn))
    if t.engine.cpus is not None:
        await allocated(t)
        await inserted(t, inode)
    if t.traps:
        await t.point(Op("rmw", inode.label, index, index + 1))
    if index in inode.folios:
        if rec is not None:
            rec(t, FilemapAddRet(EEXIST))
        folio.lock.release(t)
        folio.mapping = None
        self.free_page(t, folio)
        return EEXIST
    inode.folios[index] = folio
    folio.ref = 2
    if rec is not None:
        rec(t, PageCacheAdd(index, pfn, 0))
        rec(t, FilemapAddRet(0))
    return folio


async def folio_unlock(self: Kernel, t: Task, folio: Folio) -> None:
    """`folio_unlock`."""
    await folio.lock.unlock(t)


async def folio_put(self: Kernel, t: Task, inode: GmemInode, folio: Folio, count: int = 1) -> None:
    """`folio_put_refs`: drop references; the last one frees the frame.

    Raises:
        ModelError: more references dropped than there are.
    """
    if t.traps:
        await t.point(Op("rmw", inode.ref_label, folio.index, folio.index + 1))
    elif t.engine.cpus is not None:
        await self.move_folio_line(t, folio)
    self.folio_drop(t, folio, count)


async def move_folio_line(self: Kernel, t: Task, folio: Folio) -> None:
    """The line of the folio's reference count, and of its lock (timed runs)."""
    cpus = t.engine.cpus
    assert cpus is not None
    await folio.lock.move_line(t, cpus.costs.atomic)


def folio_drop(self: Kernel, t: Task, folio: Folio, count: int = 1) -> None:
    """What `folio_put` does within one step.

    Raises:
        ModelError: more references dropped than there are.
    """
    folio.ref -= count
    if folio.ref <= 0:
        if folio.ref < 0:
            raise ModelError(f"{t.name} drops a reference of {folio!r} that nobody holds")
        self.free_page(t, folio)


def free_page(self: Kernel, t: Task, folio: Folio) -> None:
    """Give the frame back to the allocator, which withholds it for good if it is poisoned."""
    for vm in self.world.vms.values():
        flag = vm.arch.page_freed(t, folio.pfn)
        if flag is not None:
            vm.arch.flag(t, flag, folio.pfn)
            break
    if folio.poisoned:
        self.memory.leak(folio.pfn)
    if t.rec is not None:
        t.rec(t, FreePage(folio.pfn))
    self.memory.free(folio.pfn)


def folio_mark_dirty(self: Kernel, t: Task, folio: Folio) -> None:
    """`folio_mark_dirty`: from now on `mapping_evict_folio` refuses the folio."""
    folio.dirty = True


async def unmap_mapping_folio(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> None:
    """`unmap_mapping_folio`: remove the host page-table entries of a locked folio (i_mmap_rwsem shared)."""
    await inode.i_mmap_rwsem.down_read(t)
    await self._unmap(t, inode, folio, poison=False)
    await inode.i_mmap_rwsem.up_read(t)


async def unmap_poisoned_folio(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> None:
    """`unmap_poisoned_folio`: the same, with a poison entry left in place of each (`TTU_HWPOISON`)."""
    await inode.i_mmap_rwsem.down_read(t)
    await self._unmap(t, inode, folio, poison=True)
    await inode.i_mmap_rwsem.up_read(t)


async def _unmap(self: Kernel, t: Task, inode: GmemInode, folio: Folio, *, poison: bool) -> None:
    index = folio.index
    if t.rec is not None:
        t.rec(t, UnmapHost(index, index + 1))
    for mapping in list(inode.mappings):
        if not mapping.covers(index):
            continue
        told = await self.mmu_notifier_invalidate_start(t, mapping, index, index + 1)
        if t.traps:
            await t.point(Op("rmw", mapping.label, index, index + 1))
        mapped = mapping.mapped.get(index)
        if mapped is folio:
            del mapping.mapped[index]
            if poison:
                mapping.hwpoison.add(index)
                if t.rec is not None:
                    t.rec(t, PoisonEntry(mapping.label, index))
            folio.mapcount -= 1
            await self.folio_put(t, inode, folio)
        await self.mmu_notifier_invalidate_end(t, mapping, index, index + 1, told)


async def folio_mapped(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> bool:
    """`folio_mapped`: whether a host page table maps it."""
    if t.traps:
        await t.point(Op("load", inode.mapcount_label, folio.index, folio.index + 1, "r"))
    return folio.mapcount > 0
