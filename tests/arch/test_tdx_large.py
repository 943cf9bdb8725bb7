"""TDX at 2 MiB: states and errors of 2M leaves, resumable accepts, DEMOTE, and KVM's use of them (arch.md 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from tests.arch.test_tdx_module import Rig

from gmemsim.arch.choices import TdxChoices
from gmemsim.arch.memory import ZERO, PhysicalMemory
from gmemsim.arch.sept import SeptState
from gmemsim.arch.tdx import Tdx
from gmemsim.arch.tdx_host import ENOMEM
from gmemsim.arch.tdx_state import Pamt, TdxStatus
from gmemsim.engine.op import Op

if TYPE_CHECKING:
    from tests.arch.conftest import Body, FakeVm, Runner

    from gmemsim.engine.task import Task

GFN = 0x800
PFN = 0x1200
PART = 512 // TdxChoices().accept_checks


@pytest.fixture
def rig(run: Runner) -> Rig:
    return Rig(run)


def aug(rig: Rig) -> Rig:
    assert rig.call("page_aug", GFN, PFN, 2) == TdxStatus.SUCCESS
    return rig


# -- module ----------------------------------------------------------------------------------------


def test_aug_and_accept(rig: Rig) -> None:
    aug(rig)
    assert rig.td.sept.state(GFN, 2) == SeptState.PENDING
    assert rig.module.pamt == {PFN: Pamt(0, GFN, 2)}
    assert rig.module.owner(PFN + 7) == Pamt(0, GFN + 7, 2)
    assert rig.module.owner(PFN + 512) is None
    assert rig.call("page_accept", GFN, 2) == TdxStatus.SUCCESS
    assert rig.td.sept.state(GFN, 2) == SeptState.MAPPED
    assert {rig.memory.read(PFN + at, rig.td.key) for at in (0, 1, 511)} == {ZERO}
    assert rig.td.accepted == set(range(GFN, GFN + 512))


def test_a_4k_page_in_use_refuses_2m_and_the_other_way_round(rig: Rig) -> None:
    rig.table()
    assert rig.call("page_aug", GFN + 5, PFN + 9) == TdxStatus.SUCCESS
    assert rig.call("page_aug", GFN + 512, PFN, 2) == TdxStatus.PAGE_METADATA_INCORRECT
    other = Rig(rig.run)
    aug(other)
    assert other.call("sept_add", GFN + 512) == TdxStatus.SUCCESS
    assert other.call("page_aug", GFN + 512, PFN + 3) == TdxStatus.PAGE_METADATA_INCORRECT


def test_a_table_takes_no_2m_page(rig: Rig) -> None:
    rig.table()
    assert rig.call("page_aug", GFN, PFN, 2) == TdxStatus.ENTRY_NOT_FREE


@pytest.mark.parametrize(
    ("before", "level", "status"),
    [
        ("free", 2, TdxStatus.EPT_VIOLATION),
        ("pending", 1, TdxStatus.EPT_VIOLATION),
        ("pending", 2, TdxStatus.SUCCESS),
        ("mapped", 1, TdxStatus.PAGE_ALREADY_ACCEPTED),
        ("mapped", 2, TdxStatus.PAGE_ALREADY_ACCEPTED),
        ("blocked", 1, TdxStatus.EPT_VIOLATION),
        ("blocked", 2, TdxStatus.EPT_VIOLATION),
        ("table", 2, TdxStatus.PAGE_SIZE_MISMATCH),
        ("table", 1, TdxStatus.EPT_VIOLATION),
    ],
)
def test_accept_table(rig: Rig, before: str, level: int, status: int) -> None:
    if before == "table":
        rig.table()
    elif before != "free":
        aug(rig)
        if before != "pending":
            assert rig.call("page_accept", GFN, 2) == TdxStatus.SUCCESS
        if before == "blocked":
            assert rig.call("range_block", GFN, 2) == TdxStatus.SUCCESS
    assert rig.call("page_accept", GFN, level) == status


def test_an_interrupted_accept_goes_on_where_it_was_and_block_begins_anew(rig: Rig, run: Runner) -> None:
    aug(rig)
    vcpu = rig.enter()
    vcpu.kicked = True

    async def body(t: Task) -> int:
        return await rig.module.page_accept(t, rig.td, GFN, 2, vcpu)

    entry = rig.td.sept.find(GFN, 2)
    assert entry is not None
    for done in (PART, 2 * PART):
        assert run.one(body) == TdxStatus.INTERRUPTED_RESUMABLE
        assert entry.accepted == done
        assert entry.state == SeptState.PENDING
    assert rig.call("range_block", GFN, 2) == TdxStatus.SUCCESS
    assert entry.accepted == 0
    rig.leave(vcpu)


def test_demote(rig: Rig) -> None:
    aug(rig)
    assert rig.call("page_accept", GFN, 2) == TdxStatus.SUCCESS
    rig.memory.write(PFN + 3, "data:kept", rig.td.key)
    assert rig.call("page_demote", GFN) == TdxStatus.NOT_BLOCKED
    assert rig.call("range_block", GFN, 2) == TdxStatus.SUCCESS
    assert rig.call("page_demote", GFN) == TdxStatus.TRACKING_NOT_DONE
    assert rig.call("mem_track") == TdxStatus.SUCCESS
    assert rig.call("page_demote", GFN) == TdxStatus.SUCCESS
    assert rig.td.sept.state(GFN, 2) == SeptState.NL_MAPPED
    assert {rig.td.sept.state(GFN + at) for at in range(512)} == {SeptState.MAPPED}
    assert rig.memory.read(PFN + 3, rig.td.key) == "data:kept"
    assert rig.module.owner(PFN + 3) == Pamt(0, GFN + 3)
    assert rig.module.small == {PFN >> 9: 512}
    assert rig.call("page_demote", GFN) == TdxStatus.ENTRY_STATE_INCORRECT


def test_demote_of_a_pending_page_gives_pending_pages(rig: Rig) -> None:
    rig.td.runnable = True
    aug(rig)
    rig.td.runnable = False
    assert rig.call("page_demote", GFN) == TdxStatus.SUCCESS
    assert {rig.td.sept.state(GFN + at) for at in range(512)} == {SeptState.PENDING}


def test_remove(rig: Rig) -> None:
    aug(rig)
    assert rig.call("range_block", GFN, 2) == TdxStatus.SUCCESS
    assert rig.call("mem_track") == TdxStatus.SUCCESS
    assert rig.call("page_remove", GFN, 2) == TdxStatus.SUCCESS
    assert not rig.module.pamt
    assert rig.td.sept.state(GFN, 2) == SeptState.FREE


# -- KVM's side ------------------------------------------------------------------------------------


def machine(run: Runner, vm: FakeVm, *, accepted: bool = True, **choices: Any) -> Tdx:
    """A finalized TD with a 2M page at GFN; nobody is inside."""
    tdx = Tdx(PhysicalMemory(), choices=attrs.evolve(TdxChoices(), **choices))

    async def setup(t: Task) -> None:
        await tdx.launch_finish(t, vm)
        assert await tdx.set_spte(t, vm, GFN, PFN, True, 2) == 0
        if accepted:
            await tdx.accept(t, vm, GFN, 2)
            await tdx.guest_access(t, vm, GFN + 3, PFN + 3, True, "data:neighbour")

    run.one(setup)
    for vcpu in tdx.td(vm).epochs.vcpus.values():
        tdx.td(vm).epochs.left(vcpu)
    tdx.td(vm).epochs.vcpus.clear()
    return tdx


def ask(run: Runner, body: Any) -> Any:
    return run.one(body)


def test_levels(run: Runner, vm: FakeVm) -> None:
    tdx = Tdx(PhysicalMemory())

    async def level(t: Task, private: bool = True, prefetch: bool = False, gfn: int = GFN) -> int:
        return await tdx.max_mapping_level(t, vm, gfn, PFN, private, prefetch)

    assert ask(run, level) == 1  # not finalized
    ask(run, lambda t: tdx.launch_finish(t, vm))
    assert ask(run, level) == 2
    assert ask(run, lambda t: level(t, prefetch=True)) == 1
    assert ask(run, lambda t: level(t, private=False)) == 0
    ask(run, lambda t: tdx.accept_fault(t, vm, 0, GFN + 5, 1))
    assert ask(run, level) == 1
    assert ask(run, lambda t: level(t, gfn=GFN + 512)) == 2
    tdx.choices = attrs.evolve(tdx.choices, level_rule="4k")
    assert ask(run, lambda t: level(t, gfn=GFN + 512)) == 1


def test_the_vcpus_own_request_where_kvm_notes_it(run: Runner, vm: FakeVm) -> None:
    tdx = Tdx(PhysicalMemory(), choices=attrs.evolve(TdxChoices(), level_rule="vcpu_range"))

    async def body(t: Task) -> tuple[int, int]:
        await tdx.launch_finish(t, vm)
        await tdx.accept_fault(t, vm, 0, GFN + 5, 1)
        return (
            await tdx.max_mapping_level(t, vm, GFN, PFN, True, False),
            await tdx.max_mapping_level(t, vm, GFN + 512, PFN + 512, True, False),
        )

    assert run.one(body) == (1, 2)
    assert not tdx.td(vm).inhibited


def test_split_keeps_content_and_a_table_is_not_promoted(run: Runner, vm: FakeVm) -> None:
    tdx = machine(run, vm)
    assert ask(run, lambda t: tdx.split_spte(t, vm, GFN, PFN, 2)) == 0
    seen = ask(run, lambda t: tdx.guest_access(t, vm, GFN + 3, PFN + 3, True, None))
    assert (seen.kind, seen.value) == ("ok", "data:neighbour")
    assert ask(run, lambda t: tdx.max_mapping_level(t, vm, GFN, PFN, True, False)) == 1
    ask(run, lambda t: tdx.remove_sptes(t, vm, [(GFN, PFN)]))
    assert tdx.module.owner(PFN) is None
    assert tdx.module.owner(PFN + 3) is not None
    assert not tdx.flags


def test_removal_of_the_whole_leaf(run: Runner, vm: FakeVm) -> None:
    tdx = machine(run, vm)
    ask(run, lambda t: tdx.remove_sptes(t, vm, [(GFN, PFN)], 2))
    assert not tdx.module.pamt
    assert all(ask(run, lambda t, at=at: as_none(tdx.page_freed(t, PFN + at))) is None for at in (0, 511))


async def as_none(value: object) -> object:
    return value


def test_a_split_without_pages_changes_nothing(run: Runner, vm: FakeVm) -> None:
    tdx = machine(run, vm)

    async def body(t: Task) -> int:
        t.engine.faults["tdx_pamt_cache"] = 1
        return await tdx.split_spte(t, vm, GFN, PFN, 2)

    rets = {outcome.results[0] for outcome in run.all(lambda: (body,))}
    assert ENOMEM in rets


# -- races -----------------------------------------------------------------------------------------


def accept(tdx: Tdx, vm: FakeVm, gfn: int, level: int) -> Body:
    async def body(t: Task) -> str:
        result = await tdx.accept(t, vm, gfn, level)
        return result.value or result.kind

    return body


def test_a_zap_of_the_whole_leaf_against_an_accept_in_progress(run: Runner, vm: FakeVm) -> None:
    """The accept is interrupted by the kick, or BLOCK is busy once and tries again with everybody out."""
    actors: list[Tdx] = []

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm, accepted=False, accept_checks=2)
        actors.append(tdx)

        async def zap(t: Task) -> str:
            await tdx.remove_sptes(t, vm, [(GFN, PFN)], 2)
            return "zapped"

        return accept(tdx, vm, GFN, 2), zap

    seen = {outcome.results[0] for outcome in run.seeds(make, 300)}
    assert seen <= {"accepted", "npf", "busy"}
    assert {"accepted", "npf"} <= seen
    assert all(tdx.flags == [] for tdx in actors)


def test_a_store_into_a_neighbour_survives_a_split(run: Runner, vm: FakeVm) -> None:
    """Complete up to the runs drawn: whoever is inside when the leaf is blocked is kicked and walks again."""
    finals: set[str] = set()

    def make() -> tuple[Body, ...]:
        tdx = machine(run, vm)

        async def store(t: Task) -> str:
            result = await tdx.guest_access(t, vm, GFN + 9, PFN + 9, True, "data:new")
            while result.kind == "npf":
                result = await tdx.guest_access(t, vm, GFN + 9, PFN + 9, True, "data:new")
            finals.add(tdx.memory.read(PFN + 9, tdx.td(vm).key))
            return result.kind

        async def split(t: Task) -> int:
            return await tdx.split_spte(t, vm, GFN, PFN, 2)

        return store, split

    for outcome in run.seeds(make, 200):
        assert outcome.results == ["ok", 0]
    assert finals == {"data:new"}


class RemovesUntracked(Tdx):
    """REMOVE follows BLOCK at once (arch.md 5.1 B8)."""

    async def track(self, t: Task, td: Any) -> None:
        pass


def test_removal_without_track_is_caught(run: Runner, vm: FakeVm) -> None:
    tdx = machine(run, vm)
    wrong = RemovesUntracked(tdx.memory)

    async def body(t: Task) -> None:
        await wrong.remove_sptes(t, vm, [(GFN, PFN)], 2)

    run.one(body)
    assert [name for name, _ in wrong.flags] == ["TLB_STALE"]


class ForgetsFailures(Tdx):
    """What the module would not give back is freed (arch.md 5.1 B11)."""

    async def _remove_leaf(self, t: Task, td: Any, gfn: int, pfn: int, level: int) -> int:
        if t.traps:
            await t.point(Op("rmw", td.sept.label))
        return 0


def test_a_page_that_was_not_removed_is_flagged_when_freed(run: Runner, vm: FakeVm) -> None:
    tdx = machine(run, vm)
    wrong = ForgetsFailures(tdx.memory)
    run.one(lambda t: wrong.remove_sptes(t, vm, [(GFN, PFN)], 2))
    assert run.one(lambda t: as_none(wrong.page_freed(t, PFN + 511))) == "SEPT_UAF"
