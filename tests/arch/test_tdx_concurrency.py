"""TDX under concurrency at 4K: the rows of arch.md 2.4, random and, where small, complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest

from gmemsim.arch.choices import TdxChoices
from gmemsim.arch.costs import CostTable
from gmemsim.arch.memory import PhysicalMemory
from gmemsim.arch.sept import SeptState
from gmemsim.arch.tdx import Tdx
from gmemsim.arch.tdx_state import TdxStatus
from gmemsim.engine.op import Op

if TYPE_CHECKING:
    from tests.arch.conftest import Body, FakeVm, Runner

    from gmemsim.engine.task import Task

GFN = 0x805
PFN = 0x1005
EIO, EBUSY = -5, -16


class NoTrack(Tdx):
    """Seeded bug B8: REMOVE without TRACK and kick."""

    async def track(self, t: Task, td: Any) -> None:
        pass


def machine(run: Runner, vm: FakeVm, cls: type[Tdx] = Tdx, leaf: str = "", **choices: Any) -> Tdx:
    """A finalized TD with a table for the region and, by `leaf`, a pending or accepted page at GFN."""
    tdx = cls(PhysicalMemory(), choices=attrs.evolve(TdxChoices(), **choices))

    async def setup(t: Task) -> None:
        await tdx.launch_finish(t, vm)
        await tdx.set_spte(t, vm, GFN + 1, PFN + 1, True)
        if leaf:
            await tdx.set_spte(t, vm, GFN, PFN, True)
        if leaf == "accepted":
            await tdx.accept(t, vm, GFN)
            await tdx.guest_access(t, vm, GFN, PFN, True, "data:old")

    run.one(setup)
    # The vCPU that did all this is gone.
    for vcpu in tdx.td(vm).epochs.vcpus.values():
        tdx.td(vm).epochs.left(vcpu)
    tdx.td(vm).epochs.vcpus.clear()
    return tdx


def accept(tdx: Tdx, vm: FakeVm) -> Body:
    async def body(t: Task) -> str:
        result = await tdx.accept(t, vm, GFN)
        return result.value or result.kind

    return body


def zap(tdx: Tdx, vm: FakeVm, reuse: bool = False) -> Body:
    """Removes the leaf; with `reuse` the host then puts its own data into the frame."""

    async def body(t: Task) -> None:
        await tdx.remove_sptes(t, vm, [(GFN, PFN)])
        if reuse and not tdx.td(vm).dead:
            if t.traps:
                await t.point(Op("store", "frame", PFN, PFN + 1))
            tdx.host_write(t, PFN, "data:host")

    return body


# -- AUG -------------------------------------------------------------------------------------------


def test_two_faults_on_one_gfn_behind_the_frozen_mirror_entry(run: Runner, vm: FakeVm) -> None:
    """Complete. KVM's compare-exchange to FROZEN lets one of them call; the arch sees no race."""
    actors: list[Tdx] = []

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm)
        actors.append(tdx)
        mirror: dict[int, int] = {}

        async def fault(t: Task) -> str:
            if t.traps:
                await t.point(Op("rmw", "mirror"))
            if GFN in mirror:
                return "spurious" if mirror[GFN] == PFN else "retry"
            mirror[GFN] = -1
            ret = await tdx.set_spte(t, vm, GFN, PFN, True)
            if t.traps:
                await t.point(Op("store", "mirror"))
            mirror[GFN] = PFN
            return f"aug {ret}"

        return fault, fault

    seen = {tuple(sorted(outcome.results)) for outcome in run.all(make)}
    assert seen == {("aug 0", "retry"), ("aug 0", "spurious")}
    assert all(tdx.flags == [] for tdx in actors)


def test_two_augs_of_one_gfn_without_it_kill_the_vm(run: Runner, vm: FakeVm) -> None:
    """Complete: what FROZEN is for."""

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm)

        async def fault(t: Task) -> int:
            return await tdx.set_spte(t, vm, GFN, PFN, True)

        return fault, fault

    assert {tuple(sorted(outcome.results)) for outcome in run.all(make)} == {(EBUSY, 0), (EIO, 0)}


def test_two_faults_that_need_the_same_table(run: Runner, vm: FakeVm) -> None:
    """One adds it, the other retries or comes late; nobody's VM dies."""
    actors: list[Tdx] = []

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm)
        actors.append(tdx)

        def fault(number: int) -> Body:
            async def body(t: Task) -> int:
                return await tdx.set_spte(t, vm, GFN + 512 + number, PFN + 512 + number, True)

            return body

        return fault(0), fault(1)

    results = set()
    for outcome in run.seeds(make, 400):
        results.update(outcome.results)
        assert outcome.ops("TDH.MEM.SEPT.ADD") == [0]
    assert results == {0, EBUSY}
    assert all(tdx.flags == [] for tdx in actors)


@pytest.mark.parametrize("module", ["1.5", "1.0"])
def test_augs_of_different_gfns(run: Runner, vm: FakeVm, module: str) -> None:
    """Module 1.5 shares the tree lock; 1.0 does not, and a loser is BUSY."""
    ops = frozenset({"BLOCK"} if module == "1.5" else {"BLOCK", "AUG", "REMOVE"})

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm, exclusive_tree_ops=ops)

        def fault(number: int) -> Body:
            async def body(t: Task) -> int:
                return await tdx.set_spte(t, vm, GFN + 2 + number, PFN + 2 + number, True)

            return body

        return fault(0), fault(1)

    seen = {tuple(sorted(outcome.results)) for outcome in run.seeds(make, 400)}
    assert seen == ({(0, 0)} if module == "1.5" else {(0, 0), (EBUSY, 0)})


def test_one_frame_in_two_tds(run: Runner, vm: FakeVm, other_vm: FakeVm) -> None:
    """Exactly one gets it, whatever the schedule; the other VM dies with PAMT_DOUBLE_MAP."""
    actors: list[tuple[Tdx, Tdx]] = []

    def make() -> tuple[Body, ...]:
        first = machine(run, vm)
        second = Tdx(first.memory)

        async def setup(t: Task) -> None:
            await second.launch_finish(t, other_vm)
            await second.set_spte(t, other_vm, GFN + 1, PFN + 2, True)

        run.one(setup)
        actors.append((first, second))

        def fault(tdx: Tdx, each: FakeVm) -> Body:
            async def body(t: Task) -> int:
                return await tdx.set_spte(t, each, GFN, PFN, True)

            return body

        return fault(first, vm), fault(second, other_vm)

    for outcome in run.seeds(make):
        assert sorted(outcome.results) == [EIO, 0]
        first, second = actors[-1]
        assert [name for name, _ in first.flags + second.flags] == ["PAMT_DOUBLE_MAP"]


# -- accept ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("locks_free", [False, True])
def test_aug_against_accept(run: Runner, vm: FakeVm, locks_free: bool) -> None:
    """A guest that locks free entries meets the host, and either may be BUSY; one that does not faults."""

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm, guest_locks_free=locks_free)

        async def fault(t: Task) -> int:
            return await tdx.set_spte(t, vm, GFN, PFN, True)

        return fault, accept(tdx, vm)

    seen = {tuple(outcome.results) for outcome in run.seeds(make, 1500)}
    expected = {(0, "npf"), (0, "accepted")}
    if locks_free:
        expected |= {(0, "busy"), (EBUSY, "npf")}
    assert seen == expected


def test_two_accepts_of_one_page(run: Runner, vm: FakeVm) -> None:
    """One zeroes, the other is BUSY or finds the page accepted; data stored after the first accept stays."""
    actors: list[Tdx] = []

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm, leaf="pending")
        actors.append(tdx)

        async def body(t: Task) -> str:
            result = await tdx.accept(t, vm, GFN)
            if result.value == "accepted":
                await tdx.guest_access(t, vm, GFN, PFN, True, "data:new")
            return result.value

        return body, body

    seen = set()
    for outcome in run.seeds(make, 500):
        seen.add(tuple(sorted(outcome.results)))
        assert actors[-1].memory.read(PFN, actors[-1].td(vm).key) == "data:new"
    assert seen == {("accepted", "busy"), ("accepted", "already_accepted")}


# -- zap -------------------------------------------------------------------------------------------


def test_zap_against_accept_never_kills_the_vm(run: Runner, vm: FakeVm) -> None:
    """BLOCK meets the guest's entry lock: kick (the accept finishes first), one retry, done."""
    actors: list[Tdx] = []
    busy = 0
    seen = set()

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm, leaf="pending")
        actors.append(tdx)
        return zap(tdx, vm), accept(tdx, vm)

    for outcome in run.seeds(make, 800):
        tdx = actors[-1]
        assert tdx.flags == []
        assert tdx.td(vm).sept.state(GFN) == SeptState.FREE
        assert PFN not in tdx.module.pamt
        busy += outcome.ops("TDH.MEM.RANGE.BLOCK").count(TdxStatus.OPERAND_BUSY)
        seen.add(outcome.results[1])
    assert busy
    assert seen == {"accepted", "busy", "npf"}


def access(tdx: Tdx, vm: FakeVm, times: int = 2) -> Body:
    """Guest stores; stops at the first fault. Returns the kinds and flags seen."""

    async def body(t: Task) -> list[str]:
        seen = []
        for number in range(times):
            result = await tdx.guest_access(t, vm, GFN, PFN, True, f"data:{number}")
            seen.append(result.flag or result.kind)
            if result.kind != "ok":
                break
        return seen

    return body


def test_zap_against_running_guests(run: Runner, vm: FakeVm) -> None:
    """No access after REMOVE gets through, so what the host puts into the frame stays (arch.md 2.4)."""
    actors: list[Tdx] = []
    seen: set[str] = set()

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm, leaf="accepted")
        actors.append(tdx)
        return zap(tdx, vm, reuse=True), access(tdx, vm), access(tdx, vm)

    for outcome in run.seeds(make, 800):
        seen.update(*outcome.results[1:])
        assert actors[-1].flags == []
        assert actors[-1].memory.read(PFN) == "data:host"
    assert seen == {"ok", "npf"}


@pytest.mark.parametrize("checks", [True, False])
def test_zap_without_tracking_against_running_guests(run: Runner, vm: FakeVm, checks: bool) -> None:
    """Seeded bug B8: the module refuses and the VM dies, or it does not and the guest corrupts the host."""
    actors: list[Tdx] = []
    flags: set[str] = set()
    corrupted = False

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm, NoTrack, leaf="accepted", module_checks_tracking=checks)
        actors.append(tdx)
        return zap(tdx, vm, reuse=True), access(tdx, vm, 3)

    for outcome in run.seeds(make, 400):
        tdx = actors[-1]
        flags.update(name for name, _ in tdx.flags)
        flags.update(name for name in outcome.results[1] if name.isupper())
        corrupted |= not tdx.td(vm).dead and tdx.memory.read(PFN) != "data:host"
    assert flags == {"TLB_STALE"}
    assert corrupted is not checks


def test_track_against_vp_enter(run: Runner, vm: FakeVm) -> None:
    """BUSY happens, a second BUSY never does: nobody enters during the retry."""
    actors: list[Tdx] = []
    busy = 0

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm, leaf="accepted")
        actors.append(tdx)

        async def storm(t: Task) -> None:
            td = tdx.td(vm)
            vcpu = td.epochs.vcpu(t)
            for _ in range(4):
                await tdx.enter_guest(t, td, vcpu)
                await tdx.exit_guest(t, td, vcpu)

        return zap(tdx, vm), storm, storm

    for _ in run.seeds(make, 500):
        assert actors[-1].flags == []
        busy += actors[-1].module.busy.get("TDH.MEM.TRACK", 0)
    assert busy


def test_zero_step_storm_makes_block_busy_but_not_twice(run: Runner, vm: FakeVm) -> None:
    """vCPUs that fault without progress take the tree lock at each entry; the zap gets through."""
    actors: list[Tdx] = []
    busy = 0

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm, leaf="accepted", zero_step_threshold=1)
        actors.append(tdx)

        async def storm(t: Task) -> None:
            for _ in range(3):
                await tdx.guest_access(t, vm, GFN + 7, PFN + 7, True, None)

        return zap(tdx, vm), storm, storm

    for _ in run.seeds(make, 500):
        assert actors[-1].flags == []
        busy += actors[-1].module.busy.get("TDH.MEM.RANGE.BLOCK", 0)
    assert busy


# -- BUSY never waits ------------------------------------------------------------------------------


def test_busy_answers_at_once(run: Runner, vm: FakeVm) -> None:
    """Timed: the holder keeps the tree for 1 ms, the loser is back after its own retry cost."""
    tdx = machine(run, vm)
    costs = CostTable.zero().replace(busy_retry=500)
    tdx.costs = tdx.module.costs = costs
    tree = tdx.td(vm).tree

    async def holder(t: Task) -> None:
        await tree.try_lock(t, True)
        await t.spend(1_000_000)
        await tree.unlock(t, True)

    async def fault(t: Task) -> tuple[int, int]:
        await t.spend(10)
        ret = await tdx.set_spte(t, vm, GFN, PFN, True)
        return ret, t.engine.now

    assert run(holder, fault).results[1] == (EBUSY, 510)


def test_busy_needs_nobody_to_let_go(run: Runner, vm: FakeVm) -> None:
    """A lock that is never released: calls still return, so there is no deadlock to find."""

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm, leaf="pending")

        async def hold(t: Task) -> None:
            await tdx.td(vm).tree.try_lock(t, True)
            await tdx.td(vm).sept.try_lock(t, GFN, 1, False)

        async def fault(t: Task) -> int:
            return await tdx.set_spte(t, vm, GFN + 3, PFN + 3, True)

        return hold, fault, accept(tdx, vm)

    seen = {tuple(outcome.results[1:]) for outcome in run.seeds(make, 400)}
    assert (EBUSY, "busy") in seen
