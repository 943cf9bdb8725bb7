"""Host page faults on an mmap of a guest_memfd, and what the mm core does around them (guest-memfd.md 4.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.kvm_events import Discard, HostTouch, Pin, Sigbus, Unpin, UserFault, UserFaultRet
from ..engine.observed_containers import keys_within
from ..engine.op import Op
from .errno import EBADF, EFAULT, EINVAL, ENODEV, ENOMEM
from .inode import HostMapping

if TYPE_CHECKING:
    from ..engine.task import Task
    from .folio import Folio
    from .inode import GmemFile, GmemInode, Process
    from .kernel import Kernel

#: Results of a host access that is no value.
SIGBUS = "SIGBUS"
SEGV = "SIGSEGV"
#: How a fault ends that meets poison (VM_FAULT_HWPOISON): the access gets SIGBUS, BUS_MCEERR_AR.
_HWPOISON = "hwpoison"


async def kvm_gmem_mmap(
    self: Kernel,
    t: Task,
    file: GmemFile,
    process: Process,
    label: str,
    start: int,
    pages: int,
    shared: bool = True,
) -> HostMapping | int:
    """`kvm_gmem_mmap`: a mapping of [start, start + pages), or -ENODEV, -EINVAL, -EBADF.

    It holds a reference of the file, so that closing the descriptor alone does not release it.
    """
    inode = file.inode
    if "MMAP" not in inode.flags:
        return ENODEV
    if not shared:
        return EINVAL
    if not await file.count.inc_not_zero(t):
        return EBADF
    await process.mmap_lock.down_write(t)
    mapping = HostMapping(label, process, inode, start, pages)
    mapping.file = file
    await inode.i_mmap_rwsem.down_write(t)
    inode.mappings.append(mapping)
    await inode.i_mmap_rwsem.up_write(t)
    self.world.mappings[label] = mapping
    await process.mmap_lock.up_write(t)
    return mapping


async def munmap(self: Kernel, t: Task, mapping: HostMapping) -> None:
    """munmap of all of it; a release that it brings about comes on the way back to user mode."""
    await self.unmap_region(t, mapping)
    await self.task_work_run(t)


async def unmap_region(self: Kernel, t: Task, mapping: HostMapping) -> None:
    """Remove the mapping; its entries go first."""
    inode = mapping.inode
    await mapping.process.mmap_lock.down_write(t)
    if mapping not in inode.mappings:
        # Another thread was faster: nothing is mapped there, which is no error.
        await mapping.process.mmap_lock.up_write(t)
        return
    await self._discard(t, mapping, mapping.start, mapping.start + mapping.pages)
    await inode.i_mmap_rwsem.down_write(t)
    inode.mappings.remove(mapping)
    await inode.i_mmap_rwsem.up_write(t)
    self.world.mappings.pop(mapping.label, None)
    await mapping.process.mmap_lock.up_write(t)
    if mapping.file is not None:
        await self.fput_later(t, mapping.file)
    elif not inode.files and not inode.mappings:
        await self.evict_inode(t, inode, next(iter(self.world.vms.values())))


async def madvise_dontneed(self: Kernel, t: Task, mapping: HostMapping, start: int, end: int) -> None:
    """MADV_DONTNEED: drop page-table entries; memory stays, since the mapping is shared."""
    await mapping.process.mmap_lock.down_read(t)
    await self._discard(t, mapping, start, end)
    await mapping.process.mmap_lock.up_read(t)


async def _discard(self: Kernel, t: Task, mapping: HostMapping, start: int, end: int) -> None:
    if t.rec is not None:
        t.rec(t, Discard(start, end, mapping.label))
    told = await self.mmu_notifier_invalidate_start(t, mapping, start, end)
    for index in sorted(
        {*keys_within(mapping.mapped, start, end), *keys_within(mapping.hwpoison, start, end)}
    ):
        if t.traps:
            await t.point(Op("rmw", mapping.label, index, index + 1))
        # should_zap_cows holds here, and only here: a poison entry goes as well.
        mapping.hwpoison.discard(index)
        folio = mapping.mapped.pop(index, None)
        if folio is not None:
            folio.mapcount -= 1
            await self.folio_put(t, mapping.inode, folio)
    await self.mmu_notifier_invalidate_end(t, mapping, start, end, told)


async def host_access(self: Kernel, t: Task, mapping: HostMapping, index: int, write: str | None) -> str:
    """A host load (`write` None) or store at `index`: the value, or SIGBUS, SIGSEGV, -ENOMEM's OOM.

    Faults the page in as often as it takes.
    """
    inode = mapping.inode
    while True:
        if t.traps:
            await t.point(
                Op("rmw" if write else "load", mapping.label, index, index + 1, "w" if write else "r")
            )
        folio = mapping.mapped.get(index)
        if folio is not None:
            arch = self.inode_vm(inode).arch
            if arch.host_stage2 and (signal := arch.user_abort(t, folio.pfn)):
                return signal
            if write is None:
                value = arch.host_read(t, folio.pfn)
            else:
                arch.host_write(t, folio.pfn, write)
                value = write
                # After a read fault it is hardware's bit in the entry, which every unmap carries over: as if at once.
                self.folio_mark_dirty(t, folio)
            if t.rec is not None:
                t.rec(t, HostTouch(index, write is not None, value))
            return value
        result = await self.host_fault(t, mapping, index, write is not None)
        if result in (SIGBUS, _HWPOISON):
            if t.rec is not None:
                t.rec(t, Sigbus(index, result == _HWPOISON))
            return SIGBUS
        if result is not None:
            return result


async def host_fault(
    self: Kernel, t: Task, mapping: HostMapping, index: int, write: bool = False
) -> str | None:
    """The mm core's fault path under mmap_lock: None when the access is to be repeated, else how it failed.

    A write fault that makes the entry dirties the folio while it has it locked, whether or not the store comes then.
    """
    inode = mapping.inode
    lock = mapping.process.mmap_lock
    await t.spend(self.costs.host_fault)
    await lock.down_read(t)
    if mapping not in inode.mappings:
        await lock.up_read(t)
        return SEGV
    if index in mapping.hwpoison:
        # do_swap_page knows such an entry; the file is not asked.
        await lock.up_read(t)
        return _HWPOISON
    folio = await self.kvm_gmem_fault_user_mapping(t, inode, index)
    if isinstance(folio, str):
        await lock.up_read(t)
        return None if folio == "retry" else folio
    if folio.poisoned:
        outcome = await self.host_fault_poisoned(t, inode, folio, index)
        await lock.up_read(t)
        return outcome
    if t.traps:
        await t.point(Op("rmw", mapping.label, index, index + 1))
    if index in mapping.mapped or index in mapping.hwpoison:
        # Another thread of the process was first.
        await self.folio_unlock(t, folio)
        await self.folio_put(t, inode, folio)
    else:
        if write:
            # fault_dirty_shared_page: after the entry, but who asks has to have the folio lock, which is not dropped.
            self.folio_mark_dirty(t, folio)
        mapping.mapped[index] = folio
        folio.mapcount += 1
        await self.folio_unlock(t, folio)
    await lock.up_read(t)
    return None


async def host_fault_poisoned(
    self: Kernel, t: Task, inode: GmemInode, folio: Folio, index: int
) -> str | None:
    """The core met a poisoned page: evict it and repeat the access, or SIGBUS (`__do_fault`)."""
    if folio.mapcount:
        await self.unmap_mapping_folio(t, inode, folio)
    evicted = await self.mapping_evict_folio(t, inode, folio)
    await self.folio_unlock(t, folio)
    await self.folio_put(t, inode, folio)
    return None if evicted else _HWPOISON


async def kvm_gmem_fault_user_mapping(self: Kernel, t: Task, inode: GmemInode, index: int) -> Folio | str:
    """`kvm_gmem_fault_user_mapping`: the locked, referenced folio for the core, or how it failed."""
    if t.rec is not None:
        t.rec(t, UserFault(index))
    result = await self._user_fault(t, inode, index)
    if t.rec is not None:
        t.rec(t, UserFaultRet(result if isinstance(result, str) else "locked"))
    return result


async def _user_fault(self: Kernel, t: Task, inode: GmemInode, index: int) -> Folio | str:
    if index >= inode.pages:
        return SIGBUS
    folio = await self.kvm_gmem_user_fault_folio(t, inode, index)
    if isinstance(folio, str):
        return folio
    if folio.order:
        await self.folio_unlock(t, folio)
        await self.folio_put(t, inode, folio)
        return SIGBUS
    if not folio.uptodate:
        await self.kvm_gmem_clear_folio(t, inode, folio, 1)
        await self.kvm_gmem_mark_uptodate(t, inode, folio)
    return folio


async def kvm_gmem_user_fault_folio(self: Kernel, t: Task, inode: GmemInode, index: int) -> Folio | str:
    """The part that decides whether the host may have the page: up to v3 a matter of the whole inode."""
    if not inode.init_shared:
        return SIGBUS
    folio = await self.kvm_gmem_get_folio(t, inode, index)
    if not isinstance(folio, int):
        return folio
    return "oom" if folio == ENOMEM else SIGBUS


async def pin_user_page(self: Kernel, t: Task, mapping: HostMapping, index: int) -> Folio | int:
    """A long-term pin of a mapped page (faulted in for a write if need be): the folio, or -EFAULT."""
    while True:
        if t.traps:
            await t.point(Op("rmw", mapping.label, index, index + 1))
        folio = mapping.mapped.get(index)
        if folio is not None:
            folio.ref += 1
            folio.pins += 1
            if t.rec is not None:
                t.rec(t, Pin(index, folio.pfn))
            return folio
        if await self.host_fault(t, mapping, index, True) is not None:
            return EFAULT


async def unpin_user_page(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> None:
    """Give a pin back."""
    if t.traps:
        await t.point(Op("rmw", inode.ref_label, folio.index, folio.index + 1))
    if t.rec is not None:
        t.rec(t, Unpin(folio.index, folio.pfn))
    # The pin is a part of the count (GUP_PIN_COUNTING_BIAS): both go in one step.
    folio.pins -= 1
    self.folio_drop(t, folio)
