"""E: in-place conversion as applied (for Linux 7.4). Against v8: what review found, and get_pfn keeps no reference.

Spec §4.2 E, §4.3, §4.7 E, §4.14 E.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..actors.errno import EBADF, EEXIST, EINVAL, ENOMEM
from ..actors.gmem_convert import GmemConversion
from ..audit.inplace_events import BindPrepare
from ..audit.kvm_events import ArchReclaim, Bind, Unbind
from .inplace_v8 import InplaceV8

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.memslot import Memslot
    from ..actors.tdp_fault import Fault
    from ..actors.vm import Vm
    from ..engine.task import Task

__all__ = ["Inplace", "InplaceOff"]


class Inplace(InplaceV8):
    """The latest in-place conversion."""

    name: ClassVar[str] = "inplace"
    get_pfn_puts: ClassVar[bool] = True

    # -- vCPU fault ------------------------------------------------------------------------------

    async def kvm_gmem_get_locked_pfn(
        self, t: Task, vm: Vm, file: GmemFile, slot: Memslot, gfn: int, index: int
    ) -> tuple[int, Folio | None]:
        """The reference goes before the lock: only the invalidation protocol keeps the frame until it is mapped."""
        ret, folio = await super().kvm_gmem_get_locked_pfn(t, vm, file, slot, gfn, index)
        if folio is not None:
            await self.folio_put(t, file.inode, folio)
        return ret, folio

    async def kvm_release_faultin_pfn(self, t: Task, fault: Fault) -> None:
        """There is none."""

    async def kvm_gmem_free_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        """`kvm_arch_gmem_reclaim` in place of invalidate."""
        if not self.gmem_prepare:
            return
        if t.rec is not None:
            t.rec(t, ArchReclaim(folio.pfn, folio.pages))
        if t.traps:
            t.saw(inode.users_label)
        await self.inode_vm(inode).arch.reclaim(t, folio.pfn, folio.pages)

    # -- bind in two phases ------------------------------------------------------------------------

    async def kvm_gmem_bind(self, t: Task, vm: Vm, slot: Memslot, file: GmemFile | None, offset: int) -> int:
        """Prepare without a lock, commit under it; the file is referenced from one to the other.

        Both before the slot is published. The order is unknown in the sources (§4.2); in the other one a commit
        that fails would have a published slot to take back.
        """
        if file is None or not await file.count.inc_not_zero(t):
            return EBADF
        start = offset // 4096
        ret = self.kvm_gmem_prepare_bind(t, vm, slot, file, offset)
        if t.rec is not None:
            t.rec(t, BindPrepare(file.label, slot.ident, start, start + slot.pages, ret))
        if ret == 0:
            ret = await self.kvm_gmem_commit_bind(t, slot, file)
            if t.rec is not None:
                t.rec(t, Bind(file.label, slot.ident, start, start + slot.pages, ret))
        await self.fput_later(t, file)
        return ret

    def kvm_gmem_prepare_bind(self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, offset: int) -> int:
        """Checks, and the slot's pointer: nobody can see the slot yet."""
        if file.vm is not vm or not 0 <= offset < 1 << 63 or offset % 4096:
            return EINVAL
        start = offset // 4096
        if start + slot.pages > file.inode.pages:
            return EINVAL
        if t.traps:
            t.changed(slot.file_label)
        slot.gmem_file = file
        slot.pgoff = start
        slot.gmem_only = "MMAP" in file.inode.flags
        return 0

    async def kvm_gmem_commit_bind(self, t: Task, slot: Memslot, file: GmemFile) -> int:
        """The binding: -EEXIST for an overlap, -ENOMEM (fault point `alloc_binding`) rolled back."""
        lock = file.inode.invalidate_lock
        start, end = slot.pgoff, slot.pgoff + slot.pages
        ret = 0
        await lock.down_write(t)
        if file.slots_in(start, end):
            ret = EEXIST
        elif t.fault("alloc_binding"):
            ret = ENOMEM
        else:
            await self.kvm_gmem_store_binding(t, file, slot, start, end)
        if ret:
            if t.traps:
                t.changed(slot.file_label)
            slot.gmem_file = None
        await lock.up_write(t)
        return ret

    async def kvm_gmem_unbind(self, t: Task, slot: Memslot) -> None:
        """Always under the lock; slots_lock keeps a dying file, whose release needs it."""
        if t.traps:
            t.saw(slot.file_label)
        file = slot.gmem_file
        if file is None:
            return
        if t.rec is not None:
            t.rec(t, Unbind(slot.ident))
        lock = file.inode.invalidate_lock
        await lock.down_write(t)
        await self.kvm_gmem_clear_binding(t, file, slot)
        await lock.up_write(t)

    # -- conversion --------------------------------------------------------------------------------

    folio_is_used = GmemConversion.folio_is_used
    gmem_attr_missing = GmemConversion.gmem_attr_missing
    convert_filter = GmemConversion.convert_filter
    kvm_gmem_arch_make_shared = GmemConversion.kvm_gmem_arch_make_shared


class InplaceOff(Inplace):
    """The same kernel with `gmem_in_place_conversion` off: VM attributes, and the call on the file is -ENOTTY."""

    name: ClassVar[str] = "inplace-off"
    in_place: ClassVar[bool] = False
