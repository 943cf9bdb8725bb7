"""Races at 2 MiB on SNP: clean as it is, and what single lines of it are there for (arch.md 5.1 B6, B14, B15)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.hugepage_mutex import HugepageMutex
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.scenario import loads

if TYPE_CHECKING:
    from gmemsim.actors.kernel import Kernel
    from gmemsim.scenarios.scenario import Scenario

#: Acceptance in both sizes beside a conversion of one page.
BOTH_SIZES = """
[scenario]
name = "both_sizes"
summary = "One vCPU accepts 2 MiB, one a page of it, while another page becomes shared"
vm_types = ["snp", "sw-protected"]

[[file]]
id = "gmem0"
pages = 512
flags = ["MMAP", "HUGETLB", "HUGETLB_2M"]

[[slot]]
file = "gmem0"
gfn = 0x40000

[[task]]
role = "vcpu"
ops = [
    { op = "accept", level = 2 },
    { op = "touch", start = 7, count = 1, write = "{task}", expect = "ok" },
]

[[task]]
role = "vcpu"
ops = [{ op = "touch", start = 9, count = 1, write = "{task}", expect = "ok" }]

[[task]]
name = "vmm"
ops = [{ op = "convert", start = 500, count = 1, private = false, expect = "ok" }]
"""

#: A fault on one page of a huge page while another is converted.
NEIGHBOUR = (
    BOTH_SIZES[: BOTH_SIZES.index("[[task]]")]
    + """
[setup]
ops = [{ op = "allocate", expect = "ok" }]

[[task]]
role = "vcpu"
ops = [{ op = "touch", start = 9, count = 1, expect = "ok" }]

[[task]]
name = "vmm"
ops = [{ op = "convert", start = 5, count = 1, private = false, expect = "ok" }]
"""
)


def rules(
    patch: str | type[Kernel],
    scenario: Scenario,
    schedules: int,
    *,
    steps: int = 3_000,
    arch: str = "snp",
    strategy: str = "random",
) -> set[str]:
    program = ScenarioProgram(scenario=scenario, patch=patch, arch=arch)
    limits = Limits(schedules=schedules, steps=steps)
    return {found.failure.rule for found in search(program, make_strategy(strategy, 0), limits).found}


def test_nothing_is_wrong_with_small_and_large_pages_accepted_beside_a_conversion() -> None:
    """The zoo's scenario has page by page; here one vCPU asks for all of it, and falls back where it must."""
    assert not rules("hugepage-mutex", load_named("zoo-huge_accept"), 60)
    assert not rules("hugepage-mutex", loads(BOTH_SIZES, "both_sizes.toml"), 3, steps=30_000)


class NoZap(HugepageMutex):
    """B14."""

    async def sev_after_psmash(self, t: Any, vcpu: Any, gfn: int, code: int) -> int:
        return 0


class NotRoundedOut(HugepageMutex):
    """Faults on neighbours of the range go on, and map it with the rest of its huge page."""

    @staticmethod
    def kvm_gmem_convert_compute_work(*args: Any) -> list[Any]:
        works = HugepageMutex.kvm_gmem_convert_compute_work(*args)
        return [work._replace(outer_start=work.start, outer_end=work.end) for work in works]


class NotReadAgain(HugepageMutex):
    """The level that the arch allows is not asked for: the leaf is as large as the folio."""

    async def kvm_mmu_hugepage_adjust(self, t: Any, fault: Any) -> int:
        return 2


@pytest.mark.parametrize("mutant", [NoZap, NotReadAgain])
def test_the_guest_faults_for_ever(mutant: type[Kernel]) -> None:
    """A leaf of 2 MiB over RMP entries of 4 KiB, which nothing repairs."""
    assert rules(mutant, load_named("zoo-huge_accept"), 50) <= {"step_limit", "livelock"}
    assert rules(mutant, load_named("zoo-huge_accept"), 50)


def test_why_the_invalidation_is_rounded_out_to_huge_pages() -> None:
    """A fault on a neighbour maps the page that is becoming shared along with its own."""
    scenario = loads(NEIGHBOUR, "neighbour.toml")
    how: Any = {"arch": "sw-protected", "strategy": "pct:3"}
    assert rules(NotRoundedOut, scenario, 200, **how) == {"I20"}
    assert not rules("hugepage-mutex", scenario, 200, **how)
