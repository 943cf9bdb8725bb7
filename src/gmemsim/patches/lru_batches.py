"""Batches of folios on their way to an LRU list, kept; each task is a CPU of its own.

A conversion drains them before it believes a count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.folio import LRU
from ..actors.mm_locks import folio_batch_move_lru
from ..audit.inplace_events import LruDrain
from ..engine.op import Op

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.inode import GmemInode
    from ..engine.task import Task
    from .inplace_v8 import InplaceV8


def lru_references(self: InplaceV8, folio: Folio) -> int:
    """How many batches hold the folio."""
    return sum(held is folio for batch in self._lru.values() for _, held in batch)


def folio_in_lru_batch(self: InplaceV8, t: Task, folio: Folio) -> bool:
    """Whether a batch holds the folio."""
    return self.lru_references(folio) > 0


async def shake_folio(self: InplaceV8, t: Task, folio: Folio) -> None:
    """`HWPoisonHandlable` wants PG_lru; without it `shake_folio` drains every CPU's batch."""
    if self.lru_references(folio):
        await self.lru_add_drain_all(t)


def folios_in_batches(self: InplaceV8) -> list[tuple[Task, Folio]]:
    """In the order in which they were added, batch by batch."""
    return [(cpu, folio) for cpu, batch in self._lru.items() for _, folio in batch]


async def folio_add_lru(self: InplaceV8, t: Task, inode: GmemInode, folio: Folio) -> None:
    """One more reference, until this CPU's batch is full or drained."""
    folio.ref += 1
    batch = self._lru.setdefault(t, [])
    batch.append((inode, folio))
    if len(batch) >= self.lru_batch:
        await self.lru_add_drain(t)


async def lru_add_drain(self: InplaceV8, t: Task) -> None:
    """The batch of the CPU that this runs on."""
    await self._drain(t, [t], False)


async def lru_add_drain_all(self: InplaceV8, t: Task) -> None:
    """Every CPU's batch: work is queued on each, and waited for."""
    await self._drain(t, list(self._lru), True)


async def _drain(self: InplaceV8, t: Task, cpus: list[Task], everywhere: bool) -> None:
    if t.traps:
        await t.point(Op("rmw", LRU))
    batches = self._lru
    held = [entry for cpu in cpus for entry in batches.pop(cpu, ())]
    if t.rec is not None:
        t.rec(t, LruDrain(everywhere, len(held)))
    if everywhere:
        await t.spend(self.costs.wake * len(cpus))
    await folio_batch_move_lru(t, len(held))
    for inode, folio in held:
        await self.folio_put(t, inode, folio)
