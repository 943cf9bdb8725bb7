# mypy: disable-error-code="misc,valid-type"
"""Seeded bug: huge folios where nobody reckoned with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors.folio import Folio
from ...audit.kvm_events import FilemapAdd, FreePage, PageCacheAdd
from ...engine.op import Op
from ..hazards.large import PairCache
from .entry import bug

if TYPE_CHECKING:
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...engine.task import Task


def collapse_creates_large_folio(parent: type[Kernel]) -> type[Kernel]:
    """MADV_COLLAPSE takes the file for one whose folios it may replace: two small ones become one of order 1.

    A page that is missing or was never written is no obstacle, and the new folio counts as uptodate if one of the old
    ones was (before dd085fe9a8eb; there it was an order-9 folio).
    """

    class CollapseCreatesLargeFolio(parent):
        async def kvm_gmem_init_inode(self, t: Task, inode: GmemInode) -> None:
            await super().kvm_gmem_init_inode(t, inode)
            inode.folios = PairCache()

        async def collapse_file(self, t: Task, mapping: Any, start: int, end: int) -> int:
            inode = mapping.inode
            for base in range(start & ~1, end - 1, 2):
                await self._collapse_pair(t, inode, base)
            return 0

        async def _collapse_pair(self, t: Task, inode: GmemInode, base: int) -> None:
            old: list[Folio] = []
            for index in (base, base + 1):
                found = await self.filemap_get_folio(t, inode, index, create=False)
                if not isinstance(found, int):
                    old.append(found)
            # In use by somebody else, collapsed already, or nothing to collapse: left as it is.
            free = all(not folio.order and folio.ref == folio.mapcount + 2 for folio in old)
            pfn = self.memory.allocate_huge(1) if old and free else None
            if pfn is None:
                for folio in old:
                    await self.folio_unlock(t, folio)
                    await self.folio_put(t, inode, folio)
                return
            await self.kvm_gmem_invalidate_start(t, inode, base, base + 2, self.invalidate_filter(inode))
            for folio in old:
                if folio.mapcount:
                    await self.unmap_mapping_folio(t, inode, folio)
            if t.traps:
                await t.point(Op("rmw", inode.label, base, base + 2))
            huge = Folio(inode, base, pfn, 1)
            huge.ref = huge.pages
            huge.uptodate = any(folio.uptodate for folio in old)
            for folio in old:
                self.memory.write(pfn + folio.index - base, self.memory.read(folio.pfn))
                self._remove(t, inode, folio)
            inode.folios[base] = huge
            if t.rec is not None:
                t.rec(t, FilemapAdd(base, pfn))
                t.rec(t, PageCacheAdd(base, pfn, 1))
            await self.kvm_gmem_invalidate_end(t, inode, base, base + 2)
            for folio in old:
                await self.folio_unlock(t, folio)
                await self.folio_put(t, inode, folio, 2)

        def free_page(self, t: Task, folio: Folio) -> None:
            if not folio.order:
                super().free_page(t, folio)
                return
            if t.rec is not None:
                t.rec(t, FreePage(folio.pfn))
            self.memory.free_huge(folio.pfn, folio.order)

    return CollapseCreatesLargeFolio


BUGS = (
    bug(
        "collapse-creates-large-folio",
        rules="I6 I2 unexpected_outcome",
        make=collapse_creates_large_folio,
        vm_types=("default",),
        scenario="zoo-collapse",
    ),
)
