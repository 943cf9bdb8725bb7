"""pKVM, a projection, under concurrency: EL2's lock orders, and pages that change hands while others look.

Complete over the schedules of the two or three calls of a test, at one page, where it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.actors.errno import EFAULT, EHWPOISON, ENOENT
from gmemsim.arch.base import HookResult
from gmemsim.arch.memory import ZERO, PhysicalMemory, data
from gmemsim.arch.pkvm import Pkvm
from gmemsim.arch.pkvm_state import PageState
from gmemsim.audit.events import Contended, Lock, Unlock
from gmemsim.engine.op import Op
from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import search
from gmemsim.explore.strategies import make_strategy

if TYPE_CHECKING:
    from tests.arch.conftest import Body, FakeVm, Outcome, Runner

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task

PFN = 0x1005
GFN = 0x805

HOST, HYP, GUEST, TABLE = "el2.host_mmu_lock", "el2.pgd_lock", "vm0.el2_lock", "el2.vm_table_lock"


def owned(run: Runner, vm: FakeVm, shared: bool = False) -> Pkvm:
    """A page that the guest owns, with its data, shared or not."""
    arch = Pkvm(PhysicalMemory())
    run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1))
    run.one(lambda t: arch.guest_access(t, vm, GFN, PFN, True, data("guest")))
    if shared:
        run.one(lambda t: arch.guest_convert(t, vm, GFN, False))
    return arch


def taken(out: Outcome) -> list[str]:
    return [event.lock for event in out.events if isinstance(event, Lock)]


# -- lock orders -----------------------------------------------------------------------------------


def test_lock_orders(run: Runner, vm: FakeVm) -> None:
    """Host, hyp, guest; by force the table of VMs comes first. Given back in the reverse order."""
    arch = Pkvm(PhysicalMemory())
    el2, guest = arch.el2, arch.guest(vm)
    pairs = {
        "donate": (lambda t: el2.host_donate_guest(t, guest, GFN, PFN), [HOST, GUEST]),
        "share": (lambda t: el2.guest_share_host(t, guest, GFN), [HOST, GUEST]),
        "unshare": (lambda t: el2.guest_unshare_host(t, guest, GFN), [HOST, GUEST]),
        "force": (lambda t: el2.host_force_reclaim(t, PFN), [TABLE, HOST, GUEST]),
        "reclaim": (lambda t: el2.host_reclaim_page_guest(t, guest, GFN), [HOST, GUEST]),
        "lend": (lambda t: el2.host_share_guest(t, guest, GFN + 1, PFN + 1), [HOST, GUEST]),
        "unlend": (lambda t: el2.host_unshare_guest(t, guest, GFN + 1), [HOST, GUEST]),
        "hyp": (lambda t: el2.host_donate_hyp(t, PFN + 2), [HOST, HYP]),
    }
    for name, (call, order) in pairs.items():
        out = run(call)
        assert taken(out) == order, name
        assert [event.lock for event in out.events if isinstance(event, Unlock)] == order[::-1], name


def test_contenders_spin_and_none_is_turned_away(run: Runner, vm: FakeVm) -> None:
    """Random schedules: both donations of two pages succeed whatever the order, and in some one had to wait."""
    waited = 0
    actors: list[Pkvm] = []

    def make() -> tuple[Body, ...]:
        arch = Pkvm(PhysicalMemory())
        actors.append(arch)
        return (
            lambda t: arch.make_private(t, vm, GFN, PFN, 1),
            lambda t: arch.make_private(t, vm, GFN + 1, PFN + 1, 1),
        )

    for out in run.seeds(make, 50):
        assert out.results == [HookResult(0, True)] * 2
        assert len(actors[-1].guest(vm).pages) == 2
        waited += any(isinstance(event, Contended) for event in out.events)
    assert 0 < waited < 50


def test_opposite_hypercalls_do_not_deadlock(run: Runner, vm: FakeVm) -> None:
    """Complete: by force and at teardown, which take different locks first. The page is the host's, zeroed, once."""
    count = 0
    actors: list[Pkvm] = []

    def make() -> tuple[Body, ...]:
        arch = owned(run, vm)
        actors.append(arch)
        return (lambda t: arch.el2.host_force_reclaim(t, PFN), lambda t: arch.reclaim(t, PFN, 1))

    for _ in run.all(make):
        count += 1
        el2 = actors[-1].el2
        assert el2.page(PFN).state == PageState.OWNED
        assert el2.memory.read(PFN) == ZERO
        assert not el2.memory.leaked
        assert el2.secret == set()
    assert count > 1


def test_two_vcpus_donate_one_page_once(run: Runner, vm: FakeVm) -> None:
    """Complete, without the folio lock that keeps them apart in guest_memfd: EL2's locks do."""
    for out in run.all(lambda: _donors(vm)):
        assert sorted(out.results) == [HookResult(0, False), HookResult(0, True)]


def _donors(vm: FakeVm) -> tuple[Body, ...]:
    arch = Pkvm(PhysicalMemory())
    return tuple([lambda t: arch.make_private(t, vm, GFN, PFN, 1)] * 2)


# -- pages that change hands ---------------------------------------------------------------------


async def user_read(arch: Pkvm, t: Task) -> str:
    """A load through a page-table entry that is there: one step."""
    return arch.user_abort(t, PFN) or arch.host_read(t, PFN)


def test_guest_share_against_a_user_of_the_host(run: Runner, vm: FakeVm) -> None:
    """Complete: a signal before, the guest's data after; nothing else, and nothing is lost."""
    seen = set()
    actors: list[Pkvm] = []

    def make() -> tuple[Body, ...]:
        arch = owned(run, vm)
        actors.append(arch)
        return (lambda t: arch.guest_convert(t, vm, GFN, False), lambda t: user_read(arch, t))

    for out in run.all(make):
        assert out.results[0] == 0
        seen.add(out.results[1])
        assert actors[-1].flags == []
        assert actors[-1].memory.read(PFN) == data("guest")
    assert seen == {"SIGSEGV", data("guest")}


def test_force_against_guest_unshare(run: Runner, vm: FakeVm) -> None:
    """Complete: the kernel's store comes before the guest takes the page back, or costs the guest the page."""
    seen = set()
    actors: list[Pkvm] = []

    def make() -> tuple[Body, ...]:
        arch = owned(run, vm, shared=True)
        actors.append(arch)

        async def kernel(t: Task) -> None:
            await arch.kernel_touch(t, PFN)
            arch.host_write(t, PFN, data("host"))

        return (lambda t: arch.guest_convert(t, vm, GFN, True), kernel)

    for out in run.all(make):
        arch = actors[-1]
        assert out.results[0] == 0
        lost = arch.flags == [("PKVM_FORCED_RECLAIM", PFN)]
        assert lost or arch.flags == []
        assert arch.memory.read(PFN) == data("host")
        access = run.one(lambda t, arch=arch: arch.guest_access(t, vm, GFN, PFN, True, None))  # type: ignore[misc]
        assert (access.kind, access.value) == (("error", "") if lost else ("ok", data("host")))
        seen.add(lost)
    assert seen == {False, True}


def test_guest_share_against_reclaim(run: Runner, vm: FakeVm) -> None:
    """Complete: a hole is punched while the guest shares the page. It shares it, or has none; both end scrubbed."""
    seen = set()
    actors: list[Pkvm] = []

    def make() -> tuple[Body, ...]:
        arch = owned(run, vm)
        actors.append(arch)
        return (lambda t: arch.guest_convert(t, vm, GFN, False), lambda t: arch.reclaim(t, PFN, 1))

    for out in run.all(make):
        arch = actors[-1]
        seen.add(out.results[0])
        assert arch.el2.host == {}
        assert arch.guest(vm).pages == {}
        assert arch.memory.read(PFN) == ZERO
    assert seen == {0, ENOENT}


def test_two_touches_of_one_page_by_the_kernel(run: Runner, vm: FakeVm) -> None:
    """Complete: one of them takes the page by force, the other finds that the state moved on and tries again."""
    actors: list[Pkvm] = []

    def make() -> tuple[Body, ...]:
        arch = owned(run, vm)
        actors.append(arch)
        return tuple([lambda t: arch.kernel_touch(t, PFN)] * 2)

    for _ in run.all(make):
        arch = actors[-1]
        assert arch.flags == [("PKVM_FORCED_RECLAIM", PFN)]
        assert run.one(lambda t, arch=arch: arch.make_private(t, vm, GFN, PFN, 1)).ret == EFAULT  # type: ignore[misc]
        assert run.one(lambda t, arch=arch: arch.guest_convert(t, vm, GFN, True)) == EHWPOISON  # type: ignore[misc]


# -- what steps declare ----------------------------------------------------------------------------

Step = Callable[[Pkvm, "FakeVm", "Task"], Coroutine[Any, Any, Any]]


async def kernel_store(arch: Pkvm, vm: FakeVm, t: Task) -> None:
    await arch.kernel_touch(t, PFN)
    arch.host_write(t, PFN, data("host"))


async def guest_store(arch: Pkvm, vm: FakeVm, t: Task) -> Any:
    await t.point(Op("load", "spte", mode="r"))
    return await arch.guest_access(t, vm, GFN, PFN, True, data("guest"))


STEPS: dict[str, Step] = {
    "share": lambda arch, vm, t: arch.guest_convert(t, vm, GFN, False),
    "unshare": lambda arch, vm, t: arch.guest_convert(t, vm, GFN, True),
    "donate": lambda arch, vm, t: arch.make_private(t, vm, GFN, PFN, 1),
    "reclaim": lambda arch, vm, t: arch.reclaim(t, PFN, 1),
    "user": lambda arch, vm, t: user_read(arch, t),
    "kernel": kernel_store,
    "guest": guest_store,
}


@pytest.mark.parametrize("shared", [False, True])
def test_reduction_keeps_every_outcome(run: Runner, vm: FakeVm, shared: bool) -> None:
    """Any two calls on one page: all schedules, and one of each class that partial-order reduction makes of them.

    A page that is taken by force has too many schedules to run them all here; those pairs are left to the others.
    """
    for pair in combinations_with_replacement(STEPS, 2):
        if "kernel" in pair and not shared:
            continue

        def setup(engine: Engine, pair: tuple[str, ...] = pair) -> Callable[[], object]:
            arch = owned(run, vm, shared)
            results: dict[int, Any] = {}

            async def call(t: Task, number: int, name: str) -> None:
                results[number] = await STEPS[name](arch, vm, t)

            for number, name in enumerate(pair):
                engine.spawn(f"t{number}", call, number, name)
            return lambda: (
                sorted(results.items()),
                arch.el2.host,
                arch.guest(vm).pages,
                arch.memory.read(PFN),
                arch.flags,
            )

        found = [
            search(
                TaskProgram(name="+".join(pair), setup=setup), make_strategy(name, 0), collect_outcomes=True
            )
            for name in ("dfs", "dpor")
        ]
        assert all(result.complete and not result.found for result in found), pair
        assert set(found[0].outcomes) == set(found[1].outcomes), pair
        assert found[1].schedules < found[0].schedules, pair
