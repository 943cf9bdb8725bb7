"""Seeded bugs: rwsem."""

from __future__ import annotations

from .entry import Bug

__all__ = ["BUGS"]


BUGS: tuple[Bug, ...] = (
    Bug(
        id="rwsem-handoff-double-clear",
        title="HANDOFF bit subtracted twice using a state variable read outside the lock",
        origin="shipped-bug",
        family="rwsem",
        source="commit d257cc8cb8d5 (Waiman Long 2021-11",
        why_not="no variant yet",
    ),
    Bug(
        id="rwsem-inherited-handoff-blocks",
        title="Non-first writer yields to a handoff bit nobody will consume",
        origin="shipped-bug",
        family="rwsem",
        source="commit 6eebd5fb2083 (Waiman Long 2022-06-22",
        why_not="no variant yet",
    ),
    Bug(
        id="rwsem-cancelled-writer-blocks-readers",
        title="Cancelled head writer does not wake the readers queued behind it",
        origin="shipped-bug",
        family="rwsem",
        source="1ee326196c66 context ( rwsem_del_wake_waiter, 2022-03-22) and 2016 killable discussion",
        why_not="no variant yet",
    ),
    Bug(
        id="rwlock-writer-unlock-wakes-one",
        title="Writer unlock wakes one waiter when several readers wait",
        origin="shipped-bug",
        family="rwsem",
        source="musl b85fec2ded3f ()",
        why_not="no variant yet",
    ),
    Bug(
        id="rwlock-waiters-flag-leak",
        title="Interrupted reader leaves READ_WAITERS set; unlock then never wakes writers",
        origin="shipped-bug",
        family="rwsem",
        source="FreeBSD rS304808 (PR 211947)",
        why_not="no variant yet",
    ),
)
