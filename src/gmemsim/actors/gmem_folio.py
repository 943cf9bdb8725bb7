"""From an index to a folio that is fit for use: `kvm_gmem_get_folio`, the checked look-up, clearing.

`kvm_gmem_get_pfn`, the step that the patch series changes, is in `patches/baseline.py` and below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.kvm_events import Clear, GetFolio, GetFolioRet, SetUptodate
from ..engine.op import Op
from .errno import EFAULT, EHWPOISON, EIO, ENOENT

if TYPE_CHECKING:
    from ..engine.task import Task
    from .folio import Folio
    from .inode import GmemFile, GmemInode
    from .kernel import Kernel
    from .memslot import Memslot


async def kvm_gmem_get_folio(self: Kernel, t: Task, inode: GmemInode, index: int) -> Folio | int:
    """`kvm_gmem_get_folio`: the folio of `index`, locked, with a reference; created if missing."""
    rec = t.rec
    if rec is not None:
        rec(t, GetFolio(index))
    found: Folio | int = ENOENT
    if self.release.lookup_first:
        # The fast path that skips the NUMA policy; only a miss looks the policy up and creates.
        found = await self.filemap_get_folio(t, inode, index, create=False)
    if found == ENOENT:
        found = await self.filemap_get_folio(t, inode, index, create=True)
    if rec is not None:
        rec(t, GetFolioRet(found if isinstance(found, int) else found.pfn))
    return found


async def kvm_gmem_get_checked_folio(
    self: Kernel, t: Task, file: GmemFile, slot: Memslot, index: int
) -> Folio | int:
    """`__kvm_gmem_get_pfn`: the folio, locked and referenced, if the slot really owns the index.

    Returns -EFAULT (the slot lost its file), -EIO (bound to another slot), -EHWPOISON, or an error of the
    look-up.
    """
    if t.traps:
        await t.point(Op("load", f"{file.label}.bindings", index, index + 1, "r"))
    self.use_memslot(t, slot)
    if slot.gmem_file is not file:
        return EFAULT
    if file.slot_at(index) is not slot:
        return EIO
    folio = await self.kvm_gmem_get_folio(t, file.inode, index)
    if isinstance(folio, int):
        return folio
    if folio.poisoned:
        await self.folio_unlock(t, folio)
        await self.folio_put(t, file.inode, folio)
        return EHWPOISON
    return folio


async def kvm_gmem_clear_folio(self: Kernel, t: Task, inode: GmemInode, folio: Folio, pages: int) -> None:
    """Zero the first `pages` pages of a locked folio (`clear_highpage`)."""
    if t.rec is not None:
        t.rec(t, Clear(folio.index, folio.pfn, pages))
    if t.traps:
        await t.point(Op("rmw", inode.content_label, folio.index, folio.index + pages))
    await t.spend(self.costs.clear(pages))
    arch = self.inode_vm(inode).arch
    # One frame is the folio's own number: what is kept of it by number keeps no second one.
    for pfn in (folio.pfn,) if pages == 1 else range(folio.pfn, folio.pfn + pages):
        if arch.host_stage2:
            await arch.kernel_touch(t, pfn)
        arch.clear(t, pfn)


async def kvm_gmem_mark_uptodate(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> None:
    """`folio_mark_uptodate`, folio locked."""
    if t.rec is not None:
        t.rec(t, SetUptodate(folio.index, folio.pfn))
    if t.traps:
        await t.point(Op("store", folio.uptodate_label, folio.index, folio.index + 1))
    folio.uptodate = True
