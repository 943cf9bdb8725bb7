"""docs/findings/private-page-mapped-shared-at-slot-deletion.md: the in-place versions have it, the others do not."""

from __future__ import annotations

import pytest

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.oracles.rules import RULES
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.scenario import loads


def searched(patch: str, arch: str, rules: frozenset[str] | None = None) -> set[str]:
    scenario = load_named("zoo-slot_delete_kind")
    program = ScenarioProgram(scenario=scenario, patch=patch, arch=arch, rules=rules)
    result = search(program, make_strategy("random", 0), Limits(schedules=150))
    return {found.failure.rule for found in result.found}


@pytest.mark.parametrize("arch", ["tdx", "snp"])
@pytest.mark.parametrize("patch", ["inplace-v8", "inplace"])
def test_a_private_page_is_mapped_as_shared(patch: str, arch: str) -> None:
    assert searched(patch, arch) == {"I28"}


@pytest.mark.parametrize("arch", ["tdx", "snp"])
@pytest.mark.parametrize("patch", ["v3", "mainline-7.3", "inplace-off"])
def test_not_where_the_attributes_are_the_vms(patch: str, arch: str) -> None:
    assert not searched(patch, arch)


@pytest.mark.parametrize(("arch", "rule"), [("tdx", "I35"), ("snp", "I34")])
def test_what_comes_of_the_mapping(arch: str, rule: str) -> None:
    """On TDX the guest's shared store lands in the private page; on SNP the RMP refuses it."""
    assert searched("inplace", arch, frozenset(RULES) - {"I28"}) == {rule}


#: The guest's access is right when it is made.
CONVERTED = """
[scenario]
name = "converted"
summary = "A page becomes private, and its slot goes, while a shared fault is on the way"
question = "Is it mapped as shared?"

[[vm]]
id = "vm0"
on_memory_fault = "stop"

[[file]]
id = "gmem0"
pages = 1
flags = ["MMAP", "INIT_SHARED"]

[[slot]]
id = 0
file = "gmem0"
gfn = 0x10000

[[task]]
role = "vcpu"
ops = [{ op = "touch" }]

[[task]]
name = "vmm"
ops = [{ op = "convert", private = true }, { op = "unbind", slot = 0 }]
"""


def test_a_guest_that_did_nothing_wrong() -> None:
    program = ScenarioProgram(scenario=loads(CONVERTED), patch="inplace", arch="sw-protected")
    result = search(program, make_strategy("preemption:1", 0), Limits(schedules=2000))
    assert {found.failure.rule for found in result.found} == {"I28"}
