"""SNP under concurrency at 4K: the rows of arch.md 1.5, random and, where small, complete.

Where a lock of the common code protects, a mutex stands for it; the same scenario without it must go wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from gmemsim.arch.costs import CostTable
from gmemsim.arch.memory import PhysicalMemory
from gmemsim.arch.rmp import RmpCode
from gmemsim.arch.snp import Snp
from gmemsim.arch.snp_host import Livelock
from gmemsim.engine import bare, trio_runtime
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import Deadlock
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.op import Op
from gmemsim.engine.strategy import RandomStrategy

if TYPE_CHECKING:
    from tests.arch.conftest import Body, FakeVm, Outcome, Runner

    from gmemsim.engine.task import Task

PFN = 0x1005
GFN = 0x805


class Page:
    """One frame of a gmem file, the attribute of its index, and the lock that may protect both."""

    def __init__(self, locked: bool) -> None:
        self.snp = Snp(PhysicalMemory())
        self.mutex = Mutex("page") if locked else None
        self.private = True
        self.present = True
        self.flags: list[str] = []

    async def lock(self, t: Task) -> None:
        if self.mutex is not None:
            await self.mutex.lock(t)

    async def unlock(self, t: Task) -> None:
        if self.mutex is not None:
            await self.mutex.unlock(t)


# -- two prepares ----------------------------------------------------------------------------------


def test_same_frame_under_the_folio_lock_is_updated_once(run: Runner, vm: FakeVm) -> None:
    """Complete."""

    def make() -> tuple[Body, ...]:
        page = Page(locked=True)

        async def fault(t: Task) -> tuple[int, bool]:
            await page.lock(t)
            result = await page.snp.prepare(t, vm, GFN, PFN, 0)
            await page.unlock(t)
            return result

        return fault, fault

    for outcome in run.all(make):
        assert sorted(outcome.results) == [(0, False), (0, True)]
        assert outcome.ops("RMPUPDATE") == [RmpCode.OK]


def unlocked_prepares(vm: FakeVm, clears: bool) -> tuple[Body, ...]:
    """A vCPU that only prepares, and one that prepares, validates and stores; no folio lock."""
    snp = Snp(PhysicalMemory())
    snp.choices = attrs.evolve(snp.choices, rmpupdate_clears_validated=clears)

    async def late(t: Task) -> int:
        return (await snp.prepare(t, vm, GFN, PFN, 0)).ret

    async def guest(t: Task) -> str:
        result = await snp.prepare(t, vm, GFN, PFN, 0)
        if result.ret:
            return f"error {result.ret}"
        await t.point(Op("step", "guest"))
        await snp.pvalidate(t, vm, GFN, PFN, True)
        await t.point(Op("step", "guest"))
        return (await snp.guest_access(t, vm, GFN, PFN, True, "data:x")).value

    return late, guest


def test_same_frame_without_the_folio_lock_loses_the_validated_bit(run: Runner, vm: FakeVm) -> None:
    """The seeded bug: with RMPUPDATE resetting the bit, a guest that validated gets #VC. -EINVAL: code 3."""
    seen = [tuple(outcome.results) for outcome in run.all(lambda: unlocked_prepares(vm, clears=True))]
    assert (0, "#VC") in seen
    assert (-22, "data:x") in seen
    assert (0, "error -22") in seen
    assert (0, "data:x") in seen


def test_same_frame_without_the_folio_lock_is_benign_if_equal_updates_keep_the_bit(
    run: Runner, vm: FakeVm
) -> None:
    seen = {outcome.results[1] for outcome in run.all(lambda: unlocked_prepares(vm, clears=False))}
    assert seen == {"data:x", "error -22"}


def test_different_frames_of_a_region_both_succeed(run: Runner, vm: FakeVm) -> None:
    """Complete for two; the transient code 4 shows up and is spun away."""
    codes: set[int] = set()

    def make() -> tuple[Body, ...]:
        snp = Snp(PhysicalMemory())

        def fault(offset: int) -> Body:
            async def body(t: Task) -> tuple[int, bool]:
                return await snp.prepare(t, vm, GFN + offset, PFN + offset, 0)

            return body

        return fault(0), fault(1)

    for outcome in run.all(make, 200_000):
        assert outcome.results == [(0, True)] * 2
        codes.update(outcome.ops("RMPUPDATE"))
    assert codes == {RmpCode.OK, RmpCode.OVERLAP}


def test_many_frames_of_a_region_all_succeed(run: Runner, vm: FakeVm) -> None:
    def make() -> tuple[Body, ...]:
        snp = Snp(PhysicalMemory())

        def fault(offset: int) -> Body:
            async def body(t: Task) -> tuple[int, bool]:
                return await snp.prepare(t, vm, GFN + offset, PFN + offset, 0)

            return body

        return tuple(fault(offset) for offset in range(6))

    for outcome in run.seeds(make):
        assert outcome.results == [(0, True)] * 6


def test_many_frames_of_a_region_in_time(run: Runner, vm: FakeVm) -> None:
    """Timed: the region lock serialises the updates, and the spin costs time but ends."""
    snp = Snp(PhysicalMemory(), CostTable.zero().replace(rmpupdate=1000))

    def fault(offset: int) -> Body:
        async def body(t: Task) -> tuple[int, bool]:
            return await snp.prepare(t, vm, GFN + offset, PFN + offset, 0)

        return body

    outcome = run(*(fault(offset) for offset in range(4)))
    assert outcome.results == [(0, True)] * 4
    assert outcome.now >= 4000
    assert RmpCode.OVERLAP in outcome.ops("RMPUPDATE")


# -- prepare and conversion, prepare and free ------------------------------------------------------


def convert_race(vm: FakeVm, locked: bool) -> tuple[Page, tuple[Body, ...]]:
    """A fault that tests the attribute and prepares; a conversion to shared, then a host write."""
    page = Page(locked)

    async def fault(t: Task) -> None:
        await page.lock(t)
        if t.traps:
            await t.point(Op("load", "attributes", mode="r"))
        if page.private:
            await page.snp.prepare(t, vm, GFN, PFN, 0)
        await page.unlock(t)

    async def convert(t: Task) -> None:
        await page.lock(t)
        await page.snp.make_shared(t, PFN, 1)
        if t.traps:
            await t.point(Op("store", "attributes"))
        page.private = False
        await page.unlock(t)
        page.snp.host_write(t, PFN, "data:host")

    return page, (fault, convert)


@pytest.mark.parametrize("locked", [True, False])
def test_prepare_against_conversion_to_shared(run: Runner, vm: FakeVm, locked: bool) -> None:
    """Complete. V3 excludes it with the invalidate lock; without, a stale prepare meets the host's write."""
    pages: list[Page] = []

    def make() -> tuple[Body, ...]:
        page, bodies = convert_race(vm, locked)
        pages.append(page)
        return bodies

    for _ in run.all(make):
        pass
    flags = {name for page in pages for name, _ in page.snp.flags}
    assert flags == (set() if locked else {"HOST_RMP_VIOLATION", "RMP_NOT_SHARED"})
    stale = {page.snp.rmp.entry(PFN).state for page in pages}
    assert stale == ({"hv"} if locked else {"hv", "guest_invalid"})


@pytest.mark.parametrize("locked", [True, False])
def test_prepare_against_free_of_the_frame(run: Runner, vm: FakeVm, locked: bool) -> None:
    """Complete. The folio lock orders both hooks; a reference alone would not."""
    pages: list[Page] = []

    def make() -> tuple[Body, ...]:
        page = Page(locked)
        pages.append(page)

        async def fault(t: Task) -> None:
            await page.lock(t)
            if t.traps:
                await t.point(Op("load", "page cache", mode="r"))
            if page.present:
                await page.snp.prepare(t, vm, GFN, PFN, 0)
            await page.unlock(t)

        async def punch(t: Task) -> None:
            await page.lock(t)
            if t.traps:
                await t.point(Op("store", "page cache"))
            page.present = False
            await page.snp.invalidate(t, PFN, PFN + 1)
            await page.unlock(t)
            flag = page.snp.page_freed(t, PFN)
            if flag is not None:
                page.flags.append(flag)

        return fault, punch

    for _ in run.all(make):
        pass
    assert {flag for page in pages for flag in page.flags} == (set() if locked else {"RMP_LEAK"})


def test_the_loser_of_two_psmashes_never_sees_in_use(run: Runner, vm: FakeVm) -> None:
    """KVM's wrapper spins on code 3; then the entry is 4K already (code 7), which the caller looks up."""

    def make() -> tuple[Body, ...]:
        snp = Snp(PhysicalMemory())

        async def setup(t: Task) -> int:
            return await snp.rmp_make_private(t, 0x1000, 0x800, 2, 1)

        run.one(setup)

        async def smash(t: Task) -> int:
            return await snp.snp_rmptable_psmash(t, PFN)

        return smash, smash

    assert {tuple(sorted(outcome.results)) for outcome in run.all(make)} == {(RmpCode.OK, RmpCode.BAD_PAGE)}


def test_an_endless_overlap_is_reported_whatever_the_others_do(run: Runner, vm: FakeVm) -> None:
    """With somebody else still able to run, the spinner waits; the deadlock report then names the spin."""
    ends: set[object] = set()
    for seed in range(100):
        snp = Snp(PhysicalMemory())

        async def setup(t: Task, snp: Snp = snp) -> None:
            await snp.prepare(t, vm, GFN, PFN, 0)

        async def spin(t: Task, snp: Snp = snp) -> int:
            return await snp.rmp_make_private(t, 0x1000, 0x800, 2, 2)

        async def other(t: Task, snp: Snp = snp) -> None:
            for _ in range(3):
                await snp.rmp.lookup(t, PFN)

        run.one(setup)
        try:
            run(spin, other, strategy=RandomStrategy(seed))
        except Livelock:
            assert snp.flags == [("LIVELOCK", 0x1000)]
            ends.add("livelock")
        except Deadlock as deadlock:
            ends.update(deadlock.waits)
    assert ends == {"livelock", ("t0", "rmp.spin[0x8]", ("ASID 1",))}


# -- the security processor ------------------------------------------------------------------------


def test_the_psp_serves_one_command_after_another(run: Runner, vm: FakeVm, other_vm: FakeVm) -> None:
    """Timed: everything else of four populates runs in parallel, the processor does not."""
    snp = Snp(PhysicalMemory(), CostTable.zero().replace(psp_launch_update=1_000_000, rmpupdate=1000))

    def populate(each: FakeVm, number: int) -> Body:
        async def body(t: Task) -> int:
            # Regions of their own, so that only the processor is shared.
            ret = await snp.populate(t, each, GFN + number, PFN + 512 * number, f"data:{number}")
            assert ret == 0
            return t.engine.now

        return body

    bodies = [populate(each, number) for number, each in enumerate((vm, other_vm, vm, other_vm))]
    outcome: Outcome = run(*bodies)
    assert outcome.results == [1_000 + 1_000_000 * number for number in (1, 2, 3, 4)]
    assert [content for _, _, content in snp.psp.measured] == [f"data:{number}" for number in range(4)]


def test_the_psp_measures_each_page_once_in_every_schedule(run: Runner, vm: FakeVm) -> None:
    actors: list[Snp] = []

    def make() -> tuple[Body, ...]:
        snp = Snp(PhysicalMemory())
        actors.append(snp)

        def populate(number: int) -> Body:
            async def body(t: Task) -> int:
                return await snp.populate(t, vm, GFN + number, PFN + 512 * number, f"data:{number}")

            return body

        return tuple(populate(number) for number in range(3))

    orders = set()
    for outcome in run.seeds(make, 300):
        assert outcome.results == [0, 0, 0]
        order = tuple(gfn - GFN for _, gfn, _ in actors[-1].psp.measured)
        assert sorted(order) == [0, 1, 2]
        orders.add(order)
    assert len(orders) == 6


def test_two_populates_of_one_frame_without_slots_lock(run: Runner, vm: FakeVm) -> None:
    """What slots_lock is for: without it both may pass the assigned test, and one then fails later."""

    def make() -> tuple[Body, ...]:
        snp = Snp(PhysicalMemory())

        async def body(t: Task) -> int:
            return await snp.populate(t, vm, GFN, PFN, "data:x")

        return body, body

    seen = {tuple(sorted(outcome.results)) for outcome in run.seeds(make, 400)}
    assert (-17, 0) in seen
    assert (-14, 0) in seen


def test_both_runtimes_agree_on_the_psp(vm: FakeVm, other_vm: FakeVm) -> None:
    """The processor's task is spawned in the middle of a run; the log is the same on either runtime."""

    def engine(log: list[object]) -> Engine:
        snp = Snp(PhysicalMemory(), CostTable.default("snp"))
        made = Engine(rec=lambda task, event: log.append((task.name, event)))
        for number, each in enumerate((vm, other_vm)):

            async def body(t: Task, each: FakeVm = each, pfn: int = PFN + number) -> None:
                assert await snp.populate(t, each, GFN, pfn, "data:x") == 0
                assert await snp.launch_finish(t, each) == 0

            made.spawn(each.label, body)
        return made

    logs: tuple[list[object], list[object]] = ([], [])
    bare.run(engine(logs[0]))
    trio.run(trio_runtime.run, engine(logs[1]))
    assert logs[0] == logs[1]
    assert len(logs[0]) == 6
