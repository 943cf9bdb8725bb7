# mypy: disable-error-code="misc"
"""Seeded bugs: uptodate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .entry import Bug

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...actors.vm import Vm
    from ...engine.task import Task

__all__ = ["BUGS"]


def uptodate_before_prepare(parent: type[Kernel]) -> type[Kernel]:
    """The folio is marked although prepare failed (d04c77d23122)."""
    base: Any = parent

    class UptodateBeforePrepare(base):
        async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
            if folio.uptodate:
                return 0
            await self.kvm_gmem_clear_folio(t, inode, folio, 1)
            await self.kvm_gmem_mark_uptodate(t, inode, folio)
            return cast("int", await self.kvm_gmem_prepare_folio(t, vm, folio, gfn))

    return cast("type[Kernel]", UptodateBeforePrepare)


BUGS: tuple[Bug, ...] = (
    Bug(
        id="collapse-creates-large-folio",
        title="khugepaged/MADV_COLLAPSE installs a large folio in a 4K-only guest_memfd",
        origin="shipped-bug",
        family="uptodate",
        source="syzbot 33a04338019ac7e43a44 (2026-01-30)",
        why_not="no variant yet",
    ),
    Bug(
        id="populate-null-src-uninitialised",
        title="in-place populate with src == NULL adds a never-initialised page",
        origin="review-found",
        family="uptodate",
        source="Sashiko on v7, discussed by Ackerley/Yan/Sean 2026-06-22..26",
        why_not="no variant yet",
    ),
    Bug(
        id="uptodate-before-prepare",
        title="Folio marked uptodate before arch_prepare() succeeded",
        origin="shipped-bug",
        family="uptodate",
        source="commit d04c77d23122 (Paolo, v2 3/14, 2024-07-26)",
        parents=("baseline",),
        make=uptodate_before_prepare,
        arches=("snp",),
        scenario="prepare_fails",
        rules=frozenset({"I4"}),
    ),
    Bug(
        id="clear-after-uptodate-race",
        title="Two faults both see !uptodate because the flag is tested without the folio lock",
        origin="guard-mutant",
        family="uptodate",
        source="Reason for (kvm_gmem_get_folio comment)",
        why_not="no variant yet",
    ),
)
