"""Seeded bugs: errno."""

from __future__ import annotations

from .entry import Bug

__all__ = ["BUGS"]


BUGS: tuple[Bug, ...] = (
    Bug(
        id="mf-delayed-treated-as-failure",
        title="MF_DELAYED from guest_memfd is turned into -EBUSY + SIGBUS",
        origin="shipped-bug",
        family="errno",
        source="Lisa Wang RFC (2025-10-15)",
        why_not="no variant yet",
    ),
    Bug(
        id="direct-map-zap-error-ignored",
        title="get_pfn ignores a failed direct-map removal",
        origin="review-found",
        family="errno",
        source="Same v8 patch",
        why_not="no variant yet",
    ),
)
