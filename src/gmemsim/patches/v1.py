"""RFC v1 of the series (November 2025). Prepare on every fault; sources fetched before the lock, up to 512 at once.

guest-memfd.md 3, 4.7, 4.9. What review found in it is kept: the whole folio is marked uptodate after one page
was populated, and pages that a short GUP already grabbed are leaked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..actors.errno import EINTR, EINVAL, ENOMEM
from .baseline import Baseline

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.gmem_populate import Source
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..engine.task import Task

#: GMEM_GUP_NPAGES of the RFC: one PMD.
GUP_PAGES = 512


class V1(Baseline):
    """Preparation is not tracked any more: the arch checks for itself."""

    name: ClassVar[str] = "v1"
    default_release: ClassVar[str] = "6.19"
    uptodate_means: ClassVar[str] = "cleared"
    gup_under_invalidate_lock: ClassVar[bool] = False

    async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
        """uptodate means cleared; the prepare hook is called every time and its failure unmarks nothing."""
        await self.kvm_gmem_clear_once(t, inode, folio)
        return await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)

    async def kvm_gmem_clear_once(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        """Clear a locked folio that was never cleared, and mark it uptodate."""
        if not folio.uptodate:
            await self.kvm_gmem_clear_folio(t, inode, folio, self.pages_to_clear(folio))
            await self.kvm_gmem_mark_uptodate(t, inode, folio)

    def pages_to_clear(self, folio: Folio) -> int:
        """All pages of the folio."""
        return folio.pages

    async def kvm_gmem_populate_pages(
        self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, pages: int, source: Source | None
    ) -> int:
        """GUP of everything first, then one exclusive section over all pages."""
        pages = min(pages, GUP_PAGES)
        contents: list[str | None] = [None] * pages
        if source is not None:
            for number in range(pages + (1 if source.offset else 0)):
                found = await self.get_user_pages_fast(t, source, number)
                if isinstance(found, int):
                    return ENOMEM if number else found
                if number < pages:
                    contents[number] = found
        lock = file.inode.invalidate_lock
        await lock.down_write(t)
        ret = 0
        done = 0
        while done < pages:
            ret = EINTR if t.signalled() else 0
            ret = ret or await self.kvm_gmem_populate_one(t, vm, slot, file, gfn + done, contents[done])
            if ret:
                break
            done += 1
        await lock.up_write(t)
        return done or ret

    async def kvm_gmem_populate_one(
        self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, content: str | None
    ) -> int:
        """One page under the exclusive lock. No -EEXIST from common code: the arch knows."""
        inode = file.inode
        folio = await self.kvm_gmem_get_checked_folio(t, file, slot, slot.index_of(gfn))
        if isinstance(folio, int):
            return folio
        await self.folio_unlock(t, folio)
        ret = await self.post_populate(t, vm, gfn, folio, content) if self.gfn_is_private(vm, gfn) else EINVAL
        if ret == 0:
            await self.kvm_gmem_mark_uptodate(t, inode, folio)
        await self.folio_put(t, inode, folio)
        return ret
