"""Launch-time population of private memory (guest-memfd.md 4.9); the loop over pages is the patch version's.

Source pages are pages of an ordinary user buffer. GUP takes them one by one; a source that cannot be had makes it
fail, and may take mmap_lock.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs

from ..audit.kvm_events import Copy, Gup, Populate, PopulateCallback, PopulateRet
from .errno import EFAULT, EINTR, EINVAL, EIO, ENOMEM
from .fault import Fault, RetPf

if TYPE_CHECKING:
    from ..arch.base import Content
    from ..engine.task import Task
    from .folio import Folio
    from .inode import Process
    from .kernel import Kernel
    from .vm import Vm


@attrs.frozen
class Source:
    """Where populate takes its bytes from.

    Attributes:
        process: whose address space; GUP may take its mmap_lock.
        contents: one content token a page; None is a page that is not mapped (GUP fails with -EFAULT).
        offset: byte offset of the source within its first page (0 = page aligned).
    """

    process: Process
    contents: tuple[str | None, ...]
    offset: int = 0


async def kvm_gmem_populate(
    self: Kernel, t: Task, vm: Vm, gfn: int, pages: int, source: Source | None
) -> int:
    """Populate `pages` pages from `gfn`; `vm.slots_lock` is held. Pages done, or an errno if none was.

    The caller runs `task_work_run` once it has dropped `slots_lock`.
    """
    rec = t.rec
    ident = self.request(t, vm.label, "populate", f"gfn={gfn:#x}") if rec else 0
    if rec is not None:
        rec(t, Populate(gfn, pages, source is not None))
    ret = await self._checked_populate(t, vm, gfn, pages, source)
    if rec is not None:
        rec(t, PopulateRet(ret))
        self.answer(t, ident, "populate", str(ret))
    return ret


async def _checked_populate(
    self: Kernel, t: Task, vm: Vm, gfn: int, pages: int, source: Source | None
) -> int:
    if pages <= 0 or self.populate_rejects(vm, source):
        return EINVAL
    if vm.finalized and vm.arch.populate_maps:
        # KVM_TDX_INIT_MEM_REGION: the initial memory of a finalized TD is fixed. SNP leaves that to the firmware.
        return EINVAL
    slot = vm.slot_of(gfn)
    if slot is None or not slot.gmem:
        return EINVAL
    file = await self.get_file_active(t, slot.gmem_file)
    if file is None:
        return EFAULT
    pages = min(pages, slot.pages - (gfn - slot.base_gfn))
    ret = await self.kvm_gmem_populate_pages(t, vm, slot, file, gfn, pages, source)
    await self.fput_later(t, file)
    return ret


def populate_rejects(self: Kernel, vm: Vm, source: Source | None) -> bool:
    """Whether the call refuses the source outright (alignment, from v2 on)."""
    return False


async def get_user_pages_fast(self: Kernel, t: Task, source: Source, page: int) -> str | int:
    """Look up and pin source page number `page`: its content, or -EFAULT; takes mmap_lock shared if cold."""
    await t.spend(self.costs.gup)
    cold = t.fault("gup_cold")
    if cold:
        await source.process.mmap_lock.down_read(t)
    content = source.contents[page] if page < len(source.contents) else None
    if cold:
        await source.process.mmap_lock.up_read(t)
    if t.fault("gup_short"):
        content = None
        ret = ENOMEM
    else:
        ret = EFAULT if content is None else 1
    if t.rec is not None:
        t.rec(t, Gup(page, ret))
    return ret if content is None else content


async def post_populate(self: Kernel, t: Task, vm: Vm, gfn: int, folio: Folio, content: Content) -> int:
    """The arch callback for one page: slots_lock and the invalidate lock held, folio lock not."""
    pfn = self.gmem_page_pfn(vm, gfn, folio)
    if isinstance(content, str) and t.rec is not None:
        t.rec(t, Copy(pfn))
    if vm.arch.populate_maps:
        map_private_pfn = (
            partial(self.kvm_tdp_map_launch_page, t, vm, gfn)
            if vm.arch.populate_premaps
            else partial(self.kvm_tdp_mmu_map_private_pfn, t, vm, gfn, folio)
        )
        ret = await vm.arch.populate(t, vm, gfn, pfn, content, map_private_pfn)
    else:
        ret = await vm.arch.populate(t, vm, gfn, pfn, content)
    if t.rec is not None:
        t.rec(t, PopulateCallback(gfn, pfn, ret))
    return ret


async def kvm_tdp_map_launch_page(self: Kernel, t: Task, vm: Vm, gfn: int) -> int:
    """`kvm_tdp_map_page` as the launch of TDX to 6.18 called it: get_pfn and all, inside populate."""
    if not vm.vcpus:
        return EIO
    # tdx_vcpu_init_mem_region does, before populate; no root of a TD becomes obsolete.
    self.kvm_mmu_reload(t, vm.vcpus[0])
    return await self.kvm_tdp_map_page(t, vm.vcpus[0], gfn, True)


async def kvm_tdp_mmu_map_private_pfn(self: Kernel, t: Task, vm: Vm, gfn: int, folio: Folio) -> int:
    """`kvm_tdp_mmu_map_private_pfn`: the launch maps a page that it holds: 0, -EINTR or -EIO.

    slots_lock and the invalidate lock are held, so nothing that covers the gfn can be in progress.
    """
    if not vm.vcpus:
        return EIO
    fault = Fault(vm.vcpus[0], gfn, True, True)
    fault.pfn = self.gmem_page_pfn(vm, gfn, folio)
    fault.folio = folio
    while True:
        if t.signalled():
            return EINTR
        if vm.dead:
            return EIO
        await vm.mmu_lock.read_lock(t)
        ret = await self.kvm_tdp_mmu_map(t, fault)
        await vm.mmu_lock.read_unlock(t)
        if ret != RetPf.RETRY:
            return 0 if ret == RetPf.FIXED else EIO


def gmem_page_pfn(vm: Vm, gfn: int, folio: Folio) -> int:
    """The frame of a gfn that `folio` covers."""
    slot = vm.slot_of(gfn) if folio.order else None
    return folio.pfn if slot is None else folio.pfn + slot.index_of(gfn) - folio.index


def gfn_is_private(self: Kernel, vm: Vm, gfn: int) -> bool:
    """The attribute test of the populate loop; a lock-free look-up."""
    return gfn in vm.attributes
