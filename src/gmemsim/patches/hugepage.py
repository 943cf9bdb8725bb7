"""F: 2 MiB folios from a pool, on top of conversion in place (spec §4.1 F, §4.5 F, §4.14 F, §4.15).

Guests map them with 4 KiB entries. Not here: 1 GiB folios, 2 MiB entries of the stage-2 tables, populate into a huge
folio (-EINVAL), invalidation rounded out to huge pages, the merge by a worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..actors.errno import EAGAIN, EEXIST, EINVAL, ENOMEM
from ..actors.folio import Folio
from ..actors.gmem_convert import Converted
from ..actors.huge_folio import HugeFolios
from ..actors.huge_pool import HUGE_ORDER, HugeCache, Subpool
from ..arch.memory import FREE_LIST
from ..audit.kvm_events import Create, FilemapAdd, FilemapAddRet, MakePrivate, MakePrivateRet, PageCacheAdd
from ..engine.locks.mutex import Mutex
from ..engine.locks.stats import LockClass
from ..engine.op import Op
from .inplace import Inplace

if TYPE_CHECKING:
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.vm import Vm
    from ..engine.task import Task

__all__ = ["Hugepage", "HugepageMutex"]

_PAGES = 1 << HUGE_ORDER


class Hugepage(HugeFolios, Inplace):
    """Huge while the whole range is private; 4 KiB pages while any page of it is shared."""

    name: ClassVar[str] = "hugepage"
    huge_pages: ClassVar[bool] = True
    #: Huge pages that the machine has for all files.
    pool_size: ClassVar[int] = 1 << 20

    # -- file ----------------------------------------------------------------------------------------

    def gmem_known_flags(self, vm: Vm) -> frozenset[str]:
        """2 MiB folios besides, which KVM_CAP_GUEST_MEMFD_FLAGS does not name in the vectors."""
        return super().gmem_known_flags(vm) | {"HUGETLB", "HUGETLB_2M"}

    async def kvm_gmem_create(
        self, t: Task, vm: Vm, label: str, size: int, flags: frozenset[str] = frozenset()
    ) -> GmemFile | int:
        """Whole huge pages only (-EINVAL), reserved at once (-ENOMEM)."""
        if "HUGETLB" not in flags:
            ret = EINVAL if "HUGETLB_2M" in flags else 0
        elif size <= 0 or size % (_PAGES * 4096):
            ret = EINVAL
        else:
            reserved = sum(pool.size for pool in self.subpools.values())
            ret = ENOMEM if reserved + size // (_PAGES * 4096) > self.pool_size else 0
        if ret:
            if t.rec is not None:
                t.rec(t, Create(label, size // 4096, ",".join(sorted(flags)), ret))
            return ret
        return await super().kvm_gmem_create(t, vm, label, size, flags)

    async def kvm_gmem_init_inode(self, t: Task, inode: GmemInode) -> None:
        """The subpool, and a page cache with one entry a huge index."""
        await super().kvm_gmem_init_inode(t, inode)
        if "HUGETLB" in inode.flags:
            inode.folios = HugeCache()
            self.subpools[inode.label] = Subpool(inode.pages // _PAGES)

    async def evict_inode(self, t: Task, inode: GmemInode, vm: Vm) -> None:
        """The reservation goes with the file."""
        await super().evict_inode(t, inode, vm)
        self.subpools.pop(inode.label, None)

    # -- look-up ---------------------------------------------------------------------------------------

    def pages_to_clear(self, folio: Folio) -> int:
        """The whole folio: its one flag speaks for all pages."""
        return folio.pages

    async def filemap_create_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | int:
        """A huge folio at the aligned index, split at once if a page of its range is shared."""
        pool = self.subpools.get(inode.label)
        if pool is None:
            return await super().filemap_create_folio(t, inode, index)
        base, end = self.huge_range(index)
        t.changed(FREE_LIST)
        if t.fault("alloc_folio") or pool.used >= pool.size:
            # Two who allocate one huge page at once can exceed the subpool for a moment: one fails for nothing.
            return ENOMEM
        pfn = self.memory.allocate_huge(HUGE_ORDER)
        if pfn is None:
            return ENOMEM
        pool.used += 1
        self.huge_frames[pfn] = pool
        rec = t.rec
        folio = Folio(inode, base, pfn, HUGE_ORDER)
        folio.lock.take_new(t)
        if rec is not None:
            rec(t, FilemapAdd(base, pfn))
        if t.traps:
            await t.point(Op("rmw", inode.label, base, end))
        if any(at in inode.folios for at in range(base, end)):
            if rec is not None:
                rec(t, FilemapAddRet(EEXIST))
            folio.lock.release(t)
            folio.mapping = None
            self.free_page(t, folio)
            return EEXIST
        inode.folios[base] = folio
        folio.ref = folio.pages + 1
        if rec is not None:
            rec(t, PageCacheAdd(base, pfn, HUGE_ORDER))
            rec(t, FilemapAddRet(0))
        if self.all_private(inode, base):
            return folio
        ret = await self.split_folio(t, inode, folio, held=1)
        if ret:
            # A shared page must not be part of a huge folio: what cannot be split goes again.
            self._remove(t, inode, folio)
        folio.lock.release(t)
        if ret:
            await self.folio_put(t, inode, folio, folio.pages + 1)
            return ret
        # The pages are others now: our reference is dropped with the huge folio, and the look-up starts again.
        return EEXIST

    async def kvm_gmem_make_private(
        self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int, index: int
    ) -> int:
        """The page that is asked for, not the whole folio, since it is mapped alone."""
        if not folio.order:
            return await super().kvm_gmem_make_private(t, vm, inode, folio, gfn, index)
        if not self.gmem_prepare or not vm.arch.has_private_memory:
            return 0
        if not await self.kvm_gmem_wants_private(t, vm, inode, gfn, index):
            return 0
        pfn = folio.pfn + index - folio.index
        rec = t.rec
        ident = self.request(t, vm.arch.name, "make_private", f"gfn={gfn:#x} pfn={pfn:#x}") if rec else 0
        if rec is not None:
            rec(t, MakePrivate(gfn, pfn, 1))
        ret, did = await vm.arch.make_private(t, vm, gfn, pfn, 1)
        if rec is not None:
            rec(t, MakePrivateRet(ret, did))
            self.answer(t, ident, "make_private", str(ret))
        return ret

    async def post_populate(self, t: Task, vm: Vm, gfn: int, folio: Folio, content: str | None) -> int:
        """A launch page in a huge folio is refused, as the series' merged half warns about it (§3 B -> C)."""
        return EINVAL if folio.order else await super().post_populate(t, vm, gfn, folio, content)

    # -- conversion --------------------------------------------------------------------------------------

    async def kvm_gmem_convert(
        self, t: Task, inode: GmemInode, start: int, end: int, private: bool, flags: int
    ) -> Converted:
        """Split before pages become shared, merge after the last of a huge range became private.

        A split that fails undoes those before it; a merge that fails leaves a range split, which is legal.
        """
        if inode.label not in self.subpools:
            return await super().kvm_gmem_convert(t, inode, start, end, private, flags)
        done: list[int] = []
        ret = 0
        ranges = range(start >> HUGE_ORDER << HUGE_ORDER, end, _PAGES)
        for base in () if private else ranges:
            folio = inode.folios.get(base)
            if folio is not None and folio.order:
                ret = await self.split_folio(t, inode, folio)
                if ret:
                    break
                done.append(base)
        result = (
            Converted(ret, start)
            if ret
            else await super().kvm_gmem_convert(t, inode, start, end, private, flags)
        )
        for base in ranges if private and not result.ret else done if result.ret else ():
            if self.all_private(inode, base):
                await self.merge_folio(t, inode, base)
        return result

    # -- hole --------------------------------------------------------------------------------------------

    async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        """Whole huge pages go; head and tail are only zeroed. -EAGAIN if a page of a shared one is in use."""
        if inode.label not in self.subpools:
            return await super().kvm_gmem_punch_hole(t, inode, start, end)
        end = min(end, inode.pages)
        ret = 0
        await inode.invalidate_lock.down_write(t)
        if start < end:
            await self.kvm_gmem_invalidate_start(t, inode, start, end, self.invalidate_filter(inode))
            first, last = -(-start // _PAGES) * _PAGES, end // _PAGES * _PAGES
            for low, high in ((start, end),) if first > last else ((start, first), (last, end)):
                await self.zero_pages(t, inode, low, high)
            for base in range(first, last, _PAGES):
                if not self.all_private(inode, base):
                    await self.unmap_mapping_pages(t, inode, base, base + _PAGES)
                    if await self.kvm_gmem_outside_reference(t, inode, base, base + _PAGES) is not None:
                        ret = EAGAIN
                        break
                await self.truncate_inode_pages_range(t, inode, base, base + _PAGES)
            await self.kvm_gmem_invalidate_end(t, inode, start, end)
        await inode.invalidate_lock.up_write(t)
        return ret

    async def zero_pages(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
        """Zero the present pages of [start, end)."""
        arch = self.inode_vm(inode).arch
        for index in range(start, end):
            folio = inode.folios.get(index)
            if folio is None:
                continue
            if t.traps:
                await t.point(Op("rmw", f"{inode.label}.content", index, index + 1))
            await t.spend(self.costs.clear_4k)
            arch.clear(t, folio.pfn + index - folio.index)


class HugepageMutex(Hugepage):
    """F+: one mutex a huge index around all of get_folio, so that nobody looks up what is about to be split [H26].

    Without it a look-up between insertion and split holds a reference while it waits for the folio lock, and the
    splitter, which has that lock, spins for the reference: neither ends.
    """

    name: ClassVar[str] = "hugepage-mutex"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._mutexes: dict[tuple[str, int], Mutex] = {}
        self._mutex_class = LockClass("huge_mutex")

    async def kvm_gmem_get_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | int:
        """Under the mutex of the huge index; the kernel hashes them into a table, here each has its own."""
        if inode.label not in self.subpools:
            return await super().kvm_gmem_get_folio(t, inode, index)
        key = inode.label, index >> HUGE_ORDER
        mutex = self._mutexes.get(key)
        if mutex is None:
            mutex = self._mutexes[key] = Mutex(f"{inode.label}.huge[{key[1]}]", self._mutex_class)
        await mutex.lock(t)
        folio = await super().kvm_gmem_get_folio(t, inode, index)
        await mutex.unlock(t)
        return folio
