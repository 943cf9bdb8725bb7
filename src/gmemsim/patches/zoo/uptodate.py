# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of clearing and of the uptodate flag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors.errno import EINVAL
from ..v3 import V3
from .entry import bug

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemFile, GmemInode
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...actors.vm import Vm
    from ...engine.task import Task


def uptodate_before_prepare(parent: type[Kernel]) -> type[Kernel]:
    """While uptodate meant prepared too: the folio is marked although prepare failed."""

    class UptodateBeforePrepare(parent):
        async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
            if folio.uptodate:
                return 0
            await self.kvm_gmem_clear_folio(t, inode, folio, 1)
            await self.kvm_gmem_mark_uptodate(t, inode, folio)
            ret: int = await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)
            return ret

    return UptodateBeforePrepare


def clear_after_uptodate_race(parent: type[Kernel]) -> type[Kernel]:
    """uptodate is read before the folio lock: two faults both find the page unclear, the second wipes it."""

    class ClearAfterUptodateRace(parent):
        _unclear: dict[Task, bool]

        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self._unclear = {}

        async def kvm_gmem_get_checked_folio(
            self, t: Task, file: GmemFile, slot: Memslot, index: int
        ) -> Folio | int:
            before = file.inode.folios.get(index)
            self._unclear[t] = before is None or not before.uptodate
            found: Folio | int = await super().kvm_gmem_get_checked_folio(t, file, slot, index)
            return found

        async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
            if self._unclear.pop(t, True):
                await self.kvm_gmem_clear_folio(t, inode, folio, 1)
                await self.kvm_gmem_mark_uptodate(t, inode, folio)
            ret: int = await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)
            return ret

    return ClearAfterUptodateRace


def populate_null_src_uninitialised(parent: type[Kernel]) -> type[Kernel]:
    """Faults clear what was never cleared, populate no longer does: without a source it measures what lies there."""

    class PopulateNullSrcUninitialised(parent):
        async def kvm_gmem_populate_one(
            self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, content: str | None
        ) -> int:
            inode = file.inode
            index = slot.index_of(gfn)
            # The look-up as it was before the in-place versions made it clear the page.
            folio = await V3.kvm_gmem_get_checked_folio(self, t, file, slot, index)
            if isinstance(folio, int):
                return folio
            await self.folio_unlock(t, folio)
            private = await self.kvm_gmem_wants_private(t, vm, inode, gfn, index)
            ret: int = await self.post_populate(t, vm, gfn, folio, content) if private else EINVAL
            if ret == 0 and not folio.uptodate:
                await self.kvm_gmem_mark_uptodate(t, inode, folio)
            await self.folio_put(t, inode, folio)
            return ret

    return PopulateNullSrcUninitialised


BUGS = (
    bug(
        "populate-null-src-uninitialised",
        rules="I2",
        make=populate_null_src_uninitialised,
        versions=("inplace-v8", "inplace"),
        vm_types=("snp", "tdx"),
        scenario="zoo-inplace_launch",
    ),
    bug(
        "uptodate-before-prepare",
        rules="I4",
        make=uptodate_before_prepare,
        versions=("baseline",),
        vm_types=("snp",),
        scenario="prepare_fails",
    ),
    bug("clear-after-uptodate-race", rules="I5 I35", make=clear_after_uptodate_race, scenario="same"),
)
