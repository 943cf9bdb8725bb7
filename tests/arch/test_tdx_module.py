"""The TDX module at 4K: every operation and error of arch.md 2.1, and the epoch arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from gmemsim.arch.choices import TdxChoices
from gmemsim.arch.costs import CostTable
from gmemsim.arch.memory import ZERO, PhysicalMemory
from gmemsim.arch.sept import SeptState
from gmemsim.arch.tdx_epoch import Epochs
from gmemsim.arch.tdx_module import TdxModule
from gmemsim.arch.tdx_state import Pamt, Td, TdxStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.arch.conftest import Runner

    from gmemsim.arch.tdx_epoch import TdVcpu
    from gmemsim.engine.task import Task

GFN = 0x805
PFN = 0x1005


class Rig:
    """A module with one runnable TD, and its calls without a task."""

    def __init__(self, run: Runner) -> None:
        self.run = run
        self.memory = PhysicalMemory()
        self.module = TdxModule(self.memory, TdxChoices(), CostTable.zero())
        self.td = Td(0, "vm0", self.module.choices)
        self.td.runnable = True

    def choose(self, **changes: object) -> None:
        self.module.choices = self.td.sept.choices = attrs.evolve(self.module.choices, **changes)  # type: ignore[arg-type]

    def call(self, name: str, *args: object) -> int:
        """Status of `module.<name>(t, td, *args)`."""

        async def body(t: Task) -> int:
            method: Awaitable[int] = getattr(self.module, name)(t, self.td, *args)
            return await method

        status: int = self.run.one(body)
        return status

    def table(self) -> Rig:
        assert self.call("sept_add", GFN) == TdxStatus.SUCCESS
        return self

    def pending(self) -> Rig:
        self.table()
        assert self.call("page_aug", GFN, PFN) == TdxStatus.SUCCESS
        return self

    def mapped(self) -> Rig:
        self.pending()
        assert self.call("page_accept", GFN) == TdxStatus.SUCCESS
        return self

    def to(self, state: str) -> Rig:
        """The entry in that state, by the calls that lead there."""
        if state == SeptState.FREE:
            return self.table()
        if state in (SeptState.PENDING, SeptState.PENDING_BLOCKED):
            self.pending()
        else:
            self.mapped()
        if state in (SeptState.PENDING_BLOCKED, SeptState.BLOCKED):
            assert self.call("range_block", GFN) == TdxStatus.SUCCESS
        assert self.state() == state
        return self

    def state(self) -> str:
        return self.td.sept.state(GFN)

    def enter(self) -> TdVcpu:
        """A vCPU that stays inside the guest."""

        async def body(t: Task) -> TdVcpu:
            vcpu = self.td.epochs.vcpu(t)
            assert await self.module.vp_enter(t, self.td, vcpu)
            return vcpu

        vcpu: TdVcpu = self.run.one(body)
        return vcpu

    def leave(self, vcpu: TdVcpu) -> None:
        self.td.epochs.left(vcpu)


@pytest.fixture
def rig(run: Runner) -> Rig:
    return Rig(run)


LEAVES = [
    SeptState.FREE,
    SeptState.PENDING,
    SeptState.PENDING_BLOCKED,
    SeptState.MAPPED,
    SeptState.BLOCKED,
]


# -- SEPT.ADD --------------------------------------------------------------------------------------


def test_sept_add(rig: Rig) -> None:
    assert rig.call("sept_add", GFN) == TdxStatus.SUCCESS
    assert rig.td.sept.state(GFN, 2) == SeptState.NL_MAPPED


@pytest.mark.parametrize(
    ("ok", "status"), [(True, TdxStatus.SUCCESS), (False, TdxStatus.ENTRY_STATE_INCORRECT)]
)
def test_sept_add_over_a_table(rig: Rig, ok: bool, status: int) -> None:
    rig.choose(sept_add_mapped_ok=ok)
    assert rig.table().call("sept_add", GFN) == status


def test_sept_add_over_a_blocked_table(rig: Rig) -> None:
    rig.table().call("range_block", GFN, 2)
    assert rig.call("sept_add", GFN) == TdxStatus.ENTRY_STATE_INCORRECT


# -- PAGE.ADD --------------------------------------------------------------------------------------


def test_page_add(rig: Rig) -> None:
    rig.td.runnable = False
    assert rig.table().call("page_add", GFN, PFN, "data:kernel") == TdxStatus.SUCCESS
    assert rig.state() == SeptState.MAPPED
    assert rig.module.pamt == {PFN: Pamt(0, GFN)}
    assert rig.memory.read(PFN, rig.td.key) == "data:kernel"


def test_page_add_only_while_building(rig: Rig) -> None:
    assert rig.table().call("page_add", GFN, PFN, "data:x") == TdxStatus.OP_STATE_INCORRECT


def test_page_add_twice(rig: Rig) -> None:
    rig.td.runnable = False
    rig.table().call("page_add", GFN, PFN, "data:x")
    assert rig.call("page_add", GFN, PFN + 1, "data:y") == TdxStatus.ENTRY_NOT_FREE
    assert set(rig.module.pamt) == {PFN}


# -- PAGE.AUG --------------------------------------------------------------------------------------


def test_page_aug(rig: Rig) -> None:
    rig.memory.write(PFN, "data:host")
    assert rig.table().call("page_aug", GFN, PFN) == TdxStatus.SUCCESS
    assert rig.state() == SeptState.PENDING
    assert rig.module.pamt == {PFN: Pamt(0, GFN)}
    assert rig.memory.read(PFN) == "data:host"


def test_page_aug_without_a_table(rig: Rig) -> None:
    assert rig.call("page_aug", GFN, PFN) == TdxStatus.EPT_WALK_FAILED
    assert not rig.module.pamt


def test_page_aug_before_finalize(rig: Rig) -> None:
    rig.td.runnable = False
    assert rig.table().call("page_aug", GFN, PFN) == TdxStatus.OP_STATE_INCORRECT


@pytest.mark.parametrize("state", LEAVES[1:])
def test_page_aug_over_an_entry(rig: Rig, state: str) -> None:
    assert rig.to(state).call("page_aug", GFN, PFN + 1) == TdxStatus.ENTRY_NOT_FREE
    assert rig.state() == state


def test_page_aug_of_an_owned_frame(rig: Rig) -> None:
    assert rig.pending().call("page_aug", GFN + 1, PFN) == TdxStatus.PAGE_METADATA_INCORRECT
    assert rig.td.sept.state(GFN + 1) == SeptState.FREE


# -- ACCEPT: the decision table --------------------------------------------------------------------


def test_accept_zeroes_with_the_guests_key(rig: Rig) -> None:
    rig.memory.write(PFN, "data:host")
    assert rig.pending().call("page_accept", GFN) == TdxStatus.SUCCESS
    assert rig.state() == SeptState.MAPPED
    assert rig.memory.read(PFN, rig.td.key) == ZERO


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (SeptState.FREE, TdxStatus.EPT_VIOLATION),
        (SeptState.PENDING, TdxStatus.SUCCESS),
        (SeptState.PENDING_BLOCKED, TdxStatus.EPT_VIOLATION),
        (SeptState.MAPPED, TdxStatus.PAGE_ALREADY_ACCEPTED),
        (SeptState.BLOCKED, TdxStatus.EPT_VIOLATION),
    ],
)
def test_accept_by_state(rig: Rig, state: str, status: int) -> None:
    rig.to(state)
    rig.memory.write(PFN, "data:before", rig.td.key)
    assert rig.call("page_accept", GFN) == status
    assert rig.memory.read(PFN, rig.td.key) == (ZERO if status == TdxStatus.SUCCESS else "data:before")


def test_accept_without_a_table_or_with_a_blocked_one(rig: Rig) -> None:
    assert rig.call("page_accept", GFN) == TdxStatus.EPT_VIOLATION
    rig.pending().call("range_block", GFN, 2)
    assert rig.call("page_accept", GFN) == TdxStatus.EPT_VIOLATION


# -- RANGE.BLOCK and UNBLOCK -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "status", "after"),
    [
        (SeptState.FREE, TdxStatus.ENTRY_STATE_INCORRECT, SeptState.FREE),
        (SeptState.PENDING, TdxStatus.SUCCESS, SeptState.PENDING_BLOCKED),
        (SeptState.PENDING_BLOCKED, TdxStatus.ALREADY_BLOCKED, SeptState.PENDING_BLOCKED),
        (SeptState.MAPPED, TdxStatus.SUCCESS, SeptState.BLOCKED),
        (SeptState.BLOCKED, TdxStatus.ALREADY_BLOCKED, SeptState.BLOCKED),
    ],
)
def test_block_by_state(rig: Rig, state: str, status: int, after: str) -> None:
    assert rig.to(state).call("range_block", GFN) == status
    assert rig.state() == after


def test_block_of_a_table(rig: Rig) -> None:
    rig.mapped()
    assert rig.call("range_block", GFN, 2) == TdxStatus.SUCCESS
    assert rig.td.sept.state(GFN, 2) == SeptState.NL_BLOCKED
    assert rig.td.sept.walk(GFN) is None


def test_block_notes_the_epoch(rig: Rig) -> None:
    rig.mapped().call("mem_track")
    rig.call("range_block", GFN)
    entry = rig.td.sept.find(GFN)
    assert entry is not None
    assert entry.bepoch == rig.td.epochs.epoch == 2


# -- PAGE.REMOVE -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [SeptState.PENDING, SeptState.MAPPED])
def test_remove_after_block_and_track(rig: Rig, state: str) -> None:
    rig.to(state)
    rig.memory.write(PFN, "data:guest", rig.td.key)
    rig.call("range_block", GFN)
    rig.call("mem_track")
    assert rig.call("page_remove", GFN) == TdxStatus.SUCCESS
    assert rig.state() == SeptState.FREE
    assert not rig.module.pamt
    assert rig.memory.read(PFN, rig.td.key) == "data:guest"
    assert rig.call("page_aug", GFN, PFN) == TdxStatus.SUCCESS


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (SeptState.FREE, TdxStatus.ENTRY_STATE_INCORRECT),
        (SeptState.PENDING, TdxStatus.NOT_BLOCKED),
        (SeptState.MAPPED, TdxStatus.NOT_BLOCKED),
        (SeptState.PENDING_BLOCKED, TdxStatus.TRACKING_NOT_DONE),
        (SeptState.BLOCKED, TdxStatus.TRACKING_NOT_DONE),
    ],
)
def test_remove_refused_by_state(rig: Rig, state: str, status: int) -> None:
    assert rig.to(state).call("page_remove", GFN) == status
    assert rig.state() == state


def test_remove_while_a_vcpu_is_inside_from_before(rig: Rig) -> None:
    vcpu = rig.mapped().enter()
    rig.call("range_block", GFN)
    rig.call("mem_track")
    assert rig.call("page_remove", GFN) == TdxStatus.TRACKING_NOT_DONE
    rig.leave(vcpu)
    assert rig.call("page_remove", GFN) == TdxStatus.SUCCESS


def test_lines_of_a_removed_page_are_in_the_caches_until_written_back(rig: Rig, run: Runner) -> None:
    async def write_back(t: Task) -> int:
        return await rig.module.page_wbinvd(t, PFN)

    rig.mapped()
    rig.call("range_block", GFN)
    rig.call("mem_track")
    rig.call("page_remove", GFN)
    assert rig.module.unflushed == {PFN}
    assert run.one(write_back) == TdxStatus.SUCCESS
    assert not rig.module.unflushed


def test_a_vcpu_that_entered_after_track_does_not_matter(rig: Rig) -> None:
    rig.mapped().call("range_block", GFN)
    rig.call("mem_track")
    rig.enter()
    assert rig.call("page_remove", GFN) == TdxStatus.SUCCESS


def test_remove_needs_no_tracking_while_building(rig: Rig) -> None:
    rig.td.runnable = False
    rig.table().call("page_add", GFN, PFN, "data:x")
    assert rig.call("page_remove", GFN) == TdxStatus.SUCCESS


# -- TRACK and the tracked test --------------------------------------------------------------------


def test_track_starts_an_epoch(rig: Rig) -> None:
    assert rig.call("mem_track") == TdxStatus.SUCCESS
    assert rig.td.epochs.epoch == 2


def test_track_while_a_vcpu_is_left_of_the_previous_epoch(rig: Rig) -> None:
    vcpu = rig.enter()
    assert rig.call("mem_track") == TdxStatus.SUCCESS
    assert rig.call("mem_track") == TdxStatus.PREVIOUS_TLB_EPOCH_BUSY
    assert rig.td.epochs.epoch == 2
    rig.leave(vcpu)
    assert rig.call("mem_track") == TdxStatus.SUCCESS


@pytest.mark.parametrize(
    ("behind", "inside", "tracked"),
    [(0, False, False), (1, False, True), (1, True, False), (2, True, True)],
)
def test_tracked(behind: int, inside: bool, tracked: bool) -> None:
    """`inside`: a vCPU is still in the epoch of the blocking."""
    epochs = Epochs("vm0")
    epochs.epoch = 10
    bepoch = epochs.epoch - behind
    if inside:
        epochs.count[bepoch & 1] = 1
    assert epochs.tracked(bepoch) is tracked


def test_entering_a_later_epoch_flushes_the_tlb(rig: Rig) -> None:
    vcpu = rig.enter()
    vcpu.tlb[GFN] = PFN
    rig.leave(vcpu)
    rig.td.epochs.entered(vcpu)
    assert vcpu.tlb
    rig.leave(vcpu)
    rig.call("mem_track")
    rig.td.epochs.entered(vcpu)
    assert not vcpu.tlb


# -- WBINVD ----------------------------------------------------------------------------------------


def test_wbinvd_of_a_free_frame_only(rig: Rig, run: Runner) -> None:
    async def body(t: Task) -> int:
        return await rig.module.page_wbinvd(t, PFN)

    assert run.one(body) == TdxStatus.SUCCESS
    assert run.one(body, faults={"tdx_wbinvd": 1}) != TdxStatus.SUCCESS
    rig.pending()
    assert run.one(body) == TdxStatus.PAGE_METADATA_INCORRECT


# -- locks: the contention matrix (arch.md 2.3), call by call ---------------------------------------------

HOST_CALLS = [
    ("sept_add", (GFN,)),
    ("page_aug", (GFN, PFN)),
    ("range_block", (GFN,)),
    ("page_remove", (GFN,)),
]


@pytest.mark.parametrize(("name", "args"), HOST_CALLS, ids=[name for name, _ in HOST_CALLS])
@pytest.mark.parametrize("exclusive", [True, False], ids=["tree exclusive", "tree shared"])
def test_tree_lock(rig: Rig, run: Runner, name: str, args: tuple[int, ...], exclusive: bool) -> None:
    """Held exclusively, everything is BUSY; held shared, only RANGE.BLOCK is."""

    async def hold(t: Task) -> bool:
        return await rig.td.tree.try_lock(t, exclusive)

    rig.table()
    assert run.one(hold)
    busy = rig.call(name, *args) == TdxStatus.OPERAND_BUSY
    assert busy is (exclusive or name == "range_block")
    assert sum(rig.module.busy.values()) == busy


@pytest.mark.parametrize("name", ["page_aug", "page_remove"])
def test_module_1_0_takes_the_tree_exclusively(rig: Rig, run: Runner, name: str) -> None:
    rig.choose(exclusive_tree_ops=frozenset({"BLOCK", "AUG", "REMOVE"}))

    async def hold(t: Task) -> bool:
        return await rig.td.tree.try_lock(t, False)

    rig.table()
    assert run.one(hold)
    assert rig.call(name, GFN, *((PFN,) if name == "page_aug" else ())) == TdxStatus.OPERAND_BUSY


@pytest.mark.parametrize("guest", [True, False], ids=["guest lock", "host lock"])
@pytest.mark.parametrize(("name", "args"), [*HOST_CALLS[1:], ("page_accept", (GFN,))], ids=str)
def test_entry_lock(rig: Rig, run: Runner, name: str, args: tuple[int, ...], guest: bool) -> None:
    async def hold(t: Task) -> bool:
        return await rig.td.sept.try_lock(t, GFN, 1, guest) is not None

    rig.pending()
    assert run.one(hold)
    assert rig.call(name, *args) == TdxStatus.OPERAND_BUSY
    assert rig.state() == SeptState.PENDING
    assert not rig.td.tree.sharers
    assert rig.td.tree.owner is None


@pytest.mark.parametrize("priority", [True, False])
def test_host_priority(rig: Rig, run: Runner, priority: bool) -> None:
    """A host call that lost to the guest gets the entry before the guest's next try."""
    rig.choose(host_priority=priority)

    async def hold(t: Task) -> None:
        await rig.td.sept.try_lock(t, GFN, 1, True)

    rig.pending()
    run.one(hold)
    assert rig.call("range_block", GFN) == TdxStatus.OPERAND_BUSY
    rig.td.sept.unlock(GFN, 1)
    assert rig.call("page_accept", GFN) == (TdxStatus.OPERAND_BUSY if priority else TdxStatus.SUCCESS)
    assert rig.call("range_block", GFN) == TdxStatus.SUCCESS
    assert rig.call("page_accept", GFN) == TdxStatus.EPT_VIOLATION


@pytest.mark.parametrize("locks", [True, False])
def test_guest_lock_on_a_free_entry(rig: Rig, run: Runner, locks: bool) -> None:
    """Newer modules find out that the entry is free before they lock it."""
    rig.choose(guest_locks_free=locks)

    async def hold(t: Task) -> None:
        await rig.td.sept.try_lock(t, GFN, 1, False)

    rig.table()
    run.one(hold)
    expected = TdxStatus.OPERAND_BUSY if locks else TdxStatus.EPT_VIOLATION
    assert rig.call("page_accept", GFN) == expected


def test_epoch_lock(rig: Rig, run: Runner) -> None:
    """TRACK against VP.ENTER, both ways; VP.ENTER against itself."""

    async def entering(t: Task) -> list[bool]:
        lock = rig.td.epochs.lock
        got = [await lock.try_lock(t, False)]
        got.append(await rig.module.mem_track(t, rig.td) == TdxStatus.OPERAND_BUSY)
        got.append(await rig.module.vp_enter(t, rig.td, rig.td.epochs.vcpu(t)))
        await lock.unlock(t, False)
        return got

    async def tracking(t: Task) -> list[bool]:
        lock = rig.td.epochs.lock
        got = [await lock.try_lock(t, True)]
        got.append(not await rig.module.vp_enter(t, rig.td, rig.td.epochs.vcpu(t)))
        await lock.unlock(t, True)
        return got

    assert run.one(entering) == [True] * 3
    assert run.one(tracking) == [True] * 2
    assert rig.module.busy == {"TDH.MEM.TRACK": 1, "TDH.VP.ENTER": 1}


def test_zero_step_makes_vp_enter_take_the_tree(rig: Rig, run: Runner) -> None:
    async def body(t: Task) -> list[bool]:
        vcpu = rig.td.epochs.vcpu(t)
        await rig.td.tree.try_lock(t, False)
        got = []
        for faults in (5, 6):
            vcpu.faults = faults
            got.append(await rig.module.vp_enter(t, rig.td, vcpu))
            rig.td.epochs.left(vcpu)
        await rig.td.tree.unlock(t, False)
        got.append(await rig.module.vp_enter(t, rig.td, vcpu))
        return got

    assert run.one(body) == [True, False, True]


def test_tables_are_per_2m_region(rig: Rig) -> None:
    rig.pending()
    assert rig.call("page_aug", GFN + 1, PFN + 1) == TdxStatus.SUCCESS
    assert rig.call("page_aug", GFN + 512, PFN + 2) == TdxStatus.EPT_WALK_FAILED
    assert rig.td.sept.find(0x800, 2) is not None
    assert rig.td.sept.key(GFN, 2) == (2, 0x800)
    assert rig.td.sept.find(0x800, 2) is rig.td.sept.find(GFN, 2)
