"""Storms in virtual time: exact figures, so equalities and orderings."""

from __future__ import annotations

from itertools import product
from typing import Any

import attrs
import pytest

from gmemsim.arch.cost_file import load_costs
from gmemsim.arch.costs import CostTable
from gmemsim.contention.flat import read_csv, to_csv
from gmemsim.contention.point import CannotError, Point, PointError, check
from gmemsim.contention.result import Ranks, Result
from gmemsim.contention.storm import run
from gmemsim.contention.storms import BACKGROUNDS, FAULT_STORMS, STORMS
from gmemsim.contention.sweep import PATCHES, corners, points, run_all
from gmemsim.patches.registry import HUGE, IN_PLACE, VARIANTS
from gmemsim.patches.registry import PATCHES as PATCHES_BY_NAME

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


@pytest.mark.parametrize("storm", FAULT_STORMS)
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
    found = {
        patch: run(Point(patch, "snp", "first-touch", "none", 8, 64, release="7.2")) for patch in PATCHES
    }
    assert found["tracked"].lock("invalidate_lock:w").contentions > 0
    assert found["tracked-shared"].lock("invalidate_lock:r").contentions == 0
    assert found["tracked"].faults_per_ms < found["tracked-shared"].faults_per_ms < found["v3"].faults_per_ms
    assert found["v3"].virtual_ns == found["baseline"].virtual_ns


def test_a_punch_holds_up_faults_elsewhere_only_with_tracking() -> None:
    found = {patch: run(Point(patch, "snp", "refault", "punch", 8, 256, release="7.2")) for patch in PATCHES}
    assert found["v3"].lock("invalidate_lock:w").contentions == 0
    for patch in ("tracked", "tracked-shared"):
        assert found[patch].lock("invalidate_lock:r").contentions > 0
        assert found[patch].p99 > found["v3"].p99


def test_same_point_same_result() -> None:
    point = Point("tracked", "snp", "first-touch-same", "punch", 5, 32)
    assert run(point) == run(point)


def test_csv_round_trip() -> None:
    results = run_all(points(patches=("v3", "tracked"), vcpus=(1, 3), common=Point(pages=16)))
    kept = [attrs.evolve(result, spins={}, perf=(), sites=()) for result in results]
    assert read_csv(to_csv(results)) == kept


def test_other_lock_policies_run() -> None:
    """Readers that share no line have no limit."""
    shared, percpu = (refault("tracked", 32, pages=256, policy=name) for name in ("rwsem", "percpu"))
    assert percpu.faults_per_ms > 2 * shared.faults_per_ms


@pytest.mark.parametrize(
    "change",
    [
        {"arch": "x"},
        {"folio": "8K"},
        {"folio": "2M"},
        {"release": "5.0"},
        {"storm": "accept", "arch": "sw-protected"},
        {"storm": "populate", "arch": "sw-protected"},
        {"storm": "populate", "background": "punch"},
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


def test_the_outer_corners_are_all_low_and_all_high() -> None:
    """Also where the value itself is one end, so that there is one alternative to it."""
    costs = load_costs("sapphire-rapids")
    known = CostTable.names()
    first, last = (each.changes for each in corners(costs) if each.name in ("all first", "all last"))
    ends = [
        (name, why) for name, _, why in costs.rows("default") if name not in known or name in costs.evidence
    ]
    assert any(value in (why.low, why.high) for name, value, why in costs.rows("default") if name in first)
    for name, why in ends:
        assert (first[name], last[name]) == (why.low, why.high)


def test_corners_name_known_costs() -> None:
    for corner in corners():
        CostTable.default().replace(**corner.changes)


def test_percentiles_are_nearest_rank() -> None:
    values = list(range(1, 101))
    assert [Ranks(values).rank(p) for p in (1, 50, 90, 99, 100)] == [1, 50, 90, 99, 100]
    assert Ranks([7]).rank(99) == 7
    assert Ranks([]).rank(50) == 0
    assert Ranks([5, 5, 9]).total == 19


VERSIONS = PATCHES_BY_NAME | IN_PLACE | HUGE | VARIANTS
EVERY = [
    Point(patch, arch, storm, "none", 2, 4, folio)
    for patch, arch, storm, folio in product(
        VERSIONS, ("default", "sw-protected", "snp", "tdx"), STORMS, ("4K", "2M")
    )
    if folio == "4K" or VERSIONS[patch].huge_pages
]


@pytest.mark.parametrize("patch", VERSIONS)
def test_every_version_and_vm_type_runs_every_storm_that_it_can(patch: str) -> None:
    """Each folio is worked on once, by the version's own calls; a refusal names what cannot be done."""
    ran: set[tuple[str, str]] = set()
    for point in EVERY:
        if point.patch != patch:
            continue
        try:
            found = run(point)
        except CannotError:
            continue
        assert found.faults == (8 if STORMS[point.storm].same else 4), point
        assert found.virtual_ns > 0
        ran.add((point.arch, point.storm))
    assert {storm for arch, storm in ran if arch == "default"} == {
        "first-touch",
        "first-touch-same",
        "memory-failure",
        "prefault",
        "punch",
    }
    assert {storm for arch, storm in ran if arch in {"snp", "tdx"}} == set(STORMS)


def test_a_conversion_is_the_version_s_own_call() -> None:
    """In place it takes the file's invalidate lock, before that the VM's slots_lock."""
    old, new = (run(Point(patch, "snp", "convert", "none", 2, 8)) for patch in ("v3", "inplace"))
    assert old.lock("invalidate_lock:w").acquisitions == 0
    assert old.lock("slots_lock:w").acquisitions == 8
    assert new.lock("invalidate_lock:w").acquisitions == 8
    assert new.lock("slots_lock:w").acquisitions == 0


def test_a_fault_in_place_takes_the_invalidate_lock_shared() -> None:
    found = run(Point("inplace", "sw-protected", "refault", "none", 4, 64))
    assert found.lock("invalidate_lock:r").acquisitions == 64


def test_a_tds_guest_accepts_what_it_touches() -> None:
    """One fault a page, and the same time whether the storm is called a touch or an accept, but for the read."""
    touch, accept = (run(Point("v3", "tdx", storm, "none", 1, 8)) for storm in ("first-touch", "accept"))
    assert touch.retries == accept.retries == 0
    assert touch.virtual_ns == accept.virtual_ns


def test_huge_folios_are_worked_on_as_one() -> None:
    small, huge = (
        run(Point("hugepage", "sw-protected", "first-touch", "none", 1, 4, folio)) for folio in ("4K", "2M")
    )
    assert small.faults == huge.faults == 4
    costs = CostTable.default("sw-protected")
    assert huge.virtual_ns - small.virtual_ns > 4 * (costs.clear_2m - costs.clear_4k) // 2


def test_one_kernel_release_around_all_versions() -> None:
    made = points(patches=("baseline", "inplace"), storms=("refault",), backgrounds=("none",), vcpus=(1,))
    assert {point.release for point in made} == {VERSIONS["inplace"].default_release}


def test_what_a_version_cannot_do_is_said_and_the_rest_is_run() -> None:
    refused: list[str] = []
    made = points(
        patches=("v3", "hugepage"),
        storms=("refault",),
        backgrounds=("none",),
        vcpus=(1, 2),
        folios=("2M",),
        refused=refused,
    )
    assert {point.patch for point in made} == {"hugepage"}
    assert refused == ["patch v3 has no folios of 2M: only 4K"]
    with pytest.raises(PointError, match="only 4K"):
        points(patches=("v3",), folios=("2M",), refused=[])


def test_perf_counts_sleeping_readers_and_no_spinning_writers() -> None:
    """`tracked` marks exclusively: its writers spin, its readers sleep; perf sees the readers alone."""
    found = run(Point("tracked", "snp", "first-touch", "none", 16, 512))
    assert found.lock("invalidate_lock:w").contentions > 0
    assert {row.type for row in found.perf} == {"rwsem:R"}
    (row,) = found.perf
    readers = found.lock("invalidate_lock:r")
    assert (row.count, row.total, row.longest) == (readers.contentions, readers.wait_total, readers.wait_max)
    assert row.caller == "kvm_gmem_get_file_pfn"


def test_perf_knows_no_folio_lock() -> None:
    found = run(Point("v3", "snp", "first-touch-same", "none", 4, 64))
    assert found.lock("folio_lock:w").contentions > 0
    assert found.perf == ()


def test_the_bottleneck_is_named_also_where_it_is_no_lock() -> None:
    """Many vCPUs in few 2 MiB regions wait for RMPUPDATE; conversions in place for the lock; one vCPU for nothing."""
    assert run(Point("v3", "snp", "first-touch", "none", 64, 512)).bottleneck.name == "rmp.spin"
    assert run(Point("inplace", "snp", "convert", "none", 16, 64)).bottleneck.name == "invalidate_lock:w"
    alone = run(Point("v3", "snp", "first-touch", "none", 1, 64)).bottleneck
    assert (alone.name, alone.share) == ("", 0.0)


def test_spinners_of_one_region_get_it_one_after_another() -> None:
    """Serial RMPUPDATEs: the storm takes as long as all of them, and nobody waits longer than all the others."""
    found = run(Point("v3", "snp", "first-touch", "none", 32, 256))
    serial = 256 * COSTS.rmpupdate
    assert serial <= found.virtual_ns < 1.1 * serial + 10 * COSTS.fault_entry
    assert found.longest < 40 * COSTS.rmpupdate


def test_a_guest_that_accepts_under_one_lock() -> None:
    """Guests before 6.6: however many vCPUs, one accept at a time; the host's perf sees no lock."""
    one, four = (run(Point("v3", "tdx", "accept-serial", "none", vcpus, 16)) for vcpus in (1, 4))
    free = run(Point("v3", "tdx", "accept", "none", 4, 16))
    assert four.virtual_ns >= 0.95 * one.virtual_ns
    assert free.virtual_ns < 0.3 * one.virtual_ns
    assert four.bottleneck.name == "guest.unaccepted_memory_lock:w"
    assert not any("unaccepted" in row.type + row.caller for row in four.perf)
