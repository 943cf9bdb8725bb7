"""Folios on their way to an LRU list: each CPU gathers some, and holds a reference of every one (mm/swap.c).

They look like somebody's references until the batches are drained, which is why a conversion drains them before it
believes a count. `filemap_add_folio` ends in `folio_add_lru` in every version.

Versions that convert in place keep the batches themselves (`patches/lru_batches.py`), because their conversions drain
them. In the others, here, a host fault on a poisoned page (`mapping_evict_folio`) is the only one that looks at a
count. There a batch is not kept: whatever else the CPU does may have drained it, so whether it has is drawn when
somebody looks, once a folio. A frame that truncation gives back goes at once there, as if drained (our choice: else no
short run would ever use a frame twice).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.op import Op
from .folio import LRU
from .mm_locks import added_to_lru

if TYPE_CHECKING:
    from ..engine.task import Task
    from .folio import Folio
    from .inode import GmemInode
    from .kernel import Kernel


def lru_references(self: Kernel, folio: Folio) -> int:
    """References that batches hold, as far as they are kept: none."""
    return 0


def folios_in_batches(self: Kernel) -> list[tuple[Task, Folio]]:
    """Folios that batches hold, as far as they are kept, with the task on whose CPU the batch is."""
    return []


def folio_in_lru_batch(self: Kernel, t: Task, folio: Folio) -> bool:
    """Drawn; a folio that is on its list stays there."""
    if not folio.lru:
        folio.lru = not t.draw("lru.batch", 2)
    return not folio.lru


async def shake_folio(self: Kernel, t: Task, folio: Folio) -> None:
    """`HWPoisonHandlable` wants PG_lru; without it `shake_folio` drains every CPU's batch."""
    if not folio.lru:
        if t.traps:
            await t.point(Op("rmw", LRU))
        folio.lru = True


async def folio_add_lru(self: Kernel, t: Task, inode: GmemInode, folio: Folio) -> None:
    """A batch is not kept, but it takes its time."""
    if t.engine.cpus is not None:
        await added_to_lru(t)


async def lru_add_drain_all(self: Kernel, t: Task) -> None:
    """There is nothing that would have to be given back."""
