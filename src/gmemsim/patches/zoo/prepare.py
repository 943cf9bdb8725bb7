"""Seeded bugs: prepare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .entry import Bug

if TYPE_CHECKING:
    from ...actors.kernel import Kernel

__all__ = ["BUGS"]


def unchanged(parent: type[Kernel]) -> type[Kernel]:
    """The version as it is."""
    return parent


BUGS: tuple[Bug, ...] = (
    Bug(
        id="fault-recreates-page-in-punched-hole",
        title="Fault prepares and inserts a page after PUNCH_HOLE of the same index",
        origin="documented-benign",
        family="prepare",
        source="commit b85524314a3d message",
        parents=("v3",),
        make=unchanged,
        arches=("sw-protected",),
        scenario="punch",
    ),
    Bug(
        id="prepare-outside-folio-lock",
        title="SNP prepare is check-then-act (RMP lookup, then rmp_make_private) and runs outside the folio lock",
        origin="guard-mutant",
        family="prepare",
        source="sev_gmem_prepare() source (torvalds 0097f9df996f)",
        why_not="no variant yet",
    ),
)
