"""Invalidation of a file range for every VM that has it bound (`kvm_gmem_invalidate_start/_end`).

See guest-memfd.md 1.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.kvm_events import ArchInvalidateRange, InvEnd, InvStart, InvStartRet
from ..engine.op import Op

if TYPE_CHECKING:
    from ..engine.task import Task
    from .inode import GmemFile, GmemInode
    from .kernel import Kernel
    from .vm import Vm


def invalidate_filter(self: Kernel, inode: GmemInode) -> str:
    """Which kind of mapping can exist: baseline to v3 map one kind per inode (guest-memfd.md 4.4)."""
    return "shared" if inode.init_shared else "private"


async def kvm_gmem_split_private(self: Kernel, t: Task, inode: GmemInode, start: int, end: int) -> int:
    """Before private memory of [start, end) is zapped, in every VM that loses contents by a zap: 0 or an errno.

    The caller holds the invalidate lock and has changed nothing yet. What was split stays so when another split
    fails.
    """
    for file in list(inode.files):
        vm = file.vm
        if not (vm.stage2.mirrored and vm.stage2.large):
            continue
        await vm.mmu_lock.write_lock(t)
        ret = 0
        for slot in file.slots_in(start, end):
            first = slot.base_gfn + max(slot.pgoff, start) - slot.pgoff
            last = slot.base_gfn + min(slot.pgoff + slot.pages, end) - slot.pgoff
            ret = ret or await self.kvm_split_cross_boundary_leafs(t, vm, first, last)
        await vm.mmu_lock.write_unlock(t)
        if ret:
            return ret
    return 0


async def kvm_gmem_invalidate_start(
    self: Kernel, t: Task, inode: GmemInode, start: int, end: int, kinds: str
) -> None:
    """Zap [start, end) in every VM, each under its own mmu_lock; the caller holds the invalidate lock."""
    self.use_inode(t, inode)
    for file in list(inode.files):
        await self.kvm_gmem_file_invalidate_start(t, file, start, end, kinds)


async def kvm_gmem_file_invalidate_start(
    self: Kernel, t: Task, file: GmemFile, start: int, end: int, kinds: str
) -> None:
    """`__kvm_gmem_invalidate_start`: one file. Without a bound slot mmu_lock is never taken."""
    if t.rec is not None:
        t.rec(t, InvStart(start, end))
    self.use_file(t, file)
    vm = file.vm
    flush = False
    locked = False
    await self.look_at_bindings(t, file, start, end)
    for slot in file.slots_in(start, end):
        if not locked:
            locked = True
            await vm.mmu_lock.write_lock(t)
            await self.kvm_mmu_invalidate_start(t, vm)
        self.use_memslot(t, slot)
        first = slot.base_gfn + max(slot.pgoff, start) - slot.pgoff
        last = slot.base_gfn + min(slot.pgoff + slot.pages, end) - slot.pgoff
        await self.kvm_mmu_invalidate_range_add(t, vm, first, last)
        # `struct kvm_gfn_range` has the slot, and the zap looks into it.
        self.use_memslot(t, slot)
        flush |= await self.kvm_unmap_gfn_range(t, vm, first, last, kinds)
        await self.kvm_arch_gmem_invalidate_range(t, vm, first, last)
    if flush:
        await self.kvm_flush_remote_tlbs(t, vm)
    if locked:
        await vm.mmu_lock.write_unlock(t)
    if t.rec is not None:
        t.rec(t, InvStartRet())


async def look_at_bindings(self: Kernel, t: Task, file: GmemFile, start: int, end: int) -> None:
    """The look of an invalidation at the bindings, a step where the invalidate lock is not held.

    Who holds it, as every version does, finds what it found a step before and after: nobody changes them meanwhile.
    """
    lock = file.inode.invalidate_lock
    if t.traps and not (lock.read_held(t) or lock.write_held(t)):
        await t.point(Op("load", file.bindings_label, start, end, "r"))


async def kvm_arch_gmem_invalidate_range(self: Kernel, t: Task, vm: Vm, first: int, last: int) -> None:
    """The arch hook for gfns [first, last), mmu_lock held for writing; since 7.2."""
    if not (self.release.invalidate_range_hook and self.gmem_prepare):
        return
    if t.rec is not None:
        t.rec(t, ArchInvalidateRange(vm.label, first, last))
    await vm.arch.invalidate_range(t, vm, first, last)
    if vm.arch.encrypted_state:
        await self.sev_gmem_invalidate_range(t, vm, first, last)


async def kvm_gmem_invalidate_end(self: Kernel, t: Task, inode: GmemInode, start: int, end: int) -> None:
    """The end for every file; bindings are the same as at the start, since the invalidate lock was held."""
    self.use_inode(t, inode)
    for file in list(inode.files):
        await self.kvm_gmem_file_invalidate_end(t, file, start, end)


async def kvm_gmem_file_invalidate_end(self: Kernel, t: Task, file: GmemFile, start: int, end: int) -> None:
    """`__kvm_gmem_invalidate_end`: nothing to do without a bound slot."""
    if t.rec is not None:
        t.rec(t, InvEnd(start, end))
    self.use_file(t, file)
    await self.look_at_bindings(t, file, start, end)
    if file.slots_in(start, end):
        vm = file.vm
        await vm.mmu_lock.write_lock(t)
        await self.kvm_mmu_invalidate_end(t, vm)
        await vm.mmu_lock.write_unlock(t)
