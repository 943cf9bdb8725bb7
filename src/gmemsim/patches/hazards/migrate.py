# mypy: disable-error-code="misc,valid-type"
"""Migration of folios of guest_memfds without confidential content (RFC of 2026-06-11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.errno import EAGAIN, ENOMEM
from ...actors.folio import Folio
from ...arch.memory import FRAMES
from ...audit.kvm_events import FilemapAdd, PageCacheAdd
from ...engine.op import Op
from .entry import Case, Hazard

if TYPE_CHECKING:
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...engine.task import Task


def migrate_folios(parent: type[Kernel]) -> type[Kernel]:
    """As proposed: the invalidate lock tried shared, the folio locked, begin and end around unmapping and copy.

    A folio with references beyond the page cache's and the migration's own stays where it is (-EAGAIN), as in
    `folio_ref_freeze` of the core; so does one whose file is busy.
    """

    class MigrateFolios(parent):
        migrate_locks = True
        migrate_invalidates = True

        async def kvm_gmem_migrate_folio(self, t: Task, inode: GmemInode, index: int) -> int:
            lock = inode.invalidate_lock
            # Folios on their way to an LRU list have a reference that nobody would give up otherwise.
            await self.lru_add_drain_all(t)
            if self.migrate_locks and not await lock.down_read_trylock(t):
                return EAGAIN
            folio = await self.filemap_get_folio(t, inode, index, create=False)
            ret = folio if isinstance(folio, int) else await self._migrate(t, inode, folio)
            if self.migrate_locks:
                await lock.up_read(t)
            return ret

        async def _migrate(self, t: Task, inode: GmemInode, folio: Folio) -> int:
            index = folio.index
            if folio.mapcount:
                await self.unmap_mapping_folio(t, inode, folio)
            if self.migrate_invalidates:
                await self.kvm_gmem_invalidate_start(
                    t, inode, index, index + 1, self.invalidate_filter(inode)
                )
            ret = await self._move(t, inode, folio)
            if self.migrate_invalidates:
                await self.kvm_gmem_invalidate_end(t, inode, index, index + 1)
            await self.folio_unlock(t, folio)
            await self.folio_put(t, inode, folio)
            return ret

        async def _move(self, t: Task, inode: GmemInode, folio: Folio) -> int:
            index = folio.index
            pfn = self.memory.allocate()
            if pfn is None:
                return ENOMEM
            new = Folio(inode, index, pfn)
            new.uptodate = folio.uptodate
            if t.traps:
                await t.point(Op("rmw", inode.ref_label, index, index + 1))
            if folio.poisoned or folio.ref != folio.pages + 1:
                self.memory.free(pfn)
                return EAGAIN
            # The references are frozen from here to the insertion; the copy comes behind it, as in the core.
            if t.traps:
                await t.point(Op("rmw", inode.label, index, index + 1))
            self._remove(t, inode, folio)
            new.lock.take_new(t)
            inode.folios[index] = new
            if t.rec is not None:
                t.rec(t, FilemapAdd(index, pfn))
                t.rec(t, PageCacheAdd(index, pfn, 0))
            folio.ref -= folio.pages
            if t.traps:
                await t.point(Op("rmw", FRAMES, pfn, pfn + 1))
            if folio.uptodate:
                self.memory.write(pfn, self.memory.read(folio.pfn))
            await self.folio_unlock(t, new)
            return 0

    return MigrateFolios


def migrate_without_lock(parent: type[Kernel]) -> type[Kernel]:
    """The folio lock alone, and begin and end."""

    class MigrateWithoutLock(migrate_folios(parent)):
        migrate_locks = False

    return MigrateWithoutLock


def migrate_without_invalidation(parent: type[Kernel]) -> type[Kernel]:
    """Host mappings go, the guest's are forgotten."""

    class MigrateWithoutInvalidation(migrate_folios(parent)):
        migrate_invalidates = False

    return MigrateWithoutInvalidation


SEEDS = {
    "migrate-folios": migrate_folios,
    "migrate-without-invalidation": migrate_without_invalidation,
    "migrate-without-lock": migrate_without_lock,
}


HAZARDS = (
    Hazard(
        name="11",
        title="Migration of folios",
        question="RFC of 2026-06-11, for VMs without confidential memory: filemap_invalidate_trylock_shared, and "
        "begin and end around the copy. Two that hold the lock shared can invalidate at once.",
        cases=(
            Case(
                says="as it is: the core is refused",
                scenario="zoo-migrate",
                vm_types=("default",),
            ),
            Case(
                says="as proposed, two migrations beside vCPU, host and PUNCH_HOLE",
                seed="migrate-folios",
                scenario="zoo-migrate",
                vm_types=("default",),
                counts={"pages moved": "operation:migrate=ok"},
            ),
            Case(
                says="as proposed, while a slot is deleted and made again",
                seed="migrate-folios",
                scenario="zoo-migrate_unbind",
                vm_types=("default",),
            ),
            Case(
                says="the folio lock alone, beside vCPU, host and PUNCH_HOLE",
                seed="migrate-without-lock",
                scenario="zoo-migrate",
                vm_types=("default",),
            ),
            Case(
                says="the folio lock alone, while a slot is deleted and made again",
                seed="migrate-without-lock",
                scenario="zoo-migrate_unbind",
                vm_types=("default",),
                violated={"*": "I15 model_error"},
            ),
            Case(
                says="no begin and end",
                seed="migrate-without-invalidation",
                scenario="zoo-migrate",
                vm_types=("default",),
                violated={"*": "I19"},
            ),
        ),
        answer="As proposed it holds: two that invalidate at once share one count and one range, which is what these "
        "are made for, and the sequence turns a vCPU away that found the old page. Pages do not need the invalidate "
        "lock for that; bindings do, which must not change between begin and end. A folio on its way to an LRU list "
        "has a reference that stops the migration until the batches are drained.",
    ),
)
