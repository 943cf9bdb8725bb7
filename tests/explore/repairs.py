"""Versions without what they are known for, for tests that look for something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmemsim.actors.folio import Folio
    from gmemsim.actors.inode import GmemInode
    from gmemsim.actors.kernel import Kernel
    from gmemsim.engine.task import Task

__all__ = ["without_abba"]


def without_abba(cls: type[Kernel]) -> type[Kernel]:
    """The folio lock is dropped around the error hook: ends `memory-failure-against-punch`.

    No repair for a kernel: unbinding could come in between.
    """

    class Repaired(cls):  # type: ignore[misc, valid-type] # the base is a value
        async def kvm_gmem_error_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
            await self.folio_unlock(t, folio)
            await super().kvm_gmem_error_folio(t, inode, folio)
            await folio.lock.lock(t)

    return Repaired
