"""KVM's SNP hooks one at a time: results, order of steps, costs (arch.md 1.2, 1.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from gmemsim.arch.base import HookResult
from gmemsim.arch.choices import SnpChoices
from gmemsim.arch.costs import CostTable
from gmemsim.arch.memory import CIPHER, ZERO, PhysicalMemory, data
from gmemsim.arch.rmp import REGION_PAGES, RmpEntry
from gmemsim.arch.snp import Snp
from gmemsim.arch.snp_host import Livelock

if TYPE_CHECKING:
    from tests.arch.conftest import Body, FakeVm, Runner

    from gmemsim.engine.task import Task

PFN = 0x1005
HEAD = 0x1000
GFN = 0x805


@pytest.fixture
def snp() -> Snp:
    return Snp(PhysicalMemory())


def preparing(snp: Snp, vm: FakeVm, gfn: int = GFN, pfn: int = PFN, order: int = 0) -> Body:
    async def body(t: Task) -> tuple[int, bool]:
        return await snp.prepare(t, vm, gfn, pfn, order)

    return body


def invalidating(snp: Snp, start: int = PFN, end: int = PFN + 1) -> Body:
    async def body(t: Task) -> None:
        await snp.invalidate(t, start, end)

    return body


def populating(snp: Snp, vm: FakeVm, source: str | None = "data:x", page_type: str = "normal") -> Body:
    async def body(t: Task) -> int:
        return await snp.populate(t, vm, GFN, PFN, source, page_type=page_type)

    return body


def updates(outcome_events: list[object]) -> list[tuple[str, int]]:
    return [(e.op, e.code) for e in outcome_events if type(e).__name__ == "HardwareOp"]  # type: ignore[attr-defined]


# -- prepare ---------------------------------------------------------------------------------------


def test_prepare_assigns_the_frame_to_the_guest(run: Runner, snp: Snp, vm: FakeVm) -> None:
    assert run.one(preparing(snp, vm)) == (0, True)
    assert snp.rmp.entry(PFN) == RmpEntry(True, snp.asid(vm), GFN)


def test_prepare_does_not_touch_content(run: Runner, snp: Snp, vm: FakeVm) -> None:
    snp.memory.write(PFN, "data:host")
    run.one(preparing(snp, vm))
    assert snp.memory.read(PFN) == "data:host"


def test_prepare_is_idempotent_by_the_assigned_bit_alone(
    run: Runner, snp: Snp, vm: FakeVm, other_vm: FakeVm
) -> None:
    """Neither ASID nor address is compared (arch.md 1.3 step 3)."""
    run.one(preparing(snp, vm))
    entry = snp.rmp.entry(PFN)
    outcome = run(preparing(snp, vm), preparing(snp, vm, gfn=GFN + 1), preparing(snp, other_vm))
    assert outcome.results == [(0, False)] * 3
    assert updates(outcome.events) == []
    assert snp.rmp.entry(PFN) == entry


def test_prepare_enoent_when_the_lookup_fails(run: Runner, snp: Snp, vm: FakeVm) -> None:
    assert run.one(preparing(snp, vm), faults={"rmp_lookup": 1}) == (-2, False)
    assert not snp.rmp.entries


def test_prepare_einval_when_rmpupdate_fails(run: Runner, snp: Snp, vm: FakeVm) -> None:
    assert run.one(preparing(snp, vm), faults={"direct_map_split": 1}) == (-22, False)
    assert not snp.rmp.entries


def test_make_private_is_prepare_by_pages(run: Runner, snp: Snp, vm: FakeVm) -> None:
    async def body(t: Task) -> tuple[int, bool]:
        return await snp.make_private(t, vm, GFN, PFN, 1)

    assert run.one(body) == (0, True)


def test_make_private_takes_one_page_only(run: Runner, snp: Snp, vm: FakeVm) -> None:
    async def body(t: Task) -> HookResult:
        return await snp.make_private(t, vm, GFN, PFN, 2)

    assert run.one(body) == HookResult(-5, False)
    assert not snp.rmp.entry(PFN).assigned


def test_prepare_of_a_large_folio_takes_a_2m_entry(run: Runner, snp: Snp, vm: FakeVm) -> None:
    assert run.one(preparing(snp, vm, order=9)) == (0, True)
    assert snp.rmp.entry(HEAD).level == 2
    assert snp.rmp.entry(PFN).gfn == GFN
    assert not snp.split
    assert snp.max_level(PFN, True) == 2


def test_prepare_of_a_large_folio_falls_back_to_4k(run: Runner, snp: Snp, vm: FakeVm) -> None:
    """Only the faulting frame, when a frame of the region is assigned."""
    run.one(preparing(snp, vm, GFN - 1, PFN - 1))
    assert run.one(preparing(snp, vm, order=9)) == (0, True)
    assert set(snp.rmp.entries) == {PFN - 1, PFN}


def test_a_failing_scan_counts_as_assigned(run: Runner, snp: Snp, vm: FakeVm) -> None:
    async def body(t: Task) -> bool:
        return await snp.region_is_shared(t, HEAD)

    assert run.one(body) is True
    assert run.one(body, faults={"rmp_lookup": 1}) is False


# -- the direct map --------------------------------------------------------------------------------


def test_the_first_4k_update_of_a_region_splits_the_direct_map(run: Runner, vm: FakeVm) -> None:
    costs = CostTable.zero().replace(
        rmpupdate=1000, direct_map_split=3000, shootdown_base=100, shootdown_per_cpu=10
    )
    snp = Snp(PhysicalMemory(), costs, cpus=4)
    assert run(preparing(snp, vm)).now == 1000 + 3000 + 140
    assert run(preparing(snp, vm, GFN + 1, PFN + 1)).now == 1000
    assert run(invalidating(snp)).now == 1000
    assert run(preparing(snp, vm, GFN, PFN + REGION_PAGES)).now == 1000 + 3000 + 140


def test_a_2m_update_needs_no_split_but_alignment(run: Runner, snp: Snp) -> None:
    async def body(t: Task) -> int:
        return await snp.rmp_make_private(t, PFN, GFN, 2, 1)

    assert run.one(body) == -14
    assert not snp.rmp.entries
    assert not snp.split


# -- invalidate, reclaim, make_shared --------------------------------------------------------------


@pytest.mark.parametrize("hook", ["invalidate", "reclaim", "make_shared"])
def test_frames_become_the_hosts_again(run: Runner, snp: Snp, vm: FakeVm, hook: str) -> None:
    run.one(preparing(snp, vm))
    run.one(preparing(snp, vm, GFN + 2, PFN + 2))

    async def body(t: Task) -> None:
        if hook == "invalidate":
            await snp.invalidate(t, PFN, PFN + 3)
        elif hook == "reclaim":
            await snp.reclaim(t, PFN, 3)
        else:
            await snp.make_shared(t, PFN, 3)

    outcome = run(body)
    assert updates(outcome.events) == [("RMPUPDATE", 0)] * 2
    assert not snp.rmp.entries


def test_invalidate_flushes_what_it_gave_back_and_only_that(run: Runner, vm: FakeVm) -> None:
    snp = Snp(PhysicalMemory(), CostTable.zero().replace(clflush_4k=2000))
    run.one(preparing(snp, vm))
    assert run(invalidating(snp, PFN, PFN + 4)).now == 2000


def test_invalidate_skips_a_frame_whose_lookup_fails(run: Runner, snp: Snp, vm: FakeVm) -> None:
    run.one(preparing(snp, vm))
    run.one(invalidating(snp), faults={"rmp_lookup": 1})
    assert snp.rmp.entry(PFN).assigned


def test_invalidate_that_fails_goes_on_without_the_flush(run: Runner, vm: FakeVm) -> None:
    snp = Snp(PhysicalMemory(), CostTable.zero().replace(clflush_4k=2000))
    run.one(preparing(snp, vm))
    run.one(preparing(snp, vm, GFN + 1, PFN + 1))
    snp.rmp.entries[PFN] = snp.rmp.entry(PFN)._replace(immutable=True)
    outcome = run(invalidating(snp, PFN, PFN + 2))
    assert updates(outcome.events) == [("RMPUPDATE", 2), ("RMPUPDATE", 0)]
    assert outcome.now == 2000
    assert set(snp.rmp.entries) == {PFN}


def test_invalidate_of_a_2m_entry_whole_and_in_part(run: Runner, snp: Snp, vm: FakeVm) -> None:
    run.one(preparing(snp, vm, order=9))
    outcome = run(invalidating(snp, HEAD, HEAD + REGION_PAGES))
    assert updates(outcome.events) == [("RMPUPDATE", 0)]
    assert not snp.rmp.entries

    run.one(preparing(snp, vm, order=9))
    outcome = run(invalidating(snp, PFN, PFN + 2))
    assert updates(outcome.events) == [("PSMASH", 0), ("RMPUPDATE", 0), ("RMPUPDATE", 0)]
    assert len(snp.rmp.entries) == REGION_PAGES - 2


# -- populate and launch ---------------------------------------------------------------------------


def test_populate_copies_assigns_and_has_it_encrypted(run: Runner, snp: Snp, vm: FakeVm) -> None:
    outcome = run(populating(snp, vm))
    assert outcome.results == [0]
    assert updates(outcome.events) == [("RMPUPDATE", 0), ("SNP_LAUNCH_UPDATE", 0)]
    assert snp.rmp.entry(PFN).state == "guest_valid"
    assert snp.memory.read(PFN, snp.asid(vm)) == "data:x"
    assert snp.memory.read(PFN) == CIPHER
    assert snp.psp.measured == [(snp.asid(vm), GFN, "data:x")]


def test_populate_of_a_zero_page_takes_no_source(run: Runner, snp: Snp, vm: FakeVm) -> None:
    assert run.one(populating(snp, vm, None, "zero")) == 0
    assert snp.memory.read(PFN, snp.asid(vm)) == ZERO


def test_populate_einval_without_a_source_before_anything_else(run: Runner, snp: Snp, vm: FakeVm) -> None:
    run.one(preparing(snp, vm))
    assert run.one(populating(snp, vm, None)) == -22


def test_populate_without_a_source_in_place(run: Runner, vm: FakeVm) -> None:
    snp = Snp(PhysicalMemory(), choices=attrs.evolve(SnpChoices(), in_place_source=True))
    snp.memory.write(PFN, data("in place"))
    assert run.one(populating(snp, vm, None)) == 0
    assert snp.memory.read(PFN, snp.asid(vm)) == data("in place")


def test_populate_einval_when_the_lookup_fails(run: Runner, snp: Snp, vm: FakeVm) -> None:
    assert run.one(populating(snp, vm), faults={"rmp_lookup": 1}) == -22


def test_populate_eexist_when_assigned_and_nothing_is_written(run: Runner, snp: Snp, vm: FakeVm) -> None:
    snp.memory.write(PFN, "data:guest", snp.asid(vm))
    run.one(preparing(snp, vm))
    assert run.one(populating(snp, vm)) == -17
    assert snp.memory.read(PFN, snp.asid(vm)) == "data:guest"
    assert snp.flags == []


def test_populate_efault_when_rmpupdate_fails(run: Runner, snp: Snp, vm: FakeVm) -> None:
    assert run.one(populating(snp, vm), faults={"direct_map_split": 1}) == -14


def test_populate_eio_and_the_page_is_taken_back(run: Runner, snp: Snp, vm: FakeVm) -> None:
    assert run.one(populating(snp, vm), faults={"psp_launch_update": 1}) == -5
    assert not snp.rmp.entries
    assert not snp.memory.leaked
    assert run.one(populating(snp, vm)) == 0


@pytest.mark.parametrize("point", ["psp_page_reclaim", "late"])
def test_populate_eio_and_the_page_is_leaked(run: Runner, snp: Snp, vm: FakeVm, point: str) -> None:
    """Reclaim fails, or RMPUPDATE after it: the frame never goes back to the allocator."""
    pfn = snp.memory.allocate()
    assert pfn is not None

    async def body(t: Task) -> int:
        if point == "late":
            # An entry that becomes immutable again behind KVM's back.
            real = snp.psp.call

            async def call(t: Task, command: object) -> int:
                status = await real(t, command)  # type: ignore[arg-type]
                snp.rmp.entries[pfn] = snp.rmp.entry(pfn)._replace(immutable=True)
                return status

            snp.psp.call = call  # type: ignore[method-assign]
        return await snp.populate(t, vm, GFN, pfn, "data:x")

    faults = {"psp_launch_update": 1}
    if point != "late":
        faults[point] = 1
    assert run.one(body, faults=faults) == -5
    assert snp.memory.leaked == {pfn}
    snp.memory.free(pfn)
    assert snp.memory.allocate() != pfn


def test_launch_finish_once(run: Runner, snp: Snp, vm: FakeVm, other_vm: FakeVm) -> None:
    async def body(t: Task) -> list[int]:
        return [await snp.launch_finish(t, each) for each in (vm, vm, other_vm)]

    assert run.one(body) == [0, -5, 0], "the firmware refuses; KVM's own test is of its vCPUs"


def test_launch_finish_eio(run: Runner, snp: Snp, vm: FakeVm) -> None:
    async def body(t: Task) -> int:
        return await snp.launch_finish(t, vm)

    assert run.one(body, faults={"psp_launch_finish": 1}) == -5
    assert run.one(body) == 0


def test_no_launch_update_after_launch_finish(run: Runner, snp: Snp, vm: FakeVm) -> None:
    async def body(t: Task) -> int:
        await snp.launch_finish(t, vm)
        return await snp.populate(t, vm, GFN, PFN, "data:x")

    assert run.one(body) == -5
    assert not snp.rmp.entries


def test_max_level(run: Runner, snp: Snp, vm: FakeVm) -> None:
    assert snp.max_level(PFN, False) == 0
    assert snp.max_level(PFN, True) == 1
    run.one(preparing(snp, vm))
    assert snp.max_level(PFN, True) == 1


# -- the unbounded spin ----------------------------------------------------------------------------


def stale_region(run: Runner, snp: Snp, vm: FakeVm) -> None:
    """A 4K entry of another owner that a 2M update will meet for ever."""
    run.one(preparing(snp, vm, 7, PFN))


def large_update(snp: Snp) -> Body:
    async def body(t: Task) -> int:
        return await snp.rmp_make_private(t, HEAD, 0x800, 2, 5)

    return body


def test_overlap_for_ever_is_a_livelock_in_a_timed_run(run: Runner, vm: FakeVm) -> None:
    snp = Snp(PhysicalMemory(), CostTable.zero().replace(rmpupdate=1000))
    snp.choices = attrs.evolve(snp.choices, overlap_watchdog=20)
    stale_region(run, snp, vm)
    with pytest.raises(Livelock, match="0x1005 is guest_invalid of ASID 1"):
        run(large_update(snp))
    assert snp.flags == [("LIVELOCK", HEAD)]


def test_overlap_for_ever_is_a_livelock_in_an_exploring_run(run: Runner, snp: Snp, vm: FakeVm) -> None:
    stale_region(run, snp, vm)
    with pytest.raises(Livelock):
        run.one(large_update(snp), faults={"nothing": 1})
    assert snp.flags == [("LIVELOCK", HEAD)]


def test_overlap_that_somebody_ends_is_no_livelock(run: Runner, vm: FakeVm) -> None:
    """Whatever the schedule: the spin sees the 4K entry go and succeeds; the flag never rises."""
    made: list[Snp] = []

    def make() -> tuple[Body, ...]:
        snp = Snp(PhysicalMemory())
        stale_region(run, snp, vm)
        made.append(snp)
        return large_update(snp), invalidating(snp)

    for outcome in run.all(make):
        assert outcome.results == [0, None]
        assert made[-1].flags == []


def test_overlap_that_ends_in_time(run: Runner, vm: FakeVm) -> None:
    costs = CostTable.zero().replace(rmpupdate=1000, rmp_lookup=5000)
    snp = Snp(PhysicalMemory(), costs)
    stale_region(run, snp, vm)
    outcome = run(large_update(snp), invalidating(snp))
    assert outcome.results == [0, None]
    assert 4 in outcome.ops("RMPUPDATE")
    assert snp.flags == []
