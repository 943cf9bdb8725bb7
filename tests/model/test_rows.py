"""What the sources of Linux 6.12.107, 7.2.13 and 7.3.4 answer to small workloads, a row each.

The in-place rows were read in guest_memfd.c of the applied series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.explore.mutants import TwoSnapshots
from tests.model.wip_order import WipOrder

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import build

if TYPE_CHECKING:
    from gmemsim.actors.kernel import Kernel

HEAD = """
[scenario]
name = "row"
summary = "A row"
"""
ONE_PAGE = """
[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
gfn = 0x10000
"""


def rules(
    text: str,
    patch: str | type[Kernel],
    arch: str,
    strategy: str = "dpor",
    schedules: int = 3000,
    release: str | None = None,
) -> set[str]:
    """Rules that the search finds broken."""
    program = ScenarioProgram(
        scenario=loads(HEAD + text, "row.toml"), patch=patch, arch=arch, release=release
    )
    result = search(program, make_strategy(strategy, 0), Limits(schedules=schedules))
    return {found.failure.rule for found in result.found}


def locks(text: str, patch: str, arch: str) -> list[str]:
    """Locks that the first task takes in the first run, in order."""
    session = build(loads(HEAD + text, "row.toml"), patch, arch)
    taken: list[str] = []

    def rec(task: object, event: object) -> None:
        if type(event).__name__ == "Lock" and getattr(task, "name", "") == "slots":
            taken.append(getattr(event, "lock", ""))

    session.engine.rec = rec
    session.run()
    return taken


# -- one snapshot of the sequence, on 6.12 too -------------------------------------------------------

CONVERT_UNDER_PREFAULT = (
    ONE_PAGE
    + """
[[task]]
role = "vcpu"
ops = [{ op = "prefault" }]

[[task]]
name = "vmm"
ops = [{ op = "set_attributes", private = false }]
"""
)


@pytest.mark.parametrize("release", ["6.12", "6.18"])
def test_one_snapshot(release: str) -> None:
    """6.12.107: kvm_faultin_pfn assigns fault->mmu_seq once, before the attribute check."""
    found = rules(CONVERT_UNDER_PREFAULT, "baseline", "sw-protected", "preemption:2", 300, release)
    assert not found


def test_a_second_snapshot_would_show() -> None:
    """The same search finds it where there is one."""
    assert rules(CONVERT_UNDER_PREFAULT, TwoSnapshots, "sw-protected", "preemption:2", 300) == {"I28"}


# -- unbind of a dying file --------------------------------------------------------------------------

DYING = (
    ONE_PAGE
    + """
userspace = "buf"

[setup]
ops = [{ op = "allocate" }]

[[task]]
name = "error"
ops = [{ op = "memory_failure", expect = ["EBUSY", "EBADF", "EIO", "ok"] }]

[[task]]
name = "closer"
ops = [{ op = "close", file = "gmem0", expect = "ok" }]

[[task]]
name = "slots"
ops = [{ op = "unbind", slot = 0, expect = "ok" }]
"""
)


@pytest.mark.parametrize(
    ("patch", "expected"),
    [("baseline", True), ("v3", True), ("mainline-7.3", False), ("inplace", False)],
)
def test_unbind_of_a_dying_file_during_a_memory_failure(patch: str, expected: bool) -> None:
    """To 7.2 without the invalidate lock (seen on 6.18.15 and 7.2.13); since 7.3 always under it."""
    found = rules(DYING, patch, "sw-protected", "preemption:2", 250)
    assert bool(found) == expected


# -- make_private as the file says -------------------------------------------------------------------

SHARED_GFN = """
[[file]]
id = "gmem0"
pages = 1
flags = ["MMAP"]

[[slot]]
file = "gmem0"
gfn = 0x10000

[setup]
private = "none"

[[task]]
role = "vcpu"
ops = [{ op = "write", value = "x", private = false }, { op = "read", private = false, sees = ["data:x"] }]
"""


@pytest.mark.parametrize("patch", ["v3", "mainline-7.3", "inplace-off"])
def test_a_shared_gfn_of_a_private_file_is_made_private(patch: str) -> None:
    """An SNP VM may have an MMAP file that was not INIT_SHARED: its slot serves shared accesses, and each assigns."""
    assert rules(SHARED_GFN, patch, "snp", schedules=5) == {"I34"}


# -- the host fault of the in-place series -----------------------------------------------------------

THREE_PARTIES = """
[[file]]
id = "gmem0"
pages = 2
flags = ["MMAP", "INIT_SHARED"]

[[slot]]
file = "gmem0"
gfn = 0x10000

[[map]]
id = "m"
file = "gmem0"

[setup]
ops = [{ op = "allocate", count = 1 }]

[[task]]
name = "host"
ops = [{ op = "host_touch", map = "m", count = 1 }]

[[task]]
name = "mce"
ops = [{ op = "memory_failure", file = "gmem0", count = 1 }]

[[task]]
name = "punch"
ops = [{ op = "punch", file = "gmem0", start = 1, count = 1 }]
"""


@pytest.mark.parametrize("patch", ["inplace", "inplace-off"])
def test_the_host_fault_takes_the_invalidate_lock_whatever_the_mode(patch: str) -> None:
    assert rules(THREE_PARTIES, patch, "default", "random", 1500) == {"deadlock"}


def test_the_host_fault_of_7_3_takes_no_invalidate_lock() -> None:
    assert not rules(THREE_PARTIES, "mainline-7.3", "default", "random", 300)


# -- a launch without a source -----------------------------------------------------------------------

NO_SOURCE = (
    ONE_PAGE
    + """
[setup]
finalize = false

[[task]]
role = "vcpu"
ops = [{ op = "populate", expect = "EXPECTED" }]
"""
)


@pytest.mark.parametrize(
    ("patch", "errno"),
    [("v3", "EOPNOTSUPP"), ("mainline-7.3", "EINVAL"), ("inplace-off", "EINVAL"), ("inplace", "ok")],
)
def test_tdx_without_a_source(patch: str, errno: str) -> None:
    """To 7.2 the callback refuses it, in 7.3 the ioctl does; in place the page itself is the source."""
    assert not rules(NO_SOURCE.replace("EXPECTED", errno), patch, "tdx", schedules=1)


# -- the locks of a bind -----------------------------------------------------------------------------

BIND = """
[[file]]
id = "gmem0"
pages = 2

[[slot]]
id = 0
file = "gmem0"
gfn = 0x10000
pages = 1

[[slot]]
id = 1
file = "gmem0"
gfn = 0x20000
start = 1
pages = 1
absent = true

[[task]]
name = "slots"
ops = [{ op = "bind", slot = 1, expect = "ok" }]
"""


@pytest.mark.parametrize(
    ("patch", "order"),
    [
        ("v3", ["slots_lock", "invalidate_lock", "slots_arch_lock"]),
        ("mainline-7.3", ["slots_lock", "slots_arch_lock", "invalidate_lock"]),
        ("inplace", ["slots_lock", "slots_arch_lock", "invalidate_lock"]),
    ],
)
def test_lock_order_of_a_bind(patch: str, order: list[str]) -> None:
    """Since 7.3 the binding is stored in kvm_set_memslot, between slots_arch_lock and the publication."""
    assert [lock.rpartition(".")[2] for lock in locks(BIND, patch, "sw-protected")] == order


# -- an order of a work in progress ------------------------------------------------------------------

ONE_CONVERSION = (
    ONE_PAGE
    + """
[[task]]
role = "vcpu"
ops = [{ op = "touch" }]

[[task]]
name = "vmm"
ops = [{ op = "set_file_attributes", private = false, file = "gmem0" }]
"""
)


def test_attributes_stored_after_the_end_of_the_invalidation() -> None:
    """A HugeTLB work in progress ends the invalidation before it stores: a mapping of the old kind survives."""
    assert rules(ONE_CONVERSION, WipOrder, "sw-protected", "preemption:1", 200) == {"I28"}
    assert not rules(ONE_CONVERSION, "inplace", "sw-protected", "preemption:1", 200)
