"""The full cost table: what CPUs pay for sharing memory, beside the work itself.

`CostTable` charges a lock only for those who wait. `PlatformCosts` also charges uncontended lock operations, the cache
lines of locks and counters, the short spinlocks of mm, and interrupts, wherever the kernel pays them (`engine/cpus.py`
says how). The values of a machine are data: `platforms/NAME.toml`, or a file of the user's own (`cost_file.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ..engine.cpus import Cpus
from .costs import CostTable, ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..engine.task import Task


@attrs.frozen
class PlatformCosts(CostTable):
    """Virtual ns per step; the defaults are a machine of no name. Pairs are of lock and unlock, on a line at hand."""

    # -- CPUs and lines ----------------------------------------------------------------------------
    #: Moving a contended line from a CPU of another socket.
    line_remote: int = ns(200, 120, 300, "arch.md 6.4 (generic): 150 to 250 across sockets", "E")
    #: A locked operation on a line at hand.
    atomic: int = ns(6, 4, 10, "arch.md 6.4 (generic): lone atomic 4.8 to 7 ns, measured", "C")
    #: Lock + unlock of an rwsem.
    rwsem: int = ns(15, 10, 20, "arch.md 6.4 (generic), measured", "C")
    #: Lock + unlock of a mutex.
    mutex: int = ns(15, 10, 25, "no source; two locked operations, as an rwsem", "E")
    #: Lock + unlock of a spinlock or rwlock.
    spinlock: int = ns(12, 8, 20, "no source; two locked operations at most", "E")
    #: Lock + unlock of a folio lock.
    folio_lock: int = ns(15, 10, 20, "arch.md 6.4 (generic)", "E")
    #: srcu_read_lock + unlock: per-CPU, no line moves.
    srcu: int = ns(10, 5, 15, "arch.md 6.4 (generic)", "E")
    #: What an IPI takes from the CPU that it interrupts, a TLB flush included.
    ipi_receive: int = ns(1000, 500, 2000, "arch.md 6.4 (generic): half of a round trip of 1 to 3 µs", "E")

    # -- page cache and allocator ------------------------------------------------------------------
    #: Inserting a folio with i_pages locked: `__filemap_add_folio`.
    xa_store: int = ns(
        150, 60, 300, "no source; batching it saves 93 ns a page (lkml 2501.1/04717: 73 ms of 3 GiB)", "B"
    )
    #: Removing a folio with i_pages locked: `page_cache_delete`.
    xa_delete: int = ns(80, 30, 200, "no source; half of an insertion", "E")
    #: Refilling a CPU's list of free pages (`PCP_BATCH` of them) with the zone locked: `rmqueue_bulk`.
    pcp_refill: int = ns(2000, 600, 4000, "no source; 63 struct pages, each a cache miss or less", "E")
    #: Taking one huge page out of a pool with hugetlb_lock held.
    hugetlb_lock: int = ns(150, 50, 400, "no source; two lists and a subpool's counters", "E")
    #: Charging a folio to its memory cgroup out of this CPU's stock.
    memcg_charge: int = ns(25, 10, 60, "no source; per-CPU counters, two of them statistics", "E")
    #: Adding a folio to the LRU with the lruvec locked, in batches of `LRU_BATCH`.
    lru_add: int = ns(25, 10, 60, "no source; one list", "E")

    def clear(self, pages: int) -> int:
        """Clearing so many pages of 4K, whole 2M pages at their own rate."""
        huge, small = divmod(pages, 512)
        return self.clear_2m * huge + self.clear_4k * small


#: What the full table charges and `CostTable` does not, for people.
CHARGED: Final = (
    "uncontended rwsem, mutex, spinlock, rwlock, folio lock and SRCU",
    "hand-over of queued spinlocks and rwlocks",
    "cache lines of locks (writers and spinners too), f_count, folio and its references, SPTEs",
    "page-cache lock (i_pages)",
    "zone lock, hugetlb_lock, memory cgroup, lruvec lock",
    "interrupts on the CPUs that a TLB shootdown reaches",
    "distance of a second socket",
)

#: What no table charges, for people.
NEVER_CHARGED: Final = (
    "timer interrupts, preemption, SMT, frequency",
    "bandwidth of memory and of the interconnect, distance of memory",
    "TLB misses and page walks after a flush",
    "freeing of pages, interrupts of firmware",
    "the guest's own locks (except in accept-serial)",
)


def platform_costs(t: Task) -> PlatformCosts:
    """The full table of a run that has `Engine.cpus`."""
    cpus = t.engine.cpus
    assert cpus is not None
    costs = cpus.costs
    assert isinstance(costs, PlatformCosts)
    return costs


def uncharged(costs: CostTable) -> tuple[str, ...]:
    """What a run with this table does not charge, for people."""
    return NEVER_CHARGED if isinstance(costs, PlatformCosts) else (*CHARGED, *NEVER_CHARGED)


def cpus_of(costs: CostTable, count: int, sockets: int = 1) -> Cpus | None:
    """The machine of a run with this table: `count` CPUs on `sockets`; None if it charges nothing of the kind."""
    return Cpus(costs, count, sockets) if isinstance(costs, PlatformCosts) else None


def changed(costs: CostTable, changes: Mapping[str, int]) -> CostTable:
    """`CostTable.replace` without the entries that this table does not have."""
    return costs.replace(**{name: value for name, value in changes.items() if name in costs.names()})
