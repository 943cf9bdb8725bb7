"""Seeded bugs: lock-order."""

from __future__ import annotations

from .entry import Bug

__all__ = ["BUGS"]


BUGS: tuple[Bug, ...] = (
    Bug(
        id="populate-nested-invalidate-lock",
        title="populate() holds IL and its TDX callback re-enters get_pfn() which takes IL",
        origin="review-found",
        family="lock-order",
        source="Yan Zhao 2025-03-14 () and 2025-04-07 call chain, on (Michael Roth RFC 3/5 2024-12-12)",
        why_not="no variant yet",
    ),
    Bug(
        id="populate-mmap-lock-abba",
        title="populate() GUPs the source page under IL; user faults take mmap_lock then IL",
        origin="review-found",
        family="lock-order",
        source="commit 2a62345b3052 (Michael Roth v3 7/.. 2026-01-08, 6.20 merge 9123c5f956b1:)",
        why_not="no variant yet",
    ),
    Bug(
        id="prefault-vs-memslot-delete",
        title="Pre-fault spins on an INVALID memslot while holding SRCU; deletion waits for SRCU",
        origin="shipped-bug",
        family="lock-order",
        source="commit 3ccbf6f47098 (Sean",
        why_not="no variant yet",
    ),
    Bug(
        id="tdx-local-retry-vs-memslot-delete",
        title="TDX anti-zero-step local retry never leaves KVM, so SRCU is never released",
        origin="shipped-bug",
        family="lock-order",
        source="commit 2bc2694fe20b (2025-08-22",
        why_not="no variant yet",
    ),
    Bug(
        id="madvise-remove-abba",
        title="mmap_sem -> i_mutex in madvise, i_mutex -> mmap_sem in write()",
        origin="shipped-bug",
        family="lock-order",
        source="commit (4879e0dfe9c9 backport, Hugh Dickins 2007)",
        why_not="no variant yet",
    ),
)
