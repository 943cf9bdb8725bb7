# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of other file systems' hole punching, where the invalidate lock comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.errno import EFAULT, ENOMEM
from ...actors.gmem_user_fault import SIGBUS
from .entry import bug, missing

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...actors.vm import Vm
    from ...engine.task import Task


def fault_between_unmap_and_remove(parent: type[Kernel]) -> type[Kernel]:
    """Host mappings of the range go once, before any folio is locked; a page that was faulted back stays mapped."""

    class FaultBetweenUnmapAndRemove(parent):
        async def truncate_inode_pages_range(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
            for index in self.indices(inode, start, end):
                folio = inode.folios.get(index)
                if folio is not None and folio.mapcount:
                    await folio.lock.lock(t)
                    await super().unmap_mapping_folio(t, inode, folio)
                    await self.folio_unlock(t, folio)
            await super().truncate_inode_pages_range(t, inode, start, end)

        async def unmap_mapping_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
            """Done already, it is thought."""

    return FaultBetweenUnmapAndRemove


def punch_no_lock_vs_fault(parent: type[Kernel]) -> type[Kernel]:
    """The invalidate lock is gone from hole punching and from both kinds of fault; sequence and folio lock stay.

    Faults and punches are still kept apart, as in the versions before conversion in place. What breaks is that
    bindings may change between begin and end of a punch.
    """

    class PunchNoLockVsFault(parent):
        async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
            end = min(end, inode.pages)
            if start < end:
                await self.kvm_gmem_invalidate_start(t, inode, start, end, self.invalidate_filter(inode))
                await self.truncate_inode_pages_range(t, inode, start, end)
                await self.kvm_gmem_invalidate_end(t, inode, start, end)
            return 0

        async def kvm_gmem_get_file_pfn(
            self, t: Task, vm: Vm, slot: Memslot, gfn: int, index: int
        ) -> tuple[int, Folio | None]:
            file = await self.get_file_active(t, slot.gmem_file)
            if file is None:
                return EFAULT, None
            found: tuple[int, Folio | None] = await self.kvm_gmem_get_locked_pfn(
                t, vm, file, slot, gfn, index
            )
            await self.fput_later(t, file)
            return found

        async def kvm_gmem_user_fault_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | str:
            if await self.kvm_gmem_is_private(t, inode, index):
                return SIGBUS
            found: Folio | int = await self.kvm_gmem_get_folio(t, inode, index)
            if not isinstance(found, int):
                return found
            return "oom" if found == ENOMEM else SIGBUS

    return PunchNoLockVsFault


BUGS = (
    bug(
        "punch-no-lock-vs-fault",
        rules="I15 I54",
        make=punch_no_lock_vs_fault,
        versions=("inplace-v8", "inplace"),
        scenario="zoo-lifecycle",
    ),
    missing(
        "side-path-skips-invalidate-lock",
        "guest_memfd has no blocks behind its pages: a page that is put into a hole is cleared at its first fault",
    ),
    bug(
        "fault-between-unmap-and-remove",
        rules="I8 I19 I24",
        make=fault_between_unmap_and_remove,
        vm_types=("default",),
        scenario="mmap_punch",
    ),
)
