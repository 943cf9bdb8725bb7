"""guest_memfd before the series (Linux 6.12, 6.18). Preparedness is tracked: uptodate = cleared *and* prepared.

guest-memfd.md 4.7, 4.9.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from ..actors.errno import EEXIST, EFAULT, EINTR, EINVAL
from ..actors.kernel import Kernel
from ..audit.kvm_events import Copy, GetPfn, GetPfnRet, Prepare, PrepareRet

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.gmem_populate import Source
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..engine.task import Task


class Baseline(Kernel):
    """`kvm_gmem_get_pfn` and `kvm_gmem_populate` as they were before the series."""

    name: ClassVar[str] = "baseline"
    default_release: ClassVar[str] = "6.18"
    uptodate_means: ClassVar[str] = "prepared"
    gup_under_invalidate_lock: ClassVar[bool] = True

    async def kvm_gmem_get_pfn(self, t: Task, vm: Vm, slot: Memslot, gfn: int) -> tuple[int, Folio | None]:
        """`kvm_gmem_get_pfn`. The invalidate lock is not taken: the folio lock and `seq` order it against punches."""
        index = slot.index_of(gfn)
        if t.rec is not None:
            t.rec(t, GetPfn(gfn, index))
        ret, folio = await self.kvm_gmem_get_file_pfn(t, vm, slot, gfn, index)
        if t.rec is not None:
            t.rec(t, GetPfnRet(ret, -1 if folio is None else folio.pfn))
        return ret, folio

    async def kvm_gmem_get_file_pfn(
        self, t: Task, vm: Vm, slot: Memslot, gfn: int, index: int
    ) -> tuple[int, Folio | None]:
        """The body, with the file referenced."""
        file = await self.get_file_active(t, slot.gmem_file)
        if file is None:
            return EFAULT, None
        folio = await self.kvm_gmem_get_checked_folio(t, file, slot, index)
        if isinstance(folio, int):
            await self.fput_later(t, file)
            return folio, None
        ret = await self.kvm_gmem_make_ready(t, vm, file.inode, folio, gfn)
        await self.folio_unlock(t, folio)
        if ret:
            await self.folio_put(t, file.inode, folio)
        await self.fput_later(t, file)
        return (ret, None) if ret else (0, folio)

    async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
        """`kvm_gmem_prepare_folio`: clear, prepare, and only then mark uptodate; a failure leaves it unmarked."""
        if folio.uptodate:
            return 0
        await self.kvm_gmem_clear_folio(t, inode, folio, folio.pages)
        ret = await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)
        if ret == 0:
            await self.kvm_gmem_mark_uptodate(t, inode, folio)
        return ret

    async def kvm_gmem_prepare_folio(self, t: Task, vm: Vm, folio: Folio, gfn: int) -> int:
        """Ask the arch to make the folio ready for the guest; folio lock held."""
        if not self.gmem_prepare:
            return 0
        rec = t.rec
        arch = vm.arch
        ident = self.request(t, arch.name, "prepare", f"gfn={gfn:#x} pfn={folio.pfn:#x}") if rec else 0
        if rec is not None:
            rec(t, Prepare(gfn, folio.pfn, folio.order))
        ret, did = await arch.prepare(t, vm, gfn, folio.pfn, folio.order)
        if rec is not None:
            rec(t, PrepareRet(ret, did))
            self.answer(t, ident, "prepare", str(ret))
        return ret

    async def kvm_gmem_populate_pages(
        self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, pages: int, source: Source | None
    ) -> int:
        """`kvm_gmem_populate`: one exclusive section over all pages, user memory read inside it."""
        lock = file.inode.invalidate_lock
        await lock.down_write(t)
        ret = 0
        done = 0
        while done < pages:
            ret = await self.kvm_gmem_populate_page(t, vm, slot, file, gfn + done, done, source)
            if ret:
                break
            done += 1
        await lock.up_write(t)
        return done or ret

    async def kvm_gmem_populate_page(
        self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, number: int, source: Source | None
    ) -> int:
        """One page. A folio that is uptodate is taken for prepared: -EEXIST."""
        if t.signalled():
            return EINTR
        inode = file.inode
        folio = await self.kvm_gmem_get_checked_folio(t, file, slot, slot.index_of(gfn))
        if isinstance(folio, int):
            return folio
        if folio.uptodate:
            await self.folio_unlock(t, folio)
            await self.folio_put(t, inode, folio)
            return EEXIST
        await self.folio_unlock(t, folio)
        if self.gfn_is_private(vm, gfn):
            ret = await self.kvm_gmem_populate_copy(t, vm, gfn, folio, number, source)
        else:
            ret = EINVAL
        # A fault of the launch (TDX to 6.18) marked it already.
        if ret == 0 and not folio.uptodate:
            await self.kvm_gmem_mark_uptodate(t, inode, folio)
        await self.folio_put(t, inode, folio)
        return ret

    async def kvm_gmem_populate_copy(
        self, t: Task, vm: Vm, gfn: int, folio: Folio, number: int, source: Source | None
    ) -> int:
        """The callback, which fetches the source itself: a user page fault under the exclusive lock.

        `sev_gmem_post_populate` of 6.12.107 looks at the RMP before it copies; TDX has the source's page first, and no
        test for a source that is missing.
        """
        if source is not None and vm.arch.populate_looks_first:
            return await self.post_populate(
                t, vm, gfn, folio, partial(self.copy_from_user, t, source, number, folio)
            )
        content: str | None = None
        if source is None and self.tdx_premaps() and vm.arch.populate_maps:
            return EFAULT
        if source is not None:
            found = await self.get_user_pages_fast(t, source, number)
            if isinstance(found, int):
                return found
            content = found
        return await self.post_populate(t, vm, gfn, folio, content)

    async def copy_from_user(self, t: Task, source: Source, number: int, folio: Folio) -> str | int:
        """`copy_from_user` of a page of the source into the folio: its content, or -EFAULT."""
        found = await self.get_user_pages_fast(t, source, number)
        if isinstance(found, str) and t.rec is not None:
            t.rec(t, Copy(folio.pfn))
        return found
