"""Linux 7.3: v3 with the arch hooks renamed. make_private for private memory only, reclaim when a folio leaves.

Traces README §3, §7 (no arch call at all for INIT_SHARED memory); spec §0 [SJ].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..audit.kvm_events import ArchReclaim, MakePrivate, MakePrivateRet
from .v3 import V3

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.inode import GmemInode
    from ..actors.vm import Vm
    from ..engine.task import Task

__all__ = ["Mainline73"]


class Mainline73(V3):
    """v3 with make_private and reclaim."""

    name: ClassVar[str] = "mainline-7.3"
    default_release: ClassVar[str] = "7.3"

    async def kvm_gmem_prepare_folio(self, t: Task, vm: Vm, folio: Folio, gfn: int) -> int:
        """`kvm_arch_gmem_make_private`, and only if the gfn is private."""
        if not self.gmem_prepare or not await self.kvm_mem_is_private(t, vm, gfn):
            return 0
        rec = t.rec
        arch = vm.arch
        ident = self.request(t, arch.name, "make_private", f"gfn={gfn:#x} pfn={folio.pfn:#x}") if rec else 0
        if rec is not None:
            rec(t, MakePrivate(gfn, folio.pfn, folio.pages))
        ret, did = await arch.make_private(t, vm, gfn, folio.pfn, folio.pages)
        if rec is not None:
            rec(t, MakePrivateRet(ret, did))
            self.answer(t, ident, "make_private", str(ret))
        return ret

    async def kvm_gmem_free_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        """`kvm_arch_gmem_reclaim` in place of invalidate."""
        if not self.gmem_prepare:
            return
        if t.rec is not None:
            t.rec(t, ArchReclaim(folio.pfn, folio.pages))
        await self.inode_vm(inode).arch.reclaim(t, folio.pfn, folio.pages)
