# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of other file systems' hole punching, where the invalidate lock comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .entry import bug, missing

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...engine.task import Task

__all__ = ["BUGS"]


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


BUGS = (
    missing(
        "punch-no-lock-vs-fault",
        "faults of these versions take no invalidate lock: folio lock and sequence order them against punches",
    ),
    missing(
        "side-path-skips-invalidate-lock",
        "guest_memfd has no blocks behind its pages: a page that is put into a hole is cleared at its first fault",
    ),
    bug(
        "fault-between-unmap-and-remove",
        rules="I8 I19 I24",
        make=fault_between_unmap_and_remove,
        arches=("default",),
        scenario="mmap_punch",
    ),
)
