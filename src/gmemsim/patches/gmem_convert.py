"""Conversion in place: KVM_SET_MEMORY_ATTRIBUTES2 on the file (guest-memfd.md 4.14).

`kvm_gmem_set_attributes` is the call; the steps below it stand in the order in which it takes them, each a function of
its own, since patch versions differ in single ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ..actors.errno import EAGAIN, EBADF, EINVAL, ENOMEM
from ..actors.gmem_convert import Converted
from ..audit.inplace_events import (
    GmemSetAttributes,
    GmemSetAttributesRet,
    MakeShared,
    MakeSharedRet,
    RefCheck,
)
from ..audit.kvm_events import UnmapHost
from ..engine.observed_containers import keys_within
from ..engine.op import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..actors.folio import Folio
    from ..actors.inode import GmemFile, GmemInode, HostMapping
    from ..engine.task import Task
    from .inplace_v8 import InplaceV8

#: Drains of LRU batches that the reference check has not done yet.
Drains: TypeAlias = "list[Callable[[Task], Coroutine[Any, Any, None]]]"


async def kvm_gmem_set_attributes(
    self: InplaceV8, t: Task, file: GmemFile, offset: int, size: int, private: bool, flags: int = 0
) -> Converted:
    """Make bytes [offset, offset + size) of the file private or shared, where they are.

    Returns 0, -EBADF, -ENOTTY (mode off), -EINVAL (arguments), -ENOMEM or -EAGAIN (somebody uses a page) with
    the index of the first page that was not converted; nothing is converted then. Contents are not touched.
    """
    if not self.fdget(t, file):
        return Converted(EBADF)
    inode = file.inode
    rec = t.rec
    ident = self.request(t, inode.label, "convert", "private" if private else "shared") if rec else 0
    if rec is not None:
        rec(t, GmemSetAttributes(file.label, offset // 4096, (offset + size) // 4096, private))
    await t.spend(self.costs.syscall)
    done = self.kvm_gmem_check_attributes(file, offset, size, private, flags)
    if done.ret == 0:
        start, end = offset // 4096, (offset + size) // 4096
        await inode.invalidate_lock.down_write(t)
        done = await self.kvm_gmem_convert(t, inode, start, end, private, flags)
        await inode.invalidate_lock.up_write(t)
    if rec is not None:
        rec(t, GmemSetAttributesRet(done.ret, done.error_index))
        self.answer(t, ident, "convert", str(done.ret))
    await self.fput(t, file)
    return done


def kvm_gmem_check_attributes(
    self: InplaceV8, file: GmemFile, offset: int, size: int, private: bool, flags: int
) -> Converted:
    """What is wrong before any lock is taken."""
    bad = flags & ~self.content_flags() or offset < 0 or size <= 0 or offset % 4096 or size % 4096
    if bad or not file.vm.arch.has_private_memory or offset + size > file.inode.pages * 4096:
        return Converted(EINVAL)
    return Converted(0)


def content_flags(self: InplaceV8) -> int:
    """Bits of `flags` that mean something: none; KVM gives no guarantee about contents."""
    return 0


async def kvm_gmem_convert(
    self: InplaceV8, t: Task, inode: GmemInode, start: int, end: int, private: bool, flags: int
) -> Converted:
    """All of it, under the exclusive lock. From the start of the invalidation on nothing can fail."""
    if t.traps:
        await t.point(Op("load", self.gmem_attr_label(inode), start, end, "r"))
    assert inode.attributes is not None
    if inode.attributes.uniform(start, end, private):
        await self.kvm_gmem_apply_content_mode(t, inode, start, end, flags)
        return Converted(0)
    if t.fault("alloc_attributes"):
        return Converted(ENOMEM, start)
    if private:
        await self.unmap_mapping_pages(t, inode, start, end)
        offender = await self.kvm_gmem_outside_reference(t, inode, start, end)
        if offender is not None:
            return Converted(EAGAIN, max(start, offender.index))
    await self.kvm_gmem_invalidate_start(
        t, inode, start, end, self.convert_filter(inode, start, end, private)
    )
    if not private:
        await self.kvm_gmem_make_shared(t, inode, start, end)
    await self.kvm_gmem_apply_content_mode(t, inode, start, end, flags)
    await self.kvm_gmem_store_attributes(t, inode, start, end, private)
    await self.kvm_gmem_invalidate_end(t, inode, start, end)
    return Converted(0)


async def kvm_gmem_apply_content_mode(
    self: InplaceV8, t: Task, inode: GmemInode, start: int, end: int, flags: int
) -> None:
    """Contents stay as hardware leaves them."""


# -- host mappings and references ------------------------------------------------------------


async def unmap_mapping_pages(self: InplaceV8, t: Task, inode: GmemInode, start: int, end: int) -> None:
    """`unmap_mapping_pages`: every process loses its entries of the range; they may fault in again."""
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
        for index in self.mapped_in(mapping, low, high):
            folio = mapping.mapped.pop(index)
            folio.mapcount -= 1
            await self.folio_put(t, inode, folio)
        await self.mmu_notifier_invalidate_end(t, mapping, low, high, told)
    await inode.i_mmap_rwsem.up_read(t)


def mapped_in(self: InplaceV8, mapping: HostMapping, start: int, end: int) -> list[int]:
    """Present host entries of [start, end), in order, at a cost bounded by the smaller of range and table."""
    return keys_within(mapping.mapped, start, end)


async def kvm_gmem_outside_reference(
    self: InplaceV8, t: Task, inode: GmemInode, start: int, end: int
) -> Folio | None:
    """The first present folio that somebody else uses, or None. References only, no folio lock.

    Batches on the way to an LRU list are drained when a count differs: this CPU's, then all, once a call.
    """
    drains: Drains = [self.lru_add_drain, self.lru_add_drain_all]
    for index in self.present(t, inode, start, end):
        folio = inode.folios.get(index)
        if folio is not None and await self.folio_has_outside_reference(t, inode, folio, drains):
            return folio
    return None


async def folio_has_outside_reference(
    self: InplaceV8, t: Task, inode: GmemInode, folio: Folio, drains: Drains
) -> bool:
    """One folio of the check; `drains` are those that were not done yet."""
    if t.traps:
        await t.point(Op("rmw", inode.ref_label, folio.index, folio.index + 1))
    if folio.mapping is not inode:
        # Evicted meanwhile, by a host fault that met it poisoned: filemap_get_folios does not return it.
        return False
    folio.ref += 1
    used = await self.folio_is_used(t, inode, folio)
    while used == "references" and drains:
        await drains.pop(0)(t)
        used = await self.folio_is_used(t, inode, folio)
    await self.folio_put(t, inode, folio)
    return bool(used)


def present(self: InplaceV8, t: Task, inode: GmemInode, start: int, end: int) -> list[int]:
    """Indices of the range that have a folio; none comes while the exclusive lock is held, and one goes by eviction."""
    return self.indices(inode, start, end)


async def folio_is_used(self: InplaceV8, t: Task, inode: GmemInode, folio: Folio) -> str:
    """Why the folio cannot become private (`pinned`, `mapped`, `references`), or nothing; we hold one."""
    if t.traps:
        await t.point(Op("load", inode.ref_label, folio.index, folio.index + folio.pages, "r"))
    why = "pinned" if folio.pins else "mapped" if folio.mapcount else ""
    if not why and folio.ref != folio.pages + 1:
        why = "references"
    if t.rec is not None:
        t.rec(t, RefCheck(folio.index, folio.pfn, folio.ref - 1, not why))
    return why


# -- zap and hardware --------------------------------------------------------------------------


def convert_filter(self: InplaceV8, inode: GmemInode, start: int, end: int, private: bool) -> str:
    """Kinds of mapping that the conversion zaps: the one being left."""
    return "shared" if private else "private"


def invalidate_filter(self: InplaceV8, inode: GmemInode) -> str:
    """A hole, a release or a memory error concerns both kinds: the file can hold both."""
    return "both"


async def kvm_gmem_make_shared(self: InplaceV8, t: Task, inode: GmemInode, start: int, end: int) -> None:
    """Hand every present folio of the range, clipped to it, to the arch; references only, no folio lock."""
    if not self.gmem_prepare:
        return
    for index in self.present(t, inode, start, end):
        folio = inode.folios.get(index)
        if folio is not None:
            await self.kvm_gmem_make_folio_shared(t, inode, folio, start, end)


async def kvm_gmem_make_folio_shared(
    self: InplaceV8, t: Task, inode: GmemInode, folio: Folio, start: int, end: int
) -> None:
    """One folio of the walk, as far as it lies in the range."""
    if t.traps:
        await t.point(Op("rmw", inode.ref_label, folio.index, folio.index + 1))
    if folio.mapping is not inode:
        return  # as above
    folio.ref += 1
    low, high = max(start, folio.index), min(end, folio.index + folio.pages)
    await self.kvm_gmem_make_pages_shared(t, inode, folio.pfn + low - folio.index, high - low)
    await self.folio_put(t, inode, folio)


async def kvm_gmem_make_pages_shared(
    self: InplaceV8, t: Task, inode: GmemInode, pfn: int, pages: int
) -> None:
    """The hook, and what the log says of it."""
    rec = t.rec
    if rec is not None:
        rec(t, MakeShared(pfn, pages))
    await self.kvm_gmem_arch_make_shared(t, inode, pfn, pages)
    if rec is not None:
        rec(t, MakeSharedRet())


async def kvm_gmem_arch_make_shared(self: InplaceV8, t: Task, inode: GmemInode, pfn: int, pages: int) -> None:
    """`kvm_arch_gmem_make_shared`."""
    await self.inode_vm(inode).arch.make_shared(t, pfn, pages)
