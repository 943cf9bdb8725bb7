"""pKVM, a projection: every transition and errno of the table of arch.md 4.1, and the hooks of arch.md 4.2 and 4.3."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from gmemsim.actors.errno import (
    EAGAIN,
    EFAULT,
    EHWPOISON,
    EINVAL,
    ENOENT,
    ENOMEM,
    EPERM,
)
from gmemsim.arch.base import GuestAccess, HookResult
from gmemsim.arch.choices import PkvmChoices
from gmemsim.arch.memory import STALE, ZERO, PhysicalMemory, data
from gmemsim.arch.pkvm import Pkvm
from gmemsim.arch.pkvm_el2 import El2
from gmemsim.arch.pkvm_state import HOST_PAGE, HYP, El2Vm, GuestPage, HostPage, PageState
from gmemsim.arch.registry import ARCHES, PROJECTIONS

if TYPE_CHECKING:
    from tests.arch.conftest import FakeVm, Runner

    from gmemsim.engine.task import Task

PFN = 0x1005
GFN = 0x805

OWNED = GuestPage(PageState.OWNED, PFN)
SHARED = GuestPage(PageState.SHARED_OWNED, PFN)
BORROWED = GuestPage(PageState.SHARED_BORROWED, PFN)
POISON = GuestPage(PageState.POISON, PFN)

AWAY = HostPage(PageState.NOPAGE, 0, GFN)
LENDER = HostPage(PageState.SHARED_BORROWED, 0, GFN)
HYPS = HostPage(PageState.NOPAGE, HYP)
LENT = HostPage(PageState.SHARED_OWNED, borrowers=((0, GFN),))
ELSEWHERE = HostPage(PageState.SHARED_OWNED, borrowers=((0, GFN + 1),))
WITH_HYP = HostPage(PageState.SHARED_OWNED)

Call = Callable[[El2, "Task", El2Vm], Coroutine[Any, Any, int]]

CALLS: dict[str, Call] = {
    "donate": lambda el2, t, vm: el2.host_donate_guest(t, vm, GFN, PFN),
    "lend": lambda el2, t, vm: el2.host_share_guest(t, vm, GFN, PFN),
    "unlend": lambda el2, t, vm: el2.host_unshare_guest(t, vm, GFN),
    "share": lambda el2, t, vm: el2.guest_share_host(t, vm, GFN),
    "unshare": lambda el2, t, vm: el2.guest_unshare_host(t, vm, GFN),
    "reclaim": lambda el2, t, vm: el2.host_reclaim_page_guest(t, vm, GFN),
    "force": lambda el2, t, vm: el2.host_force_reclaim(t, PFN),
    "donate hyp": lambda el2, t, vm: el2.host_donate_hyp(t, PFN),
}


def machine(host: HostPage = HOST_PAGE, guest: GuestPage | None = None, **vm: Any) -> tuple[El2, El2Vm]:
    """EL2 with one page in a given state; its frame holds data."""
    el2 = El2(PhysicalMemory(), PkvmChoices())
    made = El2Vm("vm0", 0)
    for name, value in vm.items():
        setattr(made, name, value)
    el2.vms[0] = made
    if host != HOST_PAGE:
        el2.host[PFN] = host
    if guest is not None:
        made.pages[GFN] = guest
    el2.memory.write(PFN, data("x"))
    return el2, made


#: Call, states before, states after; all succeed.
GOOD = [
    ("donate", HOST_PAGE, None, AWAY, OWNED),
    ("lend", HOST_PAGE, None, LENT, BORROWED),
    ("lend", ELSEWHERE, None, HostPage(PageState.SHARED_OWNED, borrowers=((0, GFN + 1), (0, GFN))), BORROWED),
    ("unlend", LENT, BORROWED, HOST_PAGE, None),
    ("unlend", HostPage(PageState.SHARED_OWNED, borrowers=((0, GFN + 1), (0, GFN))), BORROWED, ELSEWHERE, None),
    ("share", AWAY, OWNED, LENDER, SHARED),
    ("unshare", LENDER, SHARED, AWAY, OWNED),
    ("reclaim", AWAY, OWNED, HOST_PAGE, None),
    ("reclaim", LENDER, SHARED, HOST_PAGE, None),
    ("force", AWAY, OWNED, HOST_PAGE, POISON),
    ("donate hyp", HOST_PAGE, None, HYPS, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "host", "guest", "host_after", "guest_after"), GOOD)
def test_transition(
    run: Runner,
    name: str,
    host: HostPage,
    guest: GuestPage | None,
    host_after: HostPage,
    guest_after: GuestPage | None,
) -> None:
    """Zeroed on the way back to the host, untouched otherwise."""
    el2, vm = machine(host, guest)
    assert run.one(lambda t: CALLS[name](el2, t, vm)) == 0
    assert (el2.page(PFN), vm.pages.get(GFN)) == (host_after, guest_after)
    assert el2.memory.read(PFN) == (ZERO if name in ("reclaim", "force") else data("x"))


#: Call, states before, errno; nothing changes.
BAD = [
    ("donate", AWAY, OWNED, EAGAIN),
    ("donate", LENDER, SHARED, EAGAIN),
    ("donate", HostPage(PageState.NOPAGE, 1, GFN), None, EPERM),
    ("donate", HostPage(PageState.NOPAGE, 0, GFN + 1), None, EPERM),
    ("donate", HYPS, None, EPERM),
    ("donate", ELSEWHERE, None, EPERM),
    ("donate", WITH_HYP, None, EPERM),
    ("donate", HOST_PAGE, GuestPage(PageState.OWNED, PFN + 1), EPERM),
    ("donate", HOST_PAGE, POISON, EPERM),
    ("lend", WITH_HYP, None, EPERM),
    ("lend", AWAY, None, EPERM),
    ("lend", HOST_PAGE, POISON, EPERM),
    ("unlend", HOST_PAGE, None, ENOENT),
    ("unlend", AWAY, OWNED, EPERM),
    ("share", HOST_PAGE, None, ENOENT),
    ("share", HOST_PAGE, POISON, EHWPOISON),
    ("share", LENDER, SHARED, EPERM),
    ("share", LENT, BORROWED, EPERM),
    ("unshare", HOST_PAGE, None, ENOENT),
    ("unshare", HOST_PAGE, POISON, EHWPOISON),
    ("unshare", AWAY, OWNED, EPERM),
    ("unshare", LENT, BORROWED, EPERM),
    ("reclaim", HOST_PAGE, None, ENOENT),
    ("reclaim", LENT, BORROWED, EPERM),
    ("reclaim", HOST_PAGE, POISON, EPERM),
    ("force", HOST_PAGE, None, EAGAIN),
    ("force", LENDER, SHARED, EAGAIN),
    ("force", HostPage(PageState.NOPAGE, 7, GFN), None, EAGAIN),
    ("force", HYPS, None, EPERM),
    ("donate hyp", AWAY, OWNED, EPERM),
]  # fmt: skip


@pytest.mark.parametrize(("name", "host", "guest", "errno"), BAD)
def test_refusal(run: Runner, name: str, host: HostPage, guest: GuestPage | None, errno: int) -> None:
    """All checks come before the first write, and every lock is given back."""
    el2, vm = machine(host, guest)
    assert run.one(lambda t: CALLS[name](el2, t, vm)) == errno
    assert (el2.page(PFN), vm.pages.get(GFN)) == (host, guest)
    assert el2.memory.read(PFN) == data("x")
    assert not [*el2.vm_table_lock.holders(), *el2.host_lock.holders(), *vm.lock.holders()]


def test_donation_needs_a_protected_vm_a_vcpu_and_memory(run: Runner) -> None:
    el2, vm = machine(protected=False)
    assert run.one(lambda t: el2.host_donate_guest(t, vm, GFN, PFN)) == EINVAL
    assert run.one(lambda t: el2.host_donate_guest(t, None, GFN, PFN)) == EINVAL
    vm.protected = True
    short = {"pkvm_memcache": 1}
    assert run.one(lambda t: el2.host_donate_guest(t, vm, GFN, PFN), faults=short) == ENOMEM
    assert (el2.host, vm.pages) == ({}, {})


def test_reclaim_before_teardown_is_a_choice(run: Runner) -> None:
    el2, vm = machine(AWAY, OWNED)
    el2.choices = attrs.evolve(el2.choices, reclaim_alive=False)
    assert run.one(lambda t: el2.host_reclaim_page_guest(t, vm, GFN)) == EINVAL
    vm.dying = True
    assert run.one(lambda t: el2.host_reclaim_page_guest(t, vm, GFN)) == 0


def test_a_page_that_changes_hands_meanwhile_is_not_taken_by_force(run: Runner) -> None:
    """The annotation of the host's entry may be older than the guest's entry: -EAGAIN, under all three locks."""
    el2, _ = machine(AWAY, GuestPage(PageState.OWNED, PFN + 1))
    assert run.one(lambda t: el2.host_force_reclaim(t, PFN)) == EAGAIN


# -- hooks ---------------------------------------------------------------------------------------


def test_make_private_donates_once(run: Runner, vm: FakeVm, other_vm: FakeVm) -> None:
    """Again: skipped. At another gfn, or for another VM: refused, and noted."""
    arch = Pkvm(PhysicalMemory())
    assert run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1)) == HookResult(0, True)
    assert run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1)) == HookResult(0, False)
    assert arch.flags == []
    assert run.one(lambda t: arch.make_private(t, vm, GFN + 1, PFN, 1)) == HookResult(EPERM, False)
    assert run.one(lambda t: arch.make_private(t, other_vm, GFN, PFN, 1)) == HookResult(EPERM, False)
    assert arch.flags == [("PKVM_GFN_STALE", PFN)] * 2
    assert run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 512)) == HookResult(EINVAL, False)


def test_make_private_of_a_page_shared_a_moment_ago(run: Runner, vm: FakeVm) -> None:
    """Between the guest's hypercall and the VMM's conversion another vCPU may fault: a choice."""
    arch = Pkvm(PhysicalMemory())
    run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1))
    assert run.one(lambda t: arch.guest_convert(t, vm, GFN, False)) == 0
    assert run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1)) == HookResult(0, False)
    arch.choices = PkvmChoices(skip_shared=False)
    assert run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1)) == HookResult(EPERM, False)


def test_content_stays_both_ways_and_goes_with_the_page(run: Runner, vm: FakeVm) -> None:
    """guest-memfd.md 4.14: preserved on conversion, scrubbed on teardown. Nothing is encrypted."""
    memory = PhysicalMemory()
    arch = Pkvm(memory)
    run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1))
    run.one(lambda t: arch.guest_access(t, vm, GFN, PFN, True, data("secret")))
    run.one(lambda t: arch.guest_convert(t, vm, GFN, False))
    run.one(lambda t: arch.make_shared(t, PFN, 1))
    assert memory.read(PFN) == data("secret")
    run.one(lambda t: arch.guest_convert(t, vm, GFN, True))
    assert run.one(lambda t: arch.guest_access(t, vm, GFN, PFN, True, None)) == GuestAccess(
        "ok", data("secret")
    )
    run.one(lambda t: arch.reclaim(t, PFN, 1))
    assert memory.read(PFN) == ZERO
    assert run.one(lambda t: freed(arch, t)) is None


async def freed(arch: Pkvm, t: Task) -> str | None:
    return arch.page_freed(t, PFN)


def test_what_a_freed_frame_must_not_be(run: Runner, vm: FakeVm) -> None:
    arch = Pkvm(PhysicalMemory())
    run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1))
    assert run.one(lambda t: freed(arch, t)) == "PKVM_LEAK"
    del arch.el2.host[PFN]
    assert run.one(lambda t: freed(arch, t)) == "PKVM_UNSCRUBBED"
    arch.memory.leak(PFN)
    assert run.one(lambda t: freed(arch, t)) is None


def test_without_reclaim_of_a_living_vm_the_frame_is_leaked(run: Runner, vm: FakeVm) -> None:
    arch = Pkvm(PhysicalMemory(), choices=PkvmChoices(reclaim_alive=False))
    run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1))
    run.one(lambda t: arch.invalidate(t, PFN, PFN + 1))
    assert arch.memory.leaked == {PFN}
    assert run.one(lambda t: freed(arch, t)) is None


def test_shared_memory_is_lent_and_taken_back(run: Runner, vm: FakeVm) -> None:
    """A page that the guest never owned: lent at its access, taken back when it is donated, or freed."""
    arch = Pkvm(PhysicalMemory())
    for end in (lambda t: arch.make_private(t, vm, GFN, PFN, 1), lambda t: arch.reclaim(t, PFN, 1)):
        assert run.one(lambda t: arch.guest_access(t, vm, GFN, PFN, False, data("out"))).kind == "ok"
        assert arch.el2.page(PFN) == LENT
        run.one(end)
        assert arch.el2.page(PFN) in (AWAY, HOST_PAGE)
        run.one(lambda t: arch.reclaim(t, PFN, 1))
    arch.choices = PkvmChoices(lend_shared=False)
    assert run.one(lambda t: arch.guest_access(t, vm, GFN, PFN, False, None)) == GuestAccess("error")


def test_guest_access_goes_by_the_guest_s_table(run: Runner, vm: FakeVm) -> None:
    arch = Pkvm(PhysicalMemory())
    assert run.one(lambda t: arch.guest_access(t, vm, GFN, PFN, True, None)) == GuestAccess("npf")
    run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1))
    stale = GuestAccess("error", flag="PKVM_GFN_STALE")
    assert run.one(lambda t: arch.guest_access(t, vm, GFN, PFN + 1, True, None)) == stale
    assert run.one(lambda t: arch.guest_access(t, vm, GFN + 1, PFN, False, None)) == stale


def test_kernel_touch_destroys_a_page_of_a_guest(run: Runner, vm: FakeVm) -> None:
    """arch.md 4.3: zeroed, the access goes through, and the guest's next one fails KVM_RUN."""
    arch = Pkvm(PhysicalMemory())

    async def touch(t: Task) -> str:
        await arch.kernel_touch(t, PFN)
        before = arch.host_read(t, PFN)
        arch.host_write(t, PFN, data("host"))
        return before

    run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1))
    run.one(lambda t: arch.guest_access(t, vm, GFN, PFN, True, data("secret")))
    assert run.one(touch) == ZERO
    assert arch.flags == [("PKVM_FORCED_RECLAIM", PFN)]
    assert run.one(lambda t: arch.guest_access(t, vm, GFN, PFN, True, None)) == GuestAccess("error")
    assert run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1)) == HookResult(EFAULT, False)
    assert run.one(lambda t: arch.guest_convert(t, vm, GFN, False)) == EHWPOISON


def test_kernel_touch_of_a_page_of_the_hypervisor_is_an_oops(run: Runner) -> None:
    arch = Pkvm(PhysicalMemory())
    run.one(lambda t: arch.el2.host_donate_hyp(t, PFN))

    async def touch(t: Task) -> None:
        await arch.kernel_touch(t, PFN)
        arch.clear(t, PFN)

    run.one(touch)
    assert arch.flags == [("PKVM_OOPS", PFN)]
    assert arch.memory.content(PFN) == STALE


def test_user_touch_is_a_signal_and_takes_nothing(run: Runner, vm: FakeVm) -> None:
    arch = Pkvm(PhysicalMemory())

    async def touch(t: Task) -> str:
        return arch.user_abort(t, PFN)

    assert run.one(touch) == ""
    run.one(lambda t: arch.make_private(t, vm, GFN, PFN, 1))
    assert run.one(touch) == "SIGSEGV"
    arch.choices = PkvmChoices(user_signal="SIGBUS")
    assert run.one(touch) == "SIGBUS"
    run.one(lambda t: arch.guest_convert(t, vm, GFN, False))
    assert run.one(touch) == ""
    assert arch.flags == []


def test_it_is_marked_as_a_projection() -> None:
    """It is not among the VM types that everything is run on, and says what it is wherever it is shown."""
    assert list(PROJECTIONS) == ["pkvm"]
    assert not set(PROJECTIONS) & set(ARCHES)
    assert (Pkvm.__doc__ or "").startswith("PROJECTION")
