"""KVM's TDX hooks and the accesses of guest and host, one at a time (arch.md 2.2, 2.5, 2.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest

from gmemsim.arch.base import GuestAccess
from gmemsim.arch.choices import TdxChoices
from gmemsim.arch.costs import CostTable
from gmemsim.arch.memory import CIPHER, ZERO, PhysicalMemory
from gmemsim.arch.sept import SeptState
from gmemsim.arch.tdx import Tdx
from gmemsim.arch.tdx_state import TdxStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.arch.conftest import FakeVm, Outcome, Runner

    from gmemsim.engine.task import Task

GFN = 0x805
PFN = 0x1005
EIO, EBUSY, EINVAL, EOPNOTSUPP = -5, -16, -22, -95


class Host:
    """A TDX actor whose hooks are called without a task; flags of results and of the actor are in `flags`."""

    def __init__(self, run: Runner, vm: FakeVm, costs: CostTable | None = None, **choices: Any) -> None:
        self.run = run
        self.vm = vm
        self.tdx = Tdx(PhysicalMemory(), costs, attrs.evolve(TdxChoices(), **choices))
        self.returned: list[str] = []

    @property
    def flags(self) -> list[str]:
        return self.returned + [name for name, _ in self.tdx.flags]

    def do(self, *steps: Callable[[Task], Awaitable[Any]], faults: dict[str, int] | None = None) -> Any:
        """The steps in one task; the result of the last."""

        async def body(t: Task) -> Any:
            result: Any = None
            for step in steps:
                result = await step(t)
            return result

        result = self.run.one(body, faults=faults)
        if isinstance(result, GuestAccess) and result.flag:
            self.returned.append(result.flag)
        return result

    def timed(self, *steps: Callable[[Task], Awaitable[Any]]) -> Outcome:
        async def body(t: Task) -> Any:
            for step in steps:
                await step(t)

        return self.run(body)

    # Steps.

    def set_spte(self, gfn: int = GFN, pfn: int = PFN) -> Callable[[Task], Awaitable[int]]:
        return lambda t: self.tdx.set_spte(t, self.vm, gfn, pfn, True)

    def remove(self, gfn: int = GFN, pfn: int = PFN) -> Callable[[Task], Awaitable[None]]:
        return lambda t: self.tdx.remove_sptes(t, self.vm, [(gfn, pfn)])

    def populate(
        self, source: str | None = "data:x", gfn: int = GFN, pfn: int = PFN
    ) -> Callable[[Task], Awaitable[int]]:
        """The callback, with what KVM does to map the page (`set_spte`, once)."""

        def step(t: Task) -> Awaitable[int]:
            return self.tdx.populate(t, self.vm, gfn, pfn, source, lambda: self.set_spte(gfn, pfn)(t))

        return step

    def finish(self, t: Task) -> Awaitable[int]:
        return self.tdx.launch_finish(t, self.vm)

    def accept(self, t: Task) -> Awaitable[GuestAccess]:
        return self.tdx.guest_accept(t, self.vm, GFN, PFN)

    def guest(
        self, write: str | None = None, private: bool = True
    ) -> Callable[[Task], Awaitable[GuestAccess]]:
        return lambda t: self.tdx.guest_access(t, self.vm, GFN, PFN, private, write)

    def host(self, write: str | None = None) -> str:
        async def body(t: Task) -> str:
            if write is None:
                return self.tdx.host_read(t, PFN)
            self.tdx.host_write(t, PFN, write)
            return write

        value: str = self.run.one(body)
        return value

    def free(self, pfn: int = PFN) -> str | None:
        async def body(t: Task) -> str | None:
            return self.tdx.page_freed(t, pfn)

        flag: str | None = self.run.one(body)
        return flag

    def ready(self) -> Host:
        """Finalized, one page augmented, accepted and written."""
        self.do(self.finish, self.set_spte(), self.accept, self.guest("data:secret"))
        return self

    def state(self) -> str:
        return self.tdx.td(self.vm).sept.state(GFN)


@pytest.fixture
def host(run: Runner, vm: FakeVm) -> Host:
    return Host(run, vm)


# -- hooks of guest_memfd --------------------------------------------------------------------------


def test_prepare_and_the_free_hooks_do_nothing(host: Host) -> None:
    async def body(t: Task) -> list[Any]:
        tdx, vm = host.tdx, host.vm
        done: list[Any] = [await tdx.prepare(t, vm, GFN, PFN, 0), await tdx.make_private(t, vm, GFN, PFN, 1)]
        await tdx.invalidate(t, PFN, PFN + 1)
        await tdx.make_shared(t, PFN, 1)
        await tdx.invalidate_range(t, vm, GFN, GFN + 1)
        return done

    outcome = host.run(body)
    assert outcome.results == [[(0, False), (0, False)]]
    assert outcome.events == []


def test_max_level(host: Host) -> None:
    assert host.tdx.max_level(PFN, True) == 2
    assert host.tdx.max_level(PFN, False) == 0
    host.tdx.choices = attrs.evolve(host.tdx.choices, level_rule="4k")
    assert host.tdx.max_level(PFN, True) == 1


# -- build -----------------------------------------------------------------------------------------


def test_populate_adds_the_page_where_the_leaf_is_made(host: Host) -> None:
    """PAGE.ADD comes from `set_spte`, with the source that the callback keeps for it."""
    outcome = host.timed(host.populate())
    assert [event.op for event in outcome.events] == ["TDH.MEM.SEPT.ADD", "TDH.MEM.PAGE.ADD"]
    assert host.state() == SeptState.MAPPED
    assert host.do(host.finish) == 0
    assert host.do(host.guest()) == GuestAccess("ok", "data:x")


def test_a_leaf_before_finalize_without_a_source_is_a_kvm_bug(host: Host) -> None:
    assert host.do(host.set_spte()) == EIO
    assert host.flags == ["KVM_BUG"]


def test_populate_without_a_source(host: Host) -> None:
    assert host.do(host.populate(None)) == EOPNOTSUPP


def test_populate_in_place(run: Runner, vm: FakeVm) -> None:
    host = Host(run, vm, in_place_source=True)
    host.host("data:in place")
    assert host.do(host.populate(None), host.finish) == 0
    assert host.do(host.guest()) == GuestAccess("ok", "data:in place")


def test_populate_twice(host: Host) -> None:
    """KVM finds its own entry before the module is asked; asked all the same, the module refuses and the VM is dead."""
    assert host.do(host.populate(), host.populate("data:y")) == EIO
    assert host.flags == ["KVM_BUG"]


def test_populate_of_an_owned_frame(host: Host) -> None:
    assert host.do(host.populate(), host.populate(gfn=GFN + 1)) == EIO
    assert host.flags == ["PAMT_DOUBLE_MAP"]


def test_populate_ebusy_is_kvms_to_retry(host: Host) -> None:
    td = host.tdx.td(host.vm)

    async def drop(t: Task) -> int:
        # One task holds and drops: the lock belongs to it.
        await td.tree.try_lock(t, True)
        busy = await host.populate()(t)
        await td.tree.unlock(t, True)
        assert busy == EBUSY
        return await host.populate()(t)

    assert host.do(drop) == 0


@pytest.mark.parametrize(("measure", "ns"), [(False, 10), (True, 110)])
def test_populate_measures_if_chosen(run: Runner, vm: FakeVm, measure: bool, ns: int) -> None:
    """MR.EXTEND comes after the page is mapped."""
    host = Host(run, vm, CostTable.zero().replace(page_add=10, mr_extend=100), measure=measure)
    assert host.timed(host.populate()).now == ns


def test_launch_finish_twice(host: Host) -> None:
    assert host.do(host.populate(), host.finish) == 0
    assert host.do(host.finish) == EINVAL


def test_zap_while_building_neither_tracks_nor_kicks(host: Host) -> None:
    outcome = host.timed(host.populate(), host.remove())
    assert outcome.ops("TDH.MEM.TRACK") == []
    assert outcome.ops("TDH.MEM.PAGE.REMOVE") == [0]
    assert host.free() is None


# -- run time --------------------------------------------------------------------------------------


def test_set_spte_adds_the_table_and_augments(host: Host) -> None:
    outcome = host.timed(host.finish, host.set_spte(), host.set_spte(GFN + 1, PFN + 1))
    assert outcome.ops("TDH.MEM.SEPT.ADD") == [0]
    assert outcome.ops("TDH.MEM.PAGE.AUG") == [0, 0]
    assert host.state() == SeptState.PENDING


def test_set_spte_of_shared_memory_is_none_of_the_modules_business(host: Host) -> None:
    async def body(t: Task) -> int:
        return await host.tdx.set_spte(t, host.vm, GFN, PFN, False)

    assert host.timed(host.finish, body).events == []


def test_remove_sptes_in_order(host: Host) -> None:
    host.ready()
    outcome = host.timed(host.remove())
    assert [event.op for event in outcome.events] == [
        "TDH.MEM.RANGE.BLOCK",
        "TDH.MEM.TRACK",
        "TDH.MEM.PAGE.REMOVE",
        "TDH.PHYMEM.PAGE.WBINVD",
    ]
    assert host.state() == SeptState.FREE
    assert host.free() is None
    assert host.flags == []


def test_remove_charges_every_step(run: Runner, vm: FakeVm) -> None:
    costs = CostTable.zero().replace(
        block=1,
        track=10,
        shootdown_base=100,
        shootdown_per_cpu=0,
        remove=1000,
        wbinvd=10_000,
        reset_4k=100_000,
    )
    host = Host(run, vm, costs, reset_removed="always").ready()
    assert host.timed(host.remove()).now == 111_111


def test_zap_destroys_the_content(host: Host) -> None:
    host.ready()
    host.do(host.remove(), host.set_spte(), host.accept)
    assert host.do(host.guest()) == GuestAccess("ok", ZERO)


@pytest.mark.parametrize(
    ("reset", "erratum", "seen"),
    [
        ("erratum", False, CIPHER),
        ("erratum", True, ZERO),
        ("always", False, ZERO),
        ("never", True, CIPHER),
    ],
)
def test_what_the_host_reads_after_removal(
    run: Runner, vm: FakeVm, reset: str, erratum: bool, seen: str
) -> None:
    host = Host(run, vm, reset_removed=reset, erratum=erratum).ready()
    host.do(host.remove())
    assert host.host() == seen
    assert host.flags == []


def test_host_data_never_shows_after_accept(host: Host) -> None:
    host.host("data:host")
    host.do(host.finish, host.set_spte(), host.accept)
    assert host.do(host.guest()) == GuestAccess("ok", ZERO)


def test_accept_answers(host: Host) -> None:
    assert host.do(host.finish, host.accept) == GuestAccess("npf")
    assert host.do(host.set_spte(), host.accept) == GuestAccess("ok", "accepted")
    assert host.do(host.accept) == GuestAccess("ok", "already_accepted")
    assert host.flags == []


def test_private_access_without_a_leaf_faults(host: Host) -> None:
    assert host.do(host.finish, host.guest()) == GuestAccess("npf")


def test_access_before_accept_kills_the_vm(host: Host) -> None:
    assert host.do(host.finish, host.set_spte(), host.guest()) == GuestAccess("dead")
    assert host.do(host.guest()) == GuestAccess("dead")
    assert host.do(host.accept) == GuestAccess("dead")
    assert host.do(host.set_spte()) == EIO
    assert host.flags == []


def test_access_before_accept_with_ve(run: Runner, vm: FakeVm) -> None:
    host = Host(run, vm, sept_ve_disable=False)
    assert host.do(host.finish, host.set_spte(), host.guest()) == GuestAccess("exception", "#VE")
    assert host.do(host.accept) == GuestAccess("ok", "accepted")


def test_shared_access_is_plain(host: Host) -> None:
    assert host.do(host.guest("data:s", private=False)) == GuestAccess("ok", "data:s")
    assert host.host() == "data:s"
    assert host.do(host.guest(private=False)) == GuestAccess("ok", "data:s")
    assert host.flags == []


# -- each flag, alone ------------------------------------------------------------------------------


def test_poison_write_then_mce(host: Host) -> None:
    host.ready()
    host.host("data:host")
    assert host.flags == ["TDX_POISON_WRITE"]
    assert host.do(host.guest()) == GuestAccess("dead", flag="TDX_MCE")
    assert host.flags == ["TDX_MCE", "TDX_POISON_WRITE"]


def test_poison_write_by_the_guests_own_shared_access(host: Host) -> None:
    host.ready()
    assert host.do(host.guest("data:s", private=False)).flag == "TDX_POISON_WRITE"


def test_mce_alone(host: Host) -> None:
    """A poisoned line from elsewhere (device, other kernel): the read is what is punished."""
    host.ready()
    host.tdx.module.poisoned.add(PFN)
    assert host.do(host.guest()) == GuestAccess("dead", flag="TDX_MCE")
    assert host.flags == ["TDX_MCE"]


def test_accept_clears_the_poison_of_a_pending_page(host: Host) -> None:
    host.do(host.finish, host.set_spte())
    host.host("data:host")
    host.do(host.accept)
    assert host.do(host.guest()) == GuestAccess("ok", ZERO)
    assert host.flags == ["TDX_POISON_WRITE"]


def test_a_host_write_to_its_own_frame_clears_old_poison(host: Host) -> None:
    host.tdx.module.poisoned.add(PFN)
    host.host(ZERO)
    assert not host.tdx.module.poisoned
    assert host.flags == []


@pytest.mark.parametrize(("choice", "seen"), [("cipher", CIPHER), ("zero", ZERO)])
def test_host_read(run: Runner, vm: FakeVm, choice: str, seen: str) -> None:
    host = Host(run, vm, host_read_value=choice).ready()
    assert host.host() == seen
    assert host.flags == ["TDX_HOST_READ"]
    assert host.do(host.guest()) == GuestAccess("ok", "data:secret")


def test_lost_page(host: Host) -> None:
    """The host takes an accepted page away and gives a new one: the access that trusts it kills the TD."""
    host.ready()
    assert host.do(host.remove(), host.guest()) == GuestAccess("npf")
    assert host.do(host.set_spte(pfn=PFN + 1), host.guest()) == GuestAccess("dead", flag="TDX_LOST_PAGE")
    assert host.flags == ["TDX_LOST_PAGE"]


def test_a_page_that_the_guest_gave_back_is_not_lost(host: Host) -> None:
    host.ready()

    async def forgets(t: Task) -> None:
        host.tdx.guest_forgets(t, host.vm, GFN, GFN + 1)

    assert host.do(forgets, host.remove(), host.set_spte(), host.guest()) == GuestAccess("dead")
    assert host.flags == []


def test_pamt_double_map(host: Host) -> None:
    host.ready()
    assert host.do(host.set_spte(GFN + 1)) == EIO
    assert host.flags == ["PAMT_DOUBLE_MAP"]
    assert host.do(host.guest()) == GuestAccess("dead")


def test_pamt_double_map_by_another_td(host: Host, other_vm: FakeVm) -> None:
    host.ready()
    other = Tdx(host.tdx.memory)

    async def body(t: Task) -> int:
        await other.launch_finish(t, other_vm)
        return await other.set_spte(t, other_vm, GFN, PFN, True)

    assert host.do(body) == EIO
    assert [name for name, _ in other.flags] == ["PAMT_DOUBLE_MAP"]
    assert host.flags == []
    assert host.do(host.guest()) == GuestAccess("ok", "data:secret")


class NoTrack(Tdx):
    """Seeded bug B8: REMOVE without TRACK and kick."""

    async def track(self, t: Task, td: Any) -> None:
        pass


def test_tlb_stale_when_remove_is_refused(host: Host) -> None:
    host.tdx = NoTrack(PhysicalMemory())
    host.ready()
    host.do(host.remove())
    assert host.flags == ["TLB_STALE"]
    assert host.state() == SeptState.BLOCKED
    assert host.do(host.guest()) == GuestAccess("dead")


def test_tlb_stale_when_remove_is_not_refused(host: Host) -> None:
    """What the module's check is for: the translation outlives the page, and the guest writes into it."""
    host.tdx = NoTrack(PhysicalMemory(), choices=attrs.evolve(TdxChoices(), module_checks_tracking=False))
    result = host.do(
        host.finish, host.set_spte(), host.accept, host.guest(), host.remove(), host.guest("data:late")
    )
    assert result == GuestAccess("ok", "data:late", "TLB_STALE")
    assert host.flags == ["TLB_STALE"]


def test_tlb_stale_when_the_frame_is_at_another_gfn_by_now(host: Host) -> None:
    """Still a page of the same TD, but no longer the one that the translation is for."""
    host.tdx = NoTrack(PhysicalMemory(), choices=attrs.evolve(TdxChoices(), module_checks_tracking=False))
    result = host.do(
        host.finish,
        host.set_spte(),
        host.accept,
        host.guest(),
        host.remove(),
        host.set_spte(GFN + 1),
        host.guest("data:late"),
    )
    assert result == GuestAccess("ok", "data:late", "TLB_STALE")


def test_no_tlb_stale_when_it_is_tracked(host: Host) -> None:
    result = host.do(
        host.finish, host.set_spte(), host.accept, host.guest(), host.remove(), host.guest("data:late")
    )
    assert result == GuestAccess("npf")
    assert host.flags == []


def test_sept_uaf(host: Host) -> None:
    host.ready()
    assert host.free() == "SEPT_UAF"
    assert host.flags == []


@pytest.mark.parametrize(("references", "flag"), [(True, None), (False, "SEPT_UAF")])
def test_a_failed_removal_leaks_the_page_or_does_not(
    run: Runner, vm: FakeVm, references: bool, flag: str | None
) -> None:
    host = Host(run, vm, page_references=references).ready()
    td = host.tdx.td(vm)

    async def body(t: Task) -> None:
        # Somebody sits on the tree for good, so BLOCK is BUSY twice.
        await td.tree.try_lock(t, False)
        await host.tdx.remove_sptes(t, vm, [(GFN, PFN)])

    host.do(body)
    assert host.flags == ["KVM_BUG"]
    assert host.free() == flag
    assert (PFN in host.tdx.memory.leaked) is references


@pytest.mark.parametrize("references", [True, False])
def test_a_failed_wbinvd_kills_the_vm(run: Runner, vm: FakeVm, references: bool) -> None:
    host = Host(run, vm, page_references=references).ready()
    host.do(host.remove(), faults={"tdx_wbinvd": 1})
    assert host.flags == ["TDX_FAILED"]
    assert host.tdx.td(vm).dead
    assert (PFN in host.tdx.memory.leaked) is references
    # The module has given the frame up; what nobody did is write its lines back.
    assert host.free() == (None if references else "TDX_UNFLUSHED")


@pytest.mark.parametrize(("references", "flag"), [(True, None), (False, "SEPT_UAF")])
def test_a_removal_that_fails_as_asked_kills_the_vm(
    run: Runner, vm: FakeVm, references: bool, flag: str | None
) -> None:
    host = Host(run, vm, page_references=references).ready()
    host.do(host.remove(), faults={"tdx_page_remove": 1})
    assert host.flags == ["TDX_FAILED"]
    assert host.tdx.td(vm).dead
    assert (PFN in host.tdx.memory.leaked) is references
    assert host.free() == flag


def test_a_frame_that_was_not_written_back_must_be_leaked_too(run: Runner, vm: FakeVm) -> None:
    host = Host(run, vm, leak_unflushed=False).ready()
    host.do(host.remove(), faults={"tdx_wbinvd": 1})
    assert host.free() == "TDX_UNFLUSHED"


def test_ept_faults_count_until_there_is_progress(host: Host) -> None:
    """Zero-step accounting: accesses and accepts that fault, per vCPU; an accept or access that works resets."""
    td = host.tdx.td(host.vm)
    counts: list[int] = []

    async def body(t: Task) -> None:
        await host.finish(t)
        for step in (host.guest(), host.accept, host.guest(), host.set_spte(), host.accept, host.guest()):
            await step(t)
            counts.append(td.epochs.vcpu(t).faults)

    host.run(body)
    assert counts == [1, 2, 3, 3, 0, 0]


def test_kvm_bug_when_the_table_is_blocked(host: Host) -> None:
    host.ready()
    td = host.tdx.td(host.vm)

    async def block_table(t: Task) -> int:
        return await host.tdx.module.range_block(t, td, GFN, 2)

    assert host.do(block_table) == 0
    assert host.do(host.set_spte(GFN + 1, PFN + 1)) == EIO
    assert host.flags == ["KVM_BUG"]


def test_a_call_is_busy_once_and_then_done(host: Host) -> None:
    """The retry with every vCPU kept out (do_no_vcpus)."""
    host.ready()
    td = host.tdx.td(host.vm)
    calls: list[bool] = []

    async def call() -> int:
        calls.append(td.no_vcpus)
        return TdxStatus.OPERAND_BUSY if len(calls) == 1 else TdxStatus.SUCCESS

    async def body(t: Task) -> int:
        return await host.tdx.do_no_vcpus(t, td, call)

    assert host.do(body) == TdxStatus.SUCCESS
    assert calls == [False, True]
    assert not td.no_vcpus


@pytest.mark.parametrize(
    ("checks", "ret", "flags"), [(True, EIO, ["KVM_BUG", "TLB_STALE"]), (False, 0, ["KVM_BUG"])]
)
def test_what_follows_a_track_that_fails(
    run: Runner, vm: FakeVm, checks: bool, ret: int, flags: list[str]
) -> None:
    """`tdx_track` returns nothing: the VM is dead, the vCPUs are kicked, and REMOVE is left to the module."""
    host = Host(run, vm, module_checks_tracking=checks).ready()
    td = host.tdx.td(host.vm)
    kicks: list[str] = []

    async def mem_track(t: Task, td: Any) -> int:
        return TdxStatus.PREVIOUS_TLB_EPOCH_BUSY

    async def kick_vcpus(t: Task, td: Any) -> None:
        kicks.append("dead" if td.dead else "alive")

    host.tdx.module.mem_track = mem_track  # type: ignore[method-assign]
    host.tdx.kick_vcpus = kick_vcpus  # type: ignore[method-assign]
    outcome = host.timed(host.remove())
    assert outcome.ops("TDH.MEM.PAGE.REMOVE") == [TdxStatus.TRACKING_NOT_DONE if checks else 0]
    assert kicks == ["dead"]
    assert td.dead
    assert host.flags == flags
    assert host.state() == (SeptState.BLOCKED if ret else SeptState.FREE)
