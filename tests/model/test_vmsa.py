"""The save area of an SNP vCPU in guest memory: its page goes only when no vCPU runs on it (sev.c of 7.2.13, 7.3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.audit.events import Lock
from gmemsim.audit.kvm_events import ApCreation, ArchInvalidateRange, VmsaReload, VmsaRequest
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.inplace import Inplace
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.options import Options
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import build

if TYPE_CHECKING:
    from typing import Any

    from gmemsim.actors.kernel import Kernel
    from gmemsim.actors.vm import Vm
    from gmemsim.engine.task import Task

TEXT = """
[scenario]
name = "vmsa"
summary = "A vCPU runs on a save area in guest memory while its page goes"
question = "Does the page go while hardware uses it?"
vm_types = ["snp"]

[[vm]]
id = "vm0"
accept = "tolerant"
on_memory_fault = "stop"

[[file]]
id = "gmem0"
pages = 2

[[slot]]
file = "gmem0"
gfn = 0x10001

[[task]]
role = "vcpu"
ops = [
    { op = "create_ap", start = 1, count = 1 },
    { op = "touch", start = 0, count = 1 },
    { op = "touch", start = 0, count = 1 },
]

[[task]]
name = "vmm"
ops = [VMM]
"""

PUNCH = '{ op = "punch", start = 1, count = 1, expect = "ok" }'
DELETE = '{ op = "unbind", slot = 0, expect = "ok" }'
SHARE = '{ op = "set_file_attributes", file = "gmem0", private = false, start = 1, count = 1 }'


class HookForgetsVmsa(V3):
    """The hook of 7.2 without its body."""

    name = "hook-forgets-vmsa"

    async def sev_gmem_invalidate_range(self, t: Task, vm: Vm, first: int, last: int) -> None:
        """Nobody is told."""


class DoesNotWait(Inplace):
    """The vCPU is asked to reload, and not waited for."""

    name = "does-not-wait"

    async def kvm_vcpu_kick(self, t: Task, vmsa: Any) -> None:
        """It will come out by itself."""


def rules(patch: str | type[Kernel], vmm: str, release: str | None = None, schedules: int = 150) -> set[str]:
    program = ScenarioProgram(
        scenario=loads(TEXT.replace("VMM", vmm), "vmsa.toml"), patch=patch, arch="snp", release=release
    )
    result = search(program, make_strategy("preemption:1", 0), Limits(schedules=schedules))
    return {found.failure.rule for found in result.found}


@pytest.mark.parametrize(
    ("patch", "vmm"),
    [
        ("v3", PUNCH),
        ("v3", DELETE),
        ("mainline-7.3", PUNCH),
        ("v3+vmsa-early-put", PUNCH),
        ("inplace", PUNCH),
        ("inplace", SHARE),
    ],
)
def test_the_page_goes_when_no_vcpu_runs_on_it(patch: str, vmm: str) -> None:
    assert not rules(patch, vmm)


@pytest.mark.parametrize("patch", ["baseline", HookForgetsVmsa])
def test_a_kernel_whose_hook_does_nothing(patch: str | type[Kernel]) -> None:
    """RMPUPDATE finds the page in use, and it goes back to the allocator as the guest's."""
    assert rules(patch, PUNCH) == {"I31"}


@pytest.mark.parametrize("vmm", [PUNCH, SHARE])
def test_a_kernel_that_does_not_wait_for_the_vcpu(vmm: str) -> None:
    assert rules(DoesNotWait, vmm) & {"I31", "I34"}


@pytest.mark.parametrize(("patch", "expected"), [("baseline", {"I31"}), ("mainline-7.3", set())])
def test_the_scenario_of_the_library(patch: str, expected: set[str]) -> None:
    program = ScenarioProgram(scenario=load_named("zoo-vmsa"), patch=patch, arch="snp")
    result = search(program, make_strategy("preemption:1", 0), Limits(schedules=150))
    assert {found.failure.rule for found in result.found} == expected


def events(patch: str, vmm: str) -> list[Any]:
    """Events about the save area of a run in which the vCPU goes first."""
    session = build(loads(TEXT.replace("VMM", vmm), "vmsa.toml"), patch, "snp", options=Options())
    found: list[Any] = []
    wanted = (ApCreation, VmsaReload, VmsaRequest, ArchInvalidateRange)

    def rec(task: object, event: object) -> None:
        if isinstance(event, wanted):
            found.append(event)

    session.engine.rec = rec
    session.run()
    return found


def test_reload_after_a_creation() -> None:
    found = events("v3", '{ op = "allocate", expect = "ok" }')
    assert [type(event).__name__ for event in found] == ["ApCreation", "VmsaReload"]
    assert found[1].ret == 0


ONE_CALL = """
[scenario]
name = "one-call"
summary = "AP creation"
vm_types = ["snp", "sw-protected"]

[[file]]
id = "gmem0"
pages = 2

[[slot]]
file = "gmem0"
gfn = 0x10000

[[task]]
role = "vcpu"
ops = [{ op = "create_ap", start = START, count = 1, target = TARGET, expect = "EXPECTED" }]
"""


@pytest.mark.parametrize(
    ("arch", "start", "target", "expected"),
    [
        ("snp", 1, 0, "ok"),
        ("snp", 0, 0, "EINVAL"),
        ("snp", 1, 1, "EINVAL"),
        ("sw-protected", 1, 0, "EOPNOTSUPP"),
    ],
)
def test_answers(arch: str, start: int, target: int, expected: str) -> None:
    """An address that is aligned to 2 MiB, no such vCPU, a VM type without save areas."""
    text = ONE_CALL.replace("START", str(start)).replace("TARGET", str(target)).replace("EXPECTED", expected)
    program = ScenarioProgram(scenario=loads(text, "one.toml"), patch="v3", arch=arch)
    assert not search(program, make_strategy("random", 0), Limits(schedules=1)).found


@pytest.mark.parametrize(("release", "locked"), [("6.12", False), ("7.2", True)])
def test_the_load_before_7_2_takes_the_page_as_it_is(release: str, locked: bool) -> None:
    """6.12.107: neither mmu_lock nor the sequence, and no address by which a hole could find the vCPU."""
    text = TEXT.replace("VMM", '{ op = "allocate", expect = "ok" }')
    session = build(loads(text, "vmsa.toml"), "baseline", "snp", release=release, options=Options())
    inside: list[str] = []

    def rec(task: object, event: object) -> None:
        if isinstance(event, Lock | VmsaReload) and getattr(task, "name", "") == "vcpu0":
            inside.append(event.lock.rpartition(".")[2] if isinstance(event, Lock) else "reload")

    session.engine.rec = rec
    session.run()
    before = inside[: inside.index("reload")]
    mutex = len(before) - 1 - before[::-1].index("snp_vmsa_mutex")
    assert ("mmu_lock" in before[mutex:]) is locked
    (vm,) = session.machine.world.vms.values()
    vmsa = vm.vcpus[0].vmsa
    assert vmsa is not None
    assert (vmsa.gfn > 0) is locked
