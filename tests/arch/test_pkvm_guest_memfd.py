"""pKVM, a projection, behind the versions that convert in place: searched with every oracle, right and wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.arch.pkvm import Pkvm
from gmemsim.arch.pkvm_el2 import El2
from gmemsim.arch.registry import described, projection_note
from gmemsim.audit.kvm_events import HardwareOp
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, SearchResult, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.oracles.hardware import FATAL_FLAGS
from gmemsim.patches.inplace import Inplace
from gmemsim.scenarios.catalogue import load_named, names
from gmemsim.scenarios.errors import ScenarioError
from gmemsim.scenarios.handlers import inplace as handlers
from gmemsim.scenarios.options import Options
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import build

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

HEAD = """
[scenario]
name = "t"
summary = "t"
vm_types = ["pkvm"]

[[file]]
id = "gmem0"
pages = 1
flags = ["MMAP"]

[[slot]]
file = "gmem0"

[[map]]
id = "mmap"
"""

SHARE = """
[[task]]
role = "vcpu"
ops = [
    { op = "write", value = "secret" },
    { op = "hypercall", private = false, expect = "ok" },
    { op = "read" },
]
"""

UNSHARE = """
[[task]]
role = "vcpu"
ops = [
    { op = "hypercall", private = false, expect = "ok" },
    { op = "hypercall", private = true, expect = ["ok", "EAGAIN"] },
    { op = "write", value = "secret" },
]
"""

TO_AND_FRO = """
[[task]]
role = "vcpu"
ops = [
    { op = "hypercall", private = false, expect = ["ok", "EPERM"] },
    { op = "hypercall", private = true, expect = ["ok", "EPERM", "EAGAIN"] },
    { op = "read" },
]
"""

HOST_READ = """
[[task]]
name = "host"
ops = [{ op = "host_read" }]
"""

HOST_TOUCH = """
[[task]]
name = "host"
ops = [{ op = "host_touch" }]
"""

PUNCH = """
[[task]]
name = "punch"
ops = [{ op = "punch", expect = "ok" }]
"""

TWO_VCPUS = """
[[task]]
role = "vcpu"
instances = 2
ops = [{ op = "write", value = "secret" }]
"""


def searched(
    text: str, strategy: str = "pos", schedules: int = 60, patch: Any = "inplace"
) -> tuple[SearchResult, set[str]]:
    """The search, and the rules that were broken."""
    scenario = loads(text, "t.toml") if "\n" in text else load_named(text)
    program = ScenarioProgram(scenario=scenario, patch=patch, arch="pkvm")
    result = search(program, make_strategy(strategy, 0), Limits(schedules=schedules), collect_outcomes=True)
    return result, {found.failure.rule for found in result.found}


def seen(result: SearchResult, what: str) -> set[bool]:
    """Whether `what` is among the results of an operation, over all outcomes."""
    return {what in outcome for outcome in result.outcomes}


# -- right -----------------------------------------------------------------------------------------


def test_guest_share_against_a_host_fault() -> None:
    """Complete, up to independent steps: SIGBUS before the conversion, the guest's own data after it."""
    result, rules = searched(HEAD + SHARE + HOST_READ, "dpor", 2000)
    assert result.complete
    assert not rules
    assert seen(result, "host_read=SIGBUS") == seen(result, "host_read=ok:data:secret") == {False, True}
    assert seen(result, "read=ok:data:secret") == {True}


def test_guest_unshare_under_a_mapping_of_the_host() -> None:
    """EL2 takes the page at once; KVM and the VMM's page table follow. In between the host process gets SIGSEGV."""
    result, rules = searched(HEAD + UNSHARE + HOST_TOUCH)
    assert not rules
    assert True in seen(result, "host_touch=SIGSEGV")
    assert True in seen(result, "host_touch=SIGBUS")


def test_conversion_against_punch() -> None:
    """The guest finds zeros, never what was there before; the page is scrubbed on its way out."""
    result, rules = searched(HEAD + TO_AND_FRO + PUNCH)
    assert not rules
    assert seen(result, "read=ok:zero") == {True}
    assert seen(result, "gmem0[]") == {False, True}


#: Scenarios of the library, without those that loop until somebody else is done or meet a known deadlock.
LIBRARY = [
    "close", "conv1_punch1", "host_private", "inplace_competing", "inplace_convert", "inplace_hypercall",
    "inplace_pin", "inplace_share", "no_memory", "prefault", "recycle", "slot_delete", "two_vms",
]  # fmt: skip


@pytest.mark.parametrize("name", LIBRARY)
def test_library(name: str) -> None:
    """No oracle objects."""
    assert not searched(name, schedules=6)[1]


@pytest.mark.parametrize("name", ["inplace_convert", "inplace_share"])
def test_library_with_content_modes(name: str) -> None:
    """No oracle objects, and content stays although nobody asks for it: pKVM has no reason to spoil it."""
    assert not searched(name, schedules=6, patch="inplace-content")[1]


def test_the_library_names_pkvm_where_no_launch_is_needed() -> None:
    marked = {name for name in names() if "pkvm" in load_named(name).head.vm_types}
    assert set(LIBRARY) <= marked


# -- wrong -----------------------------------------------------------------------------------------


def test_donation_without_its_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(El2, "check_donate", lambda *_: 0)
    assert searched(HEAD + TWO_VCPUS)[1] == {"arch:PKVM_DOUBLE_DONATE"}


async def _nothing(*_: Any) -> None:
    pass


def test_exit_before_the_guest_has_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The VMM converts and maps a page that EL2 still keeps for the guest."""

    async def too_early(*_: Any) -> str:
        return ""

    text = HEAD + SHARE + HOST_TOUCH.replace(" }", ', expect = ["ok", "SIGBUS"] }')
    assert not searched(text)[1]
    monkeypatch.setattr(handlers, "guest_converts", too_early)
    assert searched(text)[1] == {"unexpected_outcome"}


class KernelClears(Inplace):
    """Clears what becomes shared, as if it were the host's by then."""

    async def kvm_gmem_arch_make_shared(self, t: Task, inode: Any, pfn: int, pages: int) -> None:
        arch = self.inode_vm(inode).arch
        await arch.kernel_touch(t, pfn)
        arch.clear(t, pfn)


CONVERT = """
[[task]]
role = "vcpu"
ops = [{ op = "write", value = "secret" }]

[[task]]
name = "vmm"
ops = [{ op = "convert", private = false }]
"""


def test_kernel_touches_a_page_before_the_guest_has_shared_it() -> None:
    assert searched(HEAD + CONVERT)[1] == set()
    assert searched(HEAD + CONVERT, patch=KernelClears)[1] == {FATAL_FLAGS["PKVM_FORCED_RECLAIM"][0]}


def test_teardown_without_scrub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest's bytes would reach whoever gets the frame next: seen when it goes back to the allocator."""
    monkeypatch.setattr(El2, "scrub", lambda *_: None)
    assert searched(HEAD + TWO_VCPUS + PUNCH)[1] == {"arch:PKVM_UNSCRUBBED"}


def test_free_without_reclaim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pkvm, "invalidate", _nothing)
    assert searched(HEAD + TWO_VCPUS + PUNCH)[1] == {FATAL_FLAGS["PKVM_LEAK"][0]}


def test_v8_scrubs_what_the_guest_shares() -> None:
    """Its conversion calls the hook of the free path, which is why make_shared became one of its own."""
    assert searched(HEAD + SHARE, schedules=1, patch="inplace-v8")[1] == {"linearizability"}
    assert searched(HEAD + SHARE, schedules=1)[1] == set()


def test_the_victim_of_force_cannot_run_on() -> None:
    """arch.md 4.3: KVM_RUN fails with -EFAULT at the guest's next access, mapped or not: no conversion's exit."""
    ops = '{ op = "write", value = "secret" }, { op = "convert", private = false }, { op = "read" }'
    text = HEAD + f'[[task]]\nrole = "vcpu"\nops = [{ops}]\n'
    session = build(loads(text, "t.toml"), KernelClears, "pkvm").run()
    results = session.results["vcpu0"]
    assert [done.outcome for done in results.operations] == ["ok", "ok", "EFAULT"]
    assert results.stopped == "error"


def test_a_short_memcache_fails_the_fault_and_nothing_else() -> None:
    text = HEAD + TWO_VCPUS.replace(" }", ', expect = ["ok", "ENOMEM"] }') + "\n[faults]\npkvm_memcache = 1\n"
    result, rules = searched(text)
    assert not rules
    assert seen(result, "write=ENOMEM") == {False, True}


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_both_runtimes_give_the_same_events(seed: int | None) -> None:
    logs: list[list[Any]] = []
    for runtime in ("bare", "trio"):
        logs.append([])
        options = Options(
            rec=lambda t, event: logs[-1].append((t.engine.now, t.name, event)),
            strategy=None if seed is None else RandomStrategy(seed),
        )
        session = build(load_named("inplace_share"), "inplace", "pkvm", small=True, options=options)
        session.run("trio" if runtime == "trio" else "bare")
    assert logs[0] == logs[1]
    assert any(isinstance(event, HardwareOp) and event.op == "GUEST_SHARE_HOST" for _, _, event in logs[0])


# -- marks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("patch", ["baseline", "v3", "mainline-7.3", "inplace-off", "hugepage"])
def test_versions_that_do_not_convert_in_place_refuse(patch: str) -> None:
    """With one line that says what pKVM is."""
    with pytest.raises(
        ScenarioError, match=r"^[^\n]*projection of conversion in place at 4 KiB; patch [^\n]*$"
    ):
        build(load_named("inplace_hypercall"), patch, "pkvm")


def test_a_vm_of_its_own_type_is_refused_too() -> None:
    text = HEAD.replace('vm_types = ["pkvm"]', "") + '\n[[vm]]\nid = "vm0"\ntype = "pkvm"\n' + CONVERT
    with pytest.raises(ScenarioError, match="projection"):
        build(loads(text, "t.toml"), "v3")
    assert build(loads(text, "t.toml"), "inplace").machine.vm("vm0").arch.name == "pkvm"
    with pytest.raises(ScenarioError, match="makes no sense for VM type sw-protected; it is for: pkvm"):
        build(loads(text, "t.toml"), "inplace", "sw-protected")


def test_nobody_gets_it_without_asking() -> None:
    assert build(load_named("inplace_hypercall"), "inplace").vm_type == "sw-protected"
    with pytest.raises(ScenarioError, match="there is no VM type of pkvm here"):
        build(loads(HEAD + CONVERT, "t.toml"), "inplace")
    assert described("pkvm") == "pkvm (projection)"
    assert described("snp") == "snp"
    assert "projection" in projection_note("pkvm")
    assert projection_note("snp") == ""
