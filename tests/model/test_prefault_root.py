"""The root of a pre-fault: loaded once for each page, and to 6.12 only if there is none (`kvm_mmu_reload`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.model.rig import BASE, Rig

from gmemsim.explore.findings.table import known
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import search
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.patches.registry import load_patch
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.scenario import loads

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

OTHER_SLOT = "zoo-prefault_other_slot"
AFTER = "zoo-prefault_after_deletion"
WRITE = "zoo-prefault_nx_huge_pages"
PRIVATE = "zoo-tdx_fault_nx_huge_pages"
KEEPS = "prefault-keeps-obsolete-root"
TDX = "tdx-fault-keeps-obsolete-root"
LEFT_OVER = "prefault-after-slot-deletion"


def findings(scenario: str, patch: str, arch: str, release: str | None) -> set[str]:
    """Of a complete search; what is no finding stands as its summary."""
    return told(ScenarioProgram(scenario=load_named(scenario), patch=patch, arch=arch, release=release))


def told(program: ScenarioProgram) -> set[str]:
    """Of a complete search of it."""
    found = search(program, Stateful(0), keep_going=True)
    assert found.complete
    failures = [each.failure for each in found.found]
    return {finding.ident if (finding := known(one)) else one.summary for one in failures}


@pytest.mark.parametrize(
    ("scenario", "patch", "arch", "release", "expected"),
    [
        (OTHER_SLOT, "mainline-7.3", "default", None, {KEEPS}),
        (OTHER_SLOT, "inplace", "default", None, {KEEPS}),
        (OTHER_SLOT, "baseline", "default", "6.18", {KEEPS}),
        # The second of two pre-faults has the root of the first.
        (OTHER_SLOT, "baseline", "default", "6.12", {KEEPS, LEFT_OVER}),
        # A deletion zaps the leaves of the slot, and no root.
        (OTHER_SLOT, "mainline-7.3", "sw-protected", None, set()),
        (OTHER_SLOT, "baseline", "sw-protected", "6.12", set()),
        (AFTER, "baseline", "default", "6.12", {LEFT_OVER}),
        (AFTER, "baseline", "default", "6.18", set()),
        (AFTER, "baseline", "sw-protected", "6.12", set()),
        # A write of the parameter does, whatever the type; nobody is in its way.
        (WRITE, "mainline-7.3", "default", None, {KEEPS}),
        (WRITE, "mainline-7.3", "sw-protected", None, {KEEPS}),
        (WRITE, "mainline-7.3", "snp", None, {KEEPS}),
        (WRITE, "mainline-7.3", "tdx", None, {KEEPS}),
        (WRITE, "baseline", "sw-protected", "6.12", {KEEPS}),
    ],
)
def test_a_deletion_makes_the_root_obsolete(
    scenario: str, patch: str, arch: str, release: str | None, expected: set[str]
) -> None:
    assert findings(scenario, patch, arch, release) == expected


@pytest.mark.parametrize(("scenario", "arch"), [(OTHER_SLOT, "default"), (WRITE, "sw-protected")])
@pytest.mark.parametrize(
    ("mend", "release", "left"),
    [
        ("prefault-reloads", "6.18", set()),
        ("prefault-reloads", "6.12", set()),
        ("prefault-root-eagain", "6.18", set()),
        ("prefault-gives-up", "6.18", set()),
        ("reload-frees-roots", "6.12", {KEEPS}),
        # Another slot than the one that is deleted: nothing is INVALID.
        ("prefault-eagain", "6.18", {KEEPS}),
    ],
)
def test_mends(scenario: str, arch: str, mend: str, release: str, left: set[str]) -> None:
    assert findings(scenario, f"baseline+{mend}", arch, release) == left


VCPU = """
    [scenario]
    name = "mine"
    summary = "a write of the parameter beside an access"
    [[vm]]
    id = "vm0"
    accept = "tolerant"
    [[file]]
    id = "gmem0"
    pages = 1
    [[slot]]
    file = "gmem0"
    gfn = 0x10000
    [[task]]
    role = "vcpu"
    ops = [{ op = "touch" }]
    [[task]]
    name = "root"
    ops = [{ op = "nx_huge_pages", expect = "ok" }]
    """


@pytest.mark.parametrize(("arch", "expected"), [("tdx", {TDX}), ("sw-protected", set()), ("snp", set())])
def test_the_local_retry_of_tdx_keeps_the_root_as_well(arch: str, expected: set[str]) -> None:
    """tdx_handle_ept_violation repeats a private fault without another entry, which would load a root."""
    program = ScenarioProgram(scenario=loads(VCPU, "mine.toml"), patch="mainline-7.3", arch=arch)
    assert told(program) == expected


def test_the_local_retry_in_the_zoo() -> None:
    assert findings(PRIVATE, "mainline-7.3", "tdx", None) == {TDX}


@pytest.mark.parametrize("mend", ["tdx-retry-goes-back", "tdx-retry-reloads"])
@pytest.mark.parametrize("patch", ["baseline", "mainline-7.3", "inplace"])
def test_mends_of_the_local_retry(patch: str, mend: str) -> None:
    program = ScenarioProgram(scenario=loads(VCPU, "mine.toml"), patch=f"{patch}+{mend}", arch="tdx")
    assert told(program) == set()


def test_a_mend_of_the_local_retry_leaves_pre_faults_as_they_are() -> None:
    assert findings(WRITE, "mainline-7.3+tdx-retry-goes-back", "tdx", None) == {KEEPS}


@pytest.mark.parametrize(
    ("slots", "back"), [("good", False), ("INVALID", True), ("none", False), ("dead", True)]
)
def test_what_ends_the_local_retry(slots: str, *, back: bool) -> None:
    """tdx_handle_ept_violation of 7.3.4: an INVALID slot does, and a gfn that has none does not."""
    r = Rig(load_patch("mainline-7.3"), "tdx", pages=1)
    if slots == "INVALID":
        r.vm.slots = tuple(slot.invalid_copy() for slot in r.vm.slots)
    elif slots == "none":
        r.vm.slots = ()
    elif slots == "dead":
        r.vm.killed = True

    async def ask(t: Task) -> bool:
        return r.kernel.retry_goes_back(t, r.vm.vcpus[0], BASE)

    assert r.call(ask) == back
