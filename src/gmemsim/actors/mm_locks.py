"""What a page-cache folio costs in mm beside the work itself: short locks and per-CPU stocks (`Engine.cpus` only).

A new folio takes a page from its CPU's list, which is refilled with the zone locked; it is charged to a memory cgroup
out of its CPU's stock, which is refilled from a counter that all CPUs share; it is entered with i_pages locked; and it
is one of a batch that goes to the LRU with the lruvec locked. A HugeTLB folio comes out of a pool under hugetlb_lock,
is neither charged here nor on an LRU, and is entered in the same way. Freeing a page is not charged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..arch.platform_costs import platform_costs

if TYPE_CHECKING:
    from ..engine.cpus import Cpus
    from ..engine.task import Task
    from .inode import GmemInode

#: Pages of a refill: `zone_batchsize` of a zone of 64 GiB and more.
PCP_BATCH: Final = 63
#: Pages of a stock: `MEMCG_CHARGE_BATCH`.
MEMCG_BATCH: Final = 64
#: Folios of a batch: `PAGEVEC_SIZE`.
LRU_BATCH: Final = 31
#: Classes of the short spinlocks.
SHORT_LOCKS: Final = ("hugetlb_lock", "i_pages", "lruvec_lock", "zone_lock")


async def allocated(t: Task) -> None:
    """One page came from the allocator."""
    cpus = t.engine.cpus
    if cpus is not None and cpus.empty("pcp", t.cpu, PCP_BATCH):
        await rmqueue_bulk(t, cpus)


async def inserted(t: Task, inode: GmemInode, *, hugetlb: bool = False) -> None:
    """A folio is about to enter the page cache: `filemap_add_folio`."""
    cpus = t.engine.cpus
    if cpus is None:
        return
    if hugetlb:
        await dequeue_hugetlb_folio(t, cpus)
    else:
        await try_charge_memcg(t, cpus)
    await __filemap_add_folio(t, cpus, inode)


async def added_to_lru(t: Task) -> None:
    """`folio_add_lru` of a version that keeps no batches (`lru.py`): now and then one is full."""
    cpus = t.engine.cpus
    if cpus is not None and cpus.empty("lru", t.cpu, LRU_BATCH):
        await folio_batch_move_lru(t, LRU_BATCH)


# The functions that take the locks, by their names in the kernel, as perf shows them.


async def rmqueue_bulk(t: Task, cpus: Cpus) -> None:
    """The CPU's list is filled from the zone of its node."""
    zone = cpus.section(f"zone{cpus.socket(t.cpu)}.lock", "zone_lock")
    await zone.run(t, platform_costs(t).pcp_refill)


async def dequeue_hugetlb_folio(t: Task, cpus: Cpus) -> None:
    """A huge page out of the pool."""
    await t.spend(platform_costs(t).alloc_2m)
    await cpus.section("hugetlb_lock", "hugetlb_lock").run(t, platform_costs(t).hugetlb_lock)


async def try_charge_memcg(t: Task, cpus: Cpus) -> None:
    """A page out of the CPU's stock, which is filled from the counter of the cgroup."""
    costs = platform_costs(t)
    ns = costs.memcg_charge
    if cpus.empty("memcg", t.cpu, MEMCG_BATCH):
        ns += cpus.reach(t, cpus.line("memcg"), "memcg counter", costs.atomic)
    await t.spend(ns)


async def __filemap_add_folio(t: Task, cpus: Cpus, inode: GmemInode) -> None:
    """The entry, with i_pages locked."""
    await cpus.section(f"{inode.label}.i_pages", "i_pages").run(t, platform_costs(t).xa_store)


async def folio_batch_move_lru(t: Task, folios: int) -> None:
    """A batch to the LRU."""
    cpus = t.engine.cpus
    if cpus is not None and folios:
        await cpus.section("lruvec", "lruvec_lock").run(t, platform_costs(t).lru_add * folios)


async def delete_from_page_cache_batch(t: Task, inode: GmemInode, folios: int) -> None:
    """So many folios leave the page cache in one section of its lock."""
    cpus = t.engine.cpus
    if cpus is not None:
        i_pages = cpus.section(f"{inode.label}.i_pages", "i_pages")
        await i_pages.run(t, platform_costs(t).xa_delete * folios)
