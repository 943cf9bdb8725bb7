"""Every lock that a storm takes is in its tables: those of a version too, wherever it keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.arch.costs import CostTable
from gmemsim.audit.events import Lock
from gmemsim.contention.lock_book import class_of
from gmemsim.contention.machine import StormMachine
from gmemsim.contention.point import Point
from gmemsim.contention.storm import measure, run
from gmemsim.contention.storms import STORMS

if TYPE_CHECKING:
    from gmemsim.contention.result import Result
    from gmemsim.engine.task import Task

OWN = """\
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.stats import LockClass
from gmemsim.patches.v3 import V3


class Own(V3):
    async def kvm_gmem_make_ready(self, t, vm, inode, folio, gfn):
        locks = self.__dict__.setdefault("_locks", {})
        if not locks:
            locks["sem"] = RwSem(f"{inode.label}.anything[0]", LockClass("ready_sem"))
            locks["mutex"] = Mutex(f"{inode.label}.mine")
        await locks["sem"].down_write(t)
        await locks["mutex"].lock(t)
        await t.spend(5_000)
        ret = await super().kvm_gmem_make_ready(t, vm, inode, folio, gfn)
        await locks["mutex"].unlock(t)
        await locks["sem"].up_write(t)
        return ret
"""


def small(patch: str, arch: str, storm: str, **more: Any) -> Point:
    return Point(patch, arch, storm, **{"vcpus": 4, "pages": 16} | more)


def test_locks_that_a_patch_makes_while_it_runs(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    found = run(small(f"{tmp_path / 'mine.py'}:Own", "sw-protected", "first-touch"))
    assert found.bottleneck.name == "ready_sem:w"
    assert found.bottleneck.share > 0.5
    sem, mutex = found.lock("ready_sem:w"), found.lock("gmem0.mine:w")
    assert (sem.acquisitions, mutex.acquisitions) == (16, 16)
    assert sem.acq_bounces
    assert {site.caller for site in found.sites if site.lock in ("ready_sem", "gmem0.mine")} == {
        "kvm_gmem_make_ready"
    }


def test_a_memory_failure_waits_for_the_mutex_of_all() -> None:
    found = run(small("v3", "sw-protected", "memory-failure"))
    assert found.bottleneck.name == "mf_mutex:w"
    (row,) = found.perf
    wait = found.lock("mf_mutex:w")
    assert (row.type, row.caller, row.count, row.total) == (
        "mutex",
        "memory_failure",
        wait.contentions,
        wait.wait_total,
    )


@pytest.mark.parametrize(
    ("point", "lock"),
    [
        (Point("hugepage-mutex", "snp", "first-touch-same", vcpus=4, pages=2, folio="2M"), "huge_mutex:w"),
        (small("v3+error-bindings-lock", "sw-protected", "memory-failure"), "bindings_lock:w"),
        (
            small("inplace", "sw-protected", "convert", policy="srcu"),
            "gmem0.invalidate_lock.writers:w",
        ),
    ],
)
def test_locks_of_versions_mends_and_policies(point: Point, lock: str) -> None:
    found = run(point).lock(lock)
    assert found.acquisitions
    assert found.hold_total


@pytest.mark.parametrize("storm", STORMS)
def test_each_acquisition_that_is_told_is_in_the_table(storm: str) -> None:
    arch = "snp" if storm in ("accept", "accept-serial", "populate") else "sw-protected"
    point = small("inplace", arch, storm, background="none" if storm == "populate" else "punch")
    machine = StormMachine(point, CostTable.default(arch))
    told: dict[str, int] = {}
    record = machine.record

    def noted(t: Task, event: Any) -> None:
        if isinstance(event, Lock):
            name = f"{class_of(event.lock)}:{event.mode}"
            told[name] = told.get(name, 0) + 1
        record(t, event)

    machine.record = noted  # type: ignore[method-assign]
    found = measure(machine)
    # A folio that is new is born locked, which no event says.
    assert told == {
        name: told[name] if "folio" in name else each.acquisitions for name, each in _taken(found, told)
    }


def _taken(found: Result, told: dict[str, int]) -> list[tuple[str, Any]]:
    return [(name, each) for name, each in found.locks.items() if name in told or "folio" not in name]


@pytest.mark.parametrize(
    ("storm", "lock", "caller", "perf"),
    [
        ("populate", "kvm_lock", "populate (storm)", ["mutex"]),
        # The host's perf does not see what a guest spins on.
        ("accept-serial", "guest.unaccepted_memory_lock", "accept_memory (storm)", []),
    ],
)
def test_who_waits_outside_of_the_kernel(storm: str, lock: str, caller: str, perf: list[str]) -> None:
    found = run(small("v3", "snp", storm))
    assert {site.caller for site in found.sites if site.lock == lock} == {caller}
    assert [row.type for row in found.perf if row.caller == caller] == perf
    assert found.lock(f"{lock}:w").con_bounces


@pytest.mark.parametrize(
    ("policy", "kind"), [("rwsem", "rwsem"), ("rwsem-rt", "rwlock-rt"), ("percpu", "pcpu-sem")]
)
def test_the_type_that_perf_gives_a_policy(policy: str, kind: str) -> None:
    found = run(Point("inplace", "sw-protected", "convert", "punch", vcpus=6, pages=48, policy=policy))
    assert kind in {row.type.partition(":")[0] for row in found.perf}
