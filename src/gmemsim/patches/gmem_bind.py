"""Binding a memslot since Linux 7.3: in two phases, and unbinding always under the invalidate lock.

Read in virt/kvm/guest_memfd.c and kvm_main.c of 7.3.4. To 7.2 binding is one step before `kvm_set_memslot`
(`gmem_file`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.errno import EBADF, EEXIST, EINVAL, ENOMEM
from ..audit.kvm_events import Bind, BindPrepare, Unbind

if TYPE_CHECKING:
    from ..actors.inode import GmemFile
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..engine.task import Task
    from .inplace import Inplace
    from .mainline_7_3 import Mainline73


async def kvm_gmem_prepare_memory_region(
    self: Mainline73 | Inplace, t: Task, vm: Vm, slot: Memslot, file: GmemFile, offset: int
) -> int:
    """The first phase: checks, and the file in the slot, which nobody can see yet: 0, -EBADF or -EINVAL.

    `offset` in bytes. No lock of the file is taken. When it succeeds the caller has a reference of the file, which
    `kvm_gmem_bound` drops.
    """
    if not await file.count.inc_not_zero(t):
        return EBADF
    start = offset // 4096
    ret = 0
    outside = not 0 <= offset < 1 << 63 or start + slot.pages > file.inode.pages
    if file.vm is not vm or offset % 4096 or outside:
        ret = EINVAL
    if t.rec is not None:
        t.rec(t, BindPrepare(file.label, slot.ident, start, start + slot.pages, ret))
    if ret:
        await self.fput_later(t, file)
        return ret
    slot.gmem_file = file
    slot.pgoff = start
    slot.gmem_only = "MMAP" in file.inode.flags
    return 0


async def kvm_gmem_commit_memory_region(self: Mainline73 | Inplace, t: Task, slot: Memslot) -> int:
    """The binding, under slots_arch_lock and before the slot is published: 0, -EEXIST or -ENOMEM.

    A failure leaves the slot's pointer, since the slot is freed.
    """
    file = slot.gmem_file
    assert file is not None
    lock = file.inode.invalidate_lock
    start, end = slot.pgoff, slot.pgoff + slot.pages
    await lock.down_write(t)
    if file.slots_in(start, end):
        ret = EEXIST
    elif t.fault("alloc_binding"):
        # xa_store_range has no memory left half-way. What it stored is taken back before the lock goes.
        await self.kvm_gmem_store_binding(t, file, slot, start, start + max(slot.pages // 2, 1))
        await self.kvm_gmem_undo_binding(t, file, slot)
        ret = ENOMEM
    else:
        await self.kvm_gmem_store_binding(t, file, slot, start, end)
        ret = 0
    await lock.up_write(t)
    if t.rec is not None:
        t.rec(t, Bind(file.label, slot.ident, start, end, ret))
    return ret


async def kvm_gmem_undo_binding(self: Mainline73 | Inplace, t: Task, file: GmemFile, slot: Memslot) -> None:
    """Erase what a store that failed has left."""
    await self.kvm_gmem_erase_binding(t, file, slot)


async def kvm_gmem_bound(
    self: Mainline73 | Inplace, t: Task, slot: Memslot, file: GmemFile, ret: int
) -> None:
    """After publication and grace period, or a failure: drop the reference that the first phase took.

    A slot that `kvm_set_memslot` refused is not bound: its commit is the last that can fail.
    """
    await self.fput_later(t, file)


async def kvm_gmem_unbind(self: Mainline73 | Inplace, t: Task, slot: Memslot) -> None:
    """Always under the lock, whether or not the file is dying: slots_lock, which is held, keeps its release out."""
    file = slot.gmem_file
    if file is None:
        return
    if t.rec is not None:
        t.rec(t, Unbind(slot.ident))
    lock = file.inode.invalidate_lock
    await lock.down_write(t)
    await self.kvm_gmem_clear_binding(t, file, slot)
    await lock.up_write(t)
