"""Seeded bugs: mm."""

from __future__ import annotations

from .entry import Bug

__all__ = ["BUGS"]


BUGS: tuple[Bug, ...] = (
    Bug(
        id="punch-no-lock-vs-fault",
        title="Hole punch and page fault share no lock (the bug that created invalidate_lock)",
        origin="shipped-bug",
        family="mm",
        source="commit ea3d7209ca01 (Jan Kara, 2015-12)",
        why_not="no variant yet",
    ),
    Bug(
        id="side-path-skips-invalidate-lock",
        title="Punch vs fault is locked, but read/readahead also instantiates pages without the lock",
        origin="shipped-bug",
        family="mm",
        source="commits d4f5258eae7b, 730633f0b7f9 (hash from memory)",
        why_not="no variant yet",
    ),
    Bug(
        id="fault-between-unmap-and-remove",
        title="Page faulted back between the range unmap and the page-cache removal",
        origin="shipped-bug",
        family="mm",
        source="commit 4aae8d1c051e (2015-11)",
        why_not="no variant yet",
    ),
)
