# mypy: disable-error-code="misc"
"""Seeded bugs: populate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .entry import Bug

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.kernel import Kernel
    from ...actors.vm import Vm
    from ...engine.task import Task

__all__ = ["BUGS"]


def populate_without_il(parent: type[Kernel]) -> type[Kernel]:
    """The invalidate lock covers the look-up only, not the callback (review of 2025)."""
    base: Any = parent

    class PopulateWithoutIl(base):
        async def post_populate(self, t: Task, vm: Vm, gfn: int, folio: Folio, content: str | None) -> int:
            lock = self.world.inodes["gmem0"].invalidate_lock
            await lock.up_write(t)
            ret = await super().post_populate(t, vm, gfn, folio, content)
            await lock.down_write(t)
            return cast("int", ret)

    return cast("type[Kernel]", PopulateWithoutIl)


BUGS: tuple[Bug, ...] = (
    Bug(
        id="populate-without-il",
        title="populate() does not hold IL across get_pfn / page_add / mark",
        origin="review-found",
        family="populate",
        source="Yan Zhao 2025-05-21 and 2025-06-03 (",
        parents=("v3",),
        make=populate_without_il,
        arches=("snp",),
        scenario="populate_busy",
        rules=frozenset({"I36"}),
    ),
    Bug(
        id="prefault-before-launch-finish",
        title="Pre-fault prepares (clears + RMP-assigns) a page that LAUNCH_UPDATE still has to populate",
        origin="shipped-bug",
        family="populate",
        source="commit 5932ca411e53 (Paolo, v2 1/14, 2024-07-26)",
        why_not="no variant yet",
    ),
    Bug(
        id="prepare-at-fallocate",
        title="Arch preparation done by fallocate() makes later populate fail",
        origin="shipped-bug",
        family="populate",
        source="commit b85524314a3d (Paolo, v2 7/14, 2024-07-26)",
        why_not="no variant yet",
    ),
    Bug(
        id="cpuid-writeback-to-readonly-pin",
        title="Firmware-corrected CPUID page written back through a read-only GUP pin, not marked dirty",
        origin="shipped-bug",
        family="populate",
        source="f13e90059908, 97cd21d57e9b (2026-05-27, found by Sashiko)",
        why_not="no variant yet",
    ),
)
