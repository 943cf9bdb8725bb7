"""Folios on their way to an LRU list: each CPU gathers some, and holds a reference of every one (mm/swap.c).

They look like somebody's references until the batches are drained, which is why a conversion drains them before it
believes a count. The model gives every task a CPU of its own, and reads the batches at the granularity of a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..audit.inplace_events import LruDrain
from ..engine.op import Op
from .memory_failure import MemoryFailures

if TYPE_CHECKING:
    from ..engine.task import Task
    from .folio import Folio
    from .inode import GmemInode

__all__ = ["LRU", "LruBatches"]

#: Object of the steps that look at or change batches.
LRU = "lru.batches"


class LruBatches(MemoryFailures):
    """Batches by task.

    Attributes:
        lru_batch: folios that a batch holds before it empties itself; 0: folios never enter one, as if a drain
            came at once (A..D are modelled so: nothing there looks at counts).
    """

    lru_batch: ClassVar[int] = 31

    def lru_batches(self) -> dict[Task, list[tuple[GmemInode, Folio]]]:
        """Folios, with the inode they were made for, by the task that made them."""
        found: dict[Task, list[tuple[GmemInode, Folio]]] = self.__dict__.setdefault("_lru", {})
        return found

    def lru_references(self, folio: Folio) -> int:
        """How many batches hold the folio."""
        return sum(held is folio for batch in self.lru_batches().values() for _, held in batch)

    def folios_in_batches(self) -> list[tuple[Task, Folio]]:
        """In the order in which they were added, batch by batch."""
        return [(cpu, folio) for cpu, batch in self.lru_batches().items() for _, folio in batch]

    async def filemap_create_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | int:
        """`filemap_add_folio` ends in `folio_add_lru`. Reclaim drains every batch before memory runs out."""
        if self.lru_batch and self.memory.in_use >= self.memory.limit:
            await self.lru_add_drain_all(t)
        folio = await super().filemap_create_folio(t, inode, index)
        if not isinstance(folio, int) and self.lru_batch:
            await self.folio_add_lru(t, inode, folio)
        return folio

    async def folio_add_lru(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        """One more reference, until this CPU's batch is full or drained."""
        if t.traps:
            t.touch(folio.ref_op)
            t.changed(LRU)
        folio.ref += 1
        batch = self.lru_batches().setdefault(t, [])
        batch.append((inode, folio))
        if len(batch) >= self.lru_batch:
            await self.lru_add_drain(t)

    async def lru_add_drain(self, t: Task) -> None:
        """The batch of the CPU that this runs on."""
        await self._drain(t, [t], False)

    async def lru_add_drain_all(self, t: Task) -> None:
        """Every CPU's batch: work is queued on each, and waited for."""
        await self._drain(t, list(self.lru_batches()), True)

    async def _drain(self, t: Task, cpus: list[Task], everywhere: bool) -> None:
        if t.traps:
            await t.point(Op("rmw", LRU))
        batches = self.lru_batches()
        held = [entry for cpu in cpus for entry in batches.pop(cpu, ())]
        if t.rec is not None:
            t.rec(t, LruDrain(everywhere, len(held)))
        if everywhere:
            await t.spend(self.costs.wake * len(cpus))
        for inode, folio in held:
            await self.folio_put(t, inode, folio)

    async def memory_failure(self, t: Task, inode: GmemInode, index: int) -> int:
        """Drains before it takes its reference (§4.11 steps 3 and 4, here once, at the beginning)."""
        await self.lru_add_drain_all(t)
        return await super().memory_failure(t, inode, index)
