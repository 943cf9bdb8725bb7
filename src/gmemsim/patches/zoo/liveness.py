"""Seeded bugs: liveness."""

from __future__ import annotations

from .entry import Bug

__all__ = ["BUGS"]


BUGS: tuple[Bug, ...] = (
    Bug(
        id="pfn-cache-retry-livelock",
        title="Retry loop backs off while *any* invalidation runs, or invalidates itself",
        origin="shipped-bug",
        family="liveness",
        source="David Woodhouse pfncache series",
        why_not="no variant yet",
    ),
    Bug(
        id="rmpupdate-overlap-spin",
        title="RMPUPDATE retried unconditionally on FAIL_OVERLAP",
        origin="source-derived",
        family="liveness",
        source="Code",
        why_not="no variant yet",
    ),
    Bug(
        id="punch-starved-by-faults",
        title="Readers faulting into the hole keep hole-punch from completing; the writer lock blocks everyone",
        origin="shipped-bug",
        family="liveness",
        source="CVE-2014-4171",
        why_not="no variant yet",
    ),
    Bug(
        id="rwlock-reader-preference-starves-writer",
        title="New readers pass a waiting writer; spinner bit cleared by the last reader",
        origin="shipped-bug",
        family="liveness",
        source="FreeBSD 9feec7ef697b ()",
        why_not="no variant yet",
    ),
)
