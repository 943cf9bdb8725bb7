# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs that let work go on for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .entry import bug, missing

if TYPE_CHECKING:
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...engine.task import Task

__all__ = ["BUGS"]


def punch_starved_by_faults(parent: type[Kernel]) -> type[Kernel]:
    """The truncation starts again as long as it finds a page, and nothing keeps faults from putting one there."""

    class PunchStarvedByFaults(parent):
        async def truncate_inode_pages_range(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
            await self.kvm_gmem_invalidate_end(t, inode, start, end)
            while True:
                await super().truncate_inode_pages_range(t, inode, start, end)
                if not await self.find_get_entries_left(t, inode, start, end):
                    break
            await self.kvm_gmem_invalidate_start(t, inode, start, end, self.invalidate_filter(inode))

        async def find_get_entries_left(self, t: Task, inode: GmemInode, start: int, end: int) -> bool:
            batch = await self.find_get_entries(t, inode, start, end)
            for folio in batch:
                await self.folio_put(t, inode, folio)
            return bool(batch)

    return PunchStarvedByFaults


BUGS = (
    missing(
        "invalid-slot-treated-as-mmio",
        "an MMIO exit while the slot is deleted cannot be told from the one after the deletion, and slots do not move",
    ),
    missing(
        "pfn-cache-retry-livelock",
        "needs an endless stream of invalidations elsewhere and a bound on retries; runs here are finite",
    ),
    bug(
        "punch-starved-by-faults",
        rules="livelock I19 I18",
        make=punch_starved_by_faults,
        scenario="punch_tight",
        options={"until_rounds": 100_000},
    ),
    missing(
        "rwlock-reader-preference-starves-writer",
        "the rwsem promises a time and no number, and a starved writer needs readers that never stop",
    ),
    missing("rmpupdate-overlap-spin", "needs RMP entries of 2 MiB, which come with huge folios"),
)
