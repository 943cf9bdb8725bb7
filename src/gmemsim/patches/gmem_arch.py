"""The arch hooks under their names since Linux 7.3: make_private of private memory only, reclaim when a folio goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.kvm_events import ArchReclaim, MakePrivate, MakePrivateRet

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.inode import GmemInode
    from ..actors.kernel import Kernel
    from ..actors.vm import Vm
    from ..engine.task import Task


async def kvm_arch_gmem_make_private(
    self: Kernel, t: Task, vm: Vm, gfn: int, pfn: int, pages: int, into: int = 0
) -> int:
    """Assign `pages` pages to the guest, folio lock held: 0 or the hook's errno.

    `into`: where the page that is handed over lies in the `pages`, which begin that much below; the log has those.
    """
    if not self.gmem_prepare:
        return 0
    rec = t.rec
    arch = vm.arch
    ident = self.request(t, arch.name, "make_private", f"gfn={gfn:#x} pfn={pfn:#x}") if rec else 0
    if rec is not None:
        rec(t, MakePrivate(gfn - into, pfn - into, pages))
    ret, did = await arch.make_private(t, vm, gfn, pfn, pages)
    if rec is not None:
        rec(t, MakePrivateRet(ret, did))
        self.answer(t, ident, "make_private", str(ret))
    return ret


async def kvm_gmem_free_folio(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> None:
    """`kvm_arch_gmem_reclaim` in place of `kvm_arch_gmem_invalidate`."""
    if not self.gmem_prepare:
        return
    if t.rec is not None:
        t.rec(t, ArchReclaim(folio.pfn, folio.pages))
    await self.inode_vm(inode).arch.reclaim(t, folio.pfn, folio.pages)
