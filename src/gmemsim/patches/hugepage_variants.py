"""What the huge page series does differently from `hugepage`, each difference as a version of its own, and what-ifs.

`hugepage-tracked`, `hugepage-populate` and `hugepage-notifier` are the series where `hugepage` is not;
`hugepage-staged` asks what another split would cost (guest-memfd.md 9 Q12).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..actors.errno import EEXIST, EFAULT, EINTR, EINVAL
from ..actors.huge_pool import ORDER_1G, ORDER_2M
from .by_file import by_file
from .hugepage import Hugepage
from .hugepage_mutex import HugepageMutex

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.gmem_populate import Source
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..engine.task import Task


class HugepageTracked(Hugepage):
    """uptodate means prepared too: no hook at a re-fault, so a page that was shared meanwhile stays so.

    See guest-memfd.md 4.7.

    Files without huge pages go as on the version below, where it means cleared.
    """

    name: ClassVar[str] = "hugepage-tracked"
    uptodate_means: ClassVar[str] = "prepared"

    def uptodate_promises(self, inode: GmemInode | None) -> str:
        if inode is None or self.huge_cache(inode) is not None:
            return self.uptodate_means
        return super().uptodate_means

    async def kvm_gmem_prepare_again(
        self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int, index: int
    ) -> int:
        """The arch is not asked at a re-fault: uptodate says that the folio is prepared."""
        return 0


class HugepageNotifier(Hugepage):
    """A conversion to private leaves the guests' shared mappings to the MMU notifiers of the host mapping.

    See guest-memfd.md 4.14.
    """

    name: ClassVar[str] = "hugepage-notifier"

    async def kvm_gmem_unmap_shared(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
        """The MMU notifiers of the host mapping take the guests' shared mappings away."""


class HugepageStaged(HugepageMutex):
    """1 GiB -> 2 MiB -> 4 KiB: only the 2 MiB around a shared page becomes small: a later optimisation of the series.

    On the version with the mutex: without one a look-up between the two splits is given 2 MiB with a shared page in it.
    """

    name: ClassVar[str] = "hugepage-staged"
    split_to: ClassVar[dict[int, int]] = {ORDER_1G: ORDER_2M, ORDER_2M: 0}


async def populate_chunks(
    self: HugepagePopulate,
    t: Task,
    vm: Vm,
    slot: Memslot,
    file: GmemFile,
    gfn: int,
    pages: int,
    source: Source | None,
) -> int:
    """The exclusive lock is held around the look-up only; the callback takes a chunk."""
    lock = file.inode.invalidate_lock
    ret = done = 0
    while done < pages:
        if t.signalled():
            ret = EINTR
            break
        await lock.down_write(t)
        folio = await self.kvm_gmem_get_checked_folio(t, file, slot, slot.index_of(gfn + done))
        await lock.up_write(t)
        if isinstance(folio, int):
            ret = folio
            break
        filled = folio.uptodate and not vm.arch.populate_maps
        await self.folio_unlock(t, folio)
        chunk = self.populate_chunk(file.inode, folio, slot.index_of(gfn + done), gfn + done, pages - done)
        ret = EEXIST if filled else 0 if chunk else EINVAL
        for page in range(done, done + chunk) if ret == 0 else ():
            content: str | None = None
            if self.populate_fetches(source):
                found = EFAULT if source is None else await self.get_user_pages_fast(t, source, page)
                if isinstance(found, int):
                    ret = found
                    break
                content = found
            ret = await self.post_populate(t, vm, gfn + page, folio, content)
            if ret:
                break
        if ret == 0:
            await self.kvm_gmem_mark_uptodate(t, file.inode, folio)
        await self.folio_put(t, file.inode, folio)
        if ret:
            break
        done += chunk
    return done or ret


class HugepagePopulate(Hugepage):
    """Populate as the series has it: in chunks of a folio, after which all of the folio counts as uptodate.

    See guest-memfd.md 4.9.

    Review found the defect: a chunk smaller than the folio leaves the other pages stale, and nothing clears them later.
    """

    name: ClassVar[str] = "hugepage-populate"

    kvm_gmem_populate_pages = by_file(populate_chunks, Hugepage.kvm_gmem_populate_pages)

    def populate_chunk(self, inode: GmemInode, folio: Folio, index: int, gfn: int, left: int) -> int:
        """The largest power of two that is aligned, asked for, inside the folio and all private; 0 if none is."""
        chunk = folio.pages
        while chunk and (
            index % chunk or gfn % chunk or chunk > left or not self.all_private(inode, index, chunk)
        ):
            chunk >>= 1
        return chunk
