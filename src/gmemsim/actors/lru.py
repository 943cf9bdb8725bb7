"""Folios on their way to an LRU list: each CPU gathers some, and holds a reference of every one (mm/swap.c).

They look like somebody's references until the batches are drained, which is why a conversion drains them before it
believes a count. `filemap_add_folio` ends in `folio_add_lru` in every version.

Versions that convert in place have the batches themselves (`lru_batch` folios, a CPU for every task), read at the
granularity of a step, because their conversions drain them. In the others a host fault on a poisoned page
(`mapping_evict_folio`) is the only one that looks at a count. There a batch is not kept: whatever else the CPU does may
have drained it, so whether it has is drawn when somebody looks, once a folio. A frame that truncation
gives back goes at once there, as if drained (our choice: else no short run would ever use a frame twice).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.inplace_events import LruDrain
from ..engine.op import Op
from .mm_locks import folio_batch_move_lru

if TYPE_CHECKING:
    from ..engine.task import Task
    from .folio import Folio
    from .inode import GmemInode
    from .kernel import Kernel

__all__ = ["LRU"]

#: Object of the steps that look at or change batches.
LRU = "lru.batches"


def lru_batches(self: Kernel) -> dict[Task, list[tuple[GmemInode, Folio]]]:
    """Folios, with the inode they were made for, by the task that made them."""
    return self._lru


def lru_references(self: Kernel, folio: Folio) -> int:
    """How many batches hold the folio."""
    return sum(held is folio for batch in self.lru_batches().values() for _, held in batch)


def folio_in_lru_batch(self: Kernel, t: Task, folio: Folio) -> bool:
    """Known where batches are kept, else drawn; a folio that is on its list stays there."""
    t.saw(LRU)
    if self.lru_batch:
        return self.lru_references(folio) > 0
    if not folio.lru:
        folio.lru = not t.draw("lru.batch", 2)
        t.changed(LRU)
    return not folio.lru


async def shake_folio(self: Kernel, t: Task, folio: Folio) -> None:
    """`HWPoisonHandlable` wants PG_lru; without it `shake_folio` drains every CPU's batch."""
    t.saw(LRU)
    if self.lru_batch and self.lru_references(folio):
        await self.lru_add_drain_all(t)
    elif not self.lru_batch and not folio.lru:
        if t.traps:
            await t.point(Op("rmw", LRU))
        folio.lru = True


def folios_in_batches(self: Kernel) -> list[tuple[Task, Folio]]:
    """In the order in which they were added, batch by batch."""
    return [(cpu, folio) for cpu, batch in self.lru_batches().items() for _, folio in batch]


async def folio_add_lru(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> None:
    """One more reference, until this CPU's batch is full or drained."""
    if t.traps:
        t.changed(LRU)
    folio.ref += 1
    batch = self.lru_batches().setdefault(t, [])
    batch.append((inode, folio))
    if len(batch) >= self.lru_batch:
        await self.lru_add_drain(t)


async def lru_add_drain(self: Kernel, t: Task) -> None:
    """The batch of the CPU that this runs on."""
    await self._drain(t, [t], False)


async def lru_add_drain_all(self: Kernel, t: Task) -> None:
    """Every CPU's batch: work is queued on each, and waited for."""
    await self._drain(t, list(self.lru_batches()), True)


async def _drain(self: Kernel, t: Task, cpus: list[Task], everywhere: bool) -> None:
    if t.traps:
        await t.point(Op("rmw", LRU))
    batches = self.lru_batches()
    held = [entry for cpu in cpus for entry in batches.pop(cpu, ())]
    if t.rec is not None:
        t.rec(t, LruDrain(everywhere, len(held)))
    if everywhere:
        await t.spend(self.costs.wake * len(cpus))
    await folio_batch_move_lru(t, len(held))
    for inode, folio in held:
        await self.folio_put(t, inode, folio)
