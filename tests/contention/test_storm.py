"""Storms in virtual time: exact figures, so equalities and orderings."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from gmemsim.arch.costs import CostTable
from gmemsim.contention.csv_file import read_csv, to_csv
from gmemsim.contention.result import Result, percentile
from gmemsim.contention.point import Point, PointError, check
from gmemsim.contention.storm import run
from gmemsim.contention.storms import BACKGROUNDS, STORMS
from gmemsim.contention.sweep import PATCHES, corners, points, run_all

COSTS = CostTable.default("snp")


def refault(patch: str, vcpus: int = 1, **more: Any) -> Result:
    return run(attrs.evolve(Point(patch, "snp", "refault", "none", vcpus, 64), **more))


def test_the_hook_costs_one_rmp_lookup() -> None:
    """baseline remembers, v3 asks: on a re-fault nothing else differs."""
    old, new = refault("baseline"), refault("v3")
    assert (old.faults, new.faults) == (64, 64)
    assert (old.prepares, new.prepares) == (0, 64)
    assert new.virtual_ns - old.virtual_ns == 64 * COSTS.rmp_lookup
    assert new.p50 - old.p50 == COSTS.rmp_lookup
    held = new.lock("folio_lock:w").hold_total - old.lock("folio_lock:w").hold_total
    assert held == 64 * COSTS.rmp_lookup


@pytest.mark.parametrize("patch", ["tracked", "tracked-shared"])
def test_tracking_costs_a_lookup_and_two_lines(patch: str) -> None:
    """Nobody else there: bit test, and the reader count's line for acquire and release."""
    old, new = refault("baseline"), refault(patch)
    assert new.prepares == 0
    assert new.p50 - old.p50 == COSTS.xarray_lookup + 2 * COSTS.line
    assert new.lock("invalidate_lock:r").acquisitions == 64
    assert new.lock("invalidate_lock:w").acquisitions == 0


def test_the_hook_is_free_without_hardware() -> None:
    rates = {
        patch: run(Point(patch, "sw-protected", "refault", "none", 4, 64)).virtual_ns
        for patch in ("baseline", "v3")
    }
    assert rates["baseline"] == rates["v3"]


def test_readers_are_bound_by_the_line() -> None:
    """Each fault moves the line twice, so their rate has a limit; v3 knows none."""
    limit = 1e6 / (2 * COSTS.line)
    for vcpus in (32, 64):
        assert refault("tracked", vcpus, pages=512).faults_per_ms < limit
    assert refault("v3", 64, pages=512).faults_per_ms == 64 * refault("v3", pages=512).faults_per_ms > limit


def test_with_the_lines_that_every_fault_moves_all_are_bound_alike() -> None:
    """f_count and mmu_lock have the same limit: tracking adds latency, and no new limit."""
    rates = {patch: refault(patch, 64, pages=512, other_lines=True).faults_per_ms for patch in PATCHES}
    assert rates["tracked"] > 0.95 * rates["baseline"]
    one = {patch: refault(patch, other_lines=True).p50 for patch in PATCHES}
    assert one["baseline"] == refault("baseline").p50 + 4 * COSTS.line
    assert one["tracked"] - one["baseline"] == COSTS.xarray_lookup + 2 * COSTS.line


@pytest.mark.parametrize("storm", STORMS)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_who_takes_the_invalidate_lock(storm: str, background: str) -> None:
    """Faults of the versions never do; punches do, conversions do not; faults of the variants always do."""
    for patch in ("baseline", "v3"):
        found = run(Point(patch, "snp", storm, background, 4, 32))
        assert found.lock("invalidate_lock:r").acquisitions == 0
        punches = found.background_operations if background == "punch" else 0
        assert found.lock("invalidate_lock:w").acquisitions == punches
    found = run(Point("tracked", "snp", storm, background, 4, 32))
    assert found.lock("invalidate_lock:r").acquisitions >= found.faults


def test_marking_exclusively_contends() -> None:
    """First touches of different pages wait for each other under `tracked`, and not for the lock otherwise."""
    found = {patch: run(Point(patch, "snp", "first-touch", "none", 8, 64)) for patch in PATCHES}
    assert found["tracked"].lock("invalidate_lock:w").contentions > 0
    assert found["tracked-shared"].lock("invalidate_lock:r").contentions == 0
    assert found["tracked"].faults_per_ms < found["tracked-shared"].faults_per_ms < found["v3"].faults_per_ms
    assert found["v3"].virtual_ns == found["baseline"].virtual_ns


def test_a_punch_holds_up_faults_elsewhere_only_with_tracking() -> None:
    found = {patch: run(Point(patch, "snp", "refault", "punch", 8, 256)) for patch in PATCHES}
    assert found["v3"].lock("invalidate_lock:w").contentions == 0
    for patch in ("tracked", "tracked-shared"):
        assert found[patch].lock("invalidate_lock:r").contentions > 0
        assert found[patch].p99 > found["v3"].p99


def test_same_point_same_result() -> None:
    point = Point("tracked", "snp", "first-touch-same", "punch", 5, 32)
    assert run(point) == run(point)


def test_csv_round_trip() -> None:
    results = run_all(points(patches=("v3", "tracked"), vcpus=(1, 3), common=Point(pages=16)))
    assert read_csv(to_csv(results)) == results


def test_other_lock_policies_run() -> None:
    """Readers that share no line have no limit."""
    shared, percpu = (refault("tracked", 32, pages=256, policy=name) for name in ("rwsem", "percpu"))
    assert percpu.faults_per_ms > 2 * shared.faults_per_ms


@pytest.mark.parametrize(
    "change",
    [
        {"arch": "tdx"},
        {"storm": "x"},
        {"background": "x"},
        {"policy": "x"},
        {"vcpus": 0},
        {"pages": 0},
        {"arch": "default"},
    ],
)
def test_nonsense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PointError):
        check(attrs.evolve(Point(), **change))


def test_corners_name_known_costs() -> None:
    for corner in corners():
        CostTable.default().replace(**corner.changes)


def test_percentiles_are_nearest_rank() -> None:
    values = list(range(1, 101))
    assert [percentile(values, p) for p in (1, 50, 90, 99, 100)] == [1, 50, 90, 99, 100]
    assert percentile([7], 99) == 7
    assert percentile([], 50) == 0
