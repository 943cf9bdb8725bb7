"""What the huge page series does differently, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.model.rig import BASE, names, only
from tests.model.test_hugepage import GIB, HUGE, GibRig, HugeRig

from gmemsim.actors.errno import EEXIST
from gmemsim.actors.gmem_populate import Source
from gmemsim.arch.memory import STALE, ZERO, data
from gmemsim.audit.kvm_events import Clear, MakePrivate, PopulateCallback, SetUptodate
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import StepLimit
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.patches.hugepage import Hugepage
from gmemsim.patches.hugepage_variants import (
    HugepageNotifier,
    HugepagePopulate,
    HugepageStaged,
    HugepageTracked,
)

if TYPE_CHECKING:
    from gmemsim.engine.task import Task


def populate(machine: HugeRig, page: int, pages: int) -> int:
    """LAUNCH_UPDATE of pages with contents of their own."""
    source = Source(machine.process, tuple(data(f"boot{page + number}") for number in range(pages)))

    async def call(t: Task) -> int:
        await machine.vm.slots_lock.lock(t)
        ret = await machine.kernel.kvm_gmem_populate(t, machine.vm, BASE + page, pages, source)
        await machine.vm.slots_lock.unlock(t)
        await machine.kernel.task_work_run(t)
        return ret

    ret = machine.call(call)
    assert isinstance(ret, int)
    return ret


def launched(patch: type[Hugepage]) -> HugeRig:
    """An SNP guest whose launch is not over."""
    return HugeRig(patch, "snp", pages=2 * HUGE, finalized=False)


@pytest.mark.parametrize(("patch", "seen"), [(Hugepage, ZERO), (HugepagePopulate, STALE)])
def test_the_neighbour_of_a_launch_page(patch: type[Hugepage], seen: str) -> None:
    """One page is populated, all of its folio counts as uptodate: who cleared the next page? (bugs.md 5, hazard 2)"""
    machine = launched(patch)
    assert populate(machine, 3, 1) == 1
    (folio,) = machine.inode.folios.values()
    assert folio.uptodate
    assert machine.memory.content(folio.pfn + 3) == data("boot3")
    assert machine.memory.content(folio.pfn + 4) == seen
    assert bool(only(machine.events, Clear)) == (seen == ZERO)


def test_a_folio_is_populated_in_chunks() -> None:
    """The slot is aligned to 1 MiB: half a folio is one chunk, and then all of it is taken for populated."""
    machine = launched(HugepagePopulate)
    assert populate(machine, 0, HUGE) == HUGE // 2
    found = names(machine.events, PopulateCallback, SetUptodate)
    assert found == ["PopulateCallback"] * (HUGE // 2) + ["SetUptodate"]
    (folio,) = machine.inode.folios.values()
    assert not machine.memory.stale(folio.pfn, HUGE // 2)
    assert machine.memory.content(folio.pfn + HUGE // 2) == STALE
    assert populate(machine, HUGE // 2, 1) == EEXIST
    fixed = launched(Hugepage)
    assert populate(fixed, 0, HUGE) == HUGE


def test_first_fault_clears_prepares_and_then_is_uptodate() -> None:
    """guest-memfd.md 5 row 1; a re-fault asks the arch again, in the series it does not (rows 3 and 4)."""
    for patch, again in ((Hugepage, 1), (HugepageTracked, 0)):
        machine = HugeRig(patch, "snp", pages=2 * HUGE)
        machine.poke(0)
        found = names(machine.events, Clear, MakePrivate, SetUptodate)
        assert found == ["Clear", "MakePrivate", "SetUptodate"]
        (clear,) = only(machine.events, Clear)
        assert clear.pages == HUGE

        async def zap(t: Task, machine: HugeRig = machine) -> None:
            await machine.kernel.kvm_gmem_invalidate_start(t, machine.inode, 0, 1, "both")
            await machine.kernel.kvm_gmem_invalidate_end(t, machine.inode, 0, 1)

        machine.call(zap)
        machine.poke(0)
        assert len(only(machine.events, MakePrivate)) == again


@pytest.mark.parametrize(("patch", "ends"), [(Hugepage, True), (HugepageTracked, False)])
def test_tracking_forgets_a_page_that_was_shared(patch: type[Hugepage], ends: bool) -> None:
    """SNP: to shared, and back. Who trusts uptodate never assigns the page again, and the guest faults for ever."""
    machine = HugeRig(patch, "snp", pages=2 * HUGE)
    machine.poke(5)
    assert machine.to(False, 5, 6).ret == 0
    assert machine.to(True, 5, 6).ret == 0
    engine = Engine(RandomStrategy(1), max_steps=2_000)
    engine.spawn("vcpu0", machine.access, 0, 0, 5, True)
    if ends:
        bare.run(engine)
        return
    with pytest.raises(StepLimit):
        bare.run(engine)


@pytest.mark.parametrize(("patch", "left"), [(Hugepage, False), (HugepageNotifier, True)])
def test_shared_mappings_that_no_notifier_sees(patch: type[Hugepage], left: bool) -> None:
    """The slot's userspace address shows something else than the file, so its unmapping zaps no guest entry."""
    machine = HugeRig(patch, "private", pages=2 * HUGE)
    assert machine.to(False, 5, 6).ret == 0
    machine.poke(5)
    assert machine.to(True, 5, 6).ret == 0
    assert (machine.vm.stage2.find(BASE + 5, False) is not None) == left


def test_a_staged_split_leaves_the_rest_large() -> None:
    """1 GiB -> 2 MiB -> 4 KiB: one shared page makes 511 folios of 2 MiB and 512 small ones; back in two steps."""
    machine = GibRig(HugepageStaged, "private", pages=2 * GIB)
    machine.poke(0)
    assert machine.to(False, 700, 701).ret == 0
    assert machine.orders() == {0: HUGE, 9: HUGE - 1, 18: 0}
    assert machine.to(False, 1030, 1031).ret == 0
    assert machine.orders() == {0: 2 * HUGE, 9: HUGE - 2, 18: 0}
    assert machine.call(machine.host(700, data("host"))) == data("host")
    assert machine.to(True, 700, 701).ret == 0
    assert machine.orders() == {0: HUGE, 9: HUGE - 1, 18: 0}
    assert machine.to(True, 1030, 1031).ret == 0
    assert machine.orders() == {0: 0, 18: 1}
    (folio,) = machine.inode.folios.values()
    assert machine.memory.read(folio.pfn + 700) == data("host")
    assert not machine.huge.subpools["gmem0"].stash


def test_a_staged_split_is_punched_and_comes_back() -> None:
    """Pieces of two sizes are merged before the hole; the inode's own truncation counts them one by one."""
    for evict in (False, True):
        machine = GibRig(HugepageStaged, "private", pages=GIB)
        assert machine.to(False, 700, 701).ret == 0
        assert machine.call(machine.host(700)) == ZERO
        if evict:
            pool = machine.huge.subpools["gmem0"]

            async def evicted(t: Task, machine: GibRig = machine) -> None:
                await machine.kernel.evict_inode(t, machine.inode, machine.vm)

            machine.call(evicted)
            assert (pool.used, pool.stash) == (0, {})
        else:
            assert machine.punch(0, GIB) == 0
            assert machine.used == 0
        assert not machine.inode.folios
        assert machine.memory.in_use == 0
