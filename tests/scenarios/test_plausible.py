"""Runs of the recorded workloads obey the laws that the recordings obey."""

from typing import Any

import pytest

from gmemsim.patches.registry import PATCHES
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.session import build
from gmemsim.scenarios.summary import Summary

CUT: dict[str, Any] = {"rounds": 6, "conversions": 4, "host_rounds": 4}


def run(name: str, patch: str, kind: str, **arguments: Any) -> Summary:
    scenario = load_named(name)
    cut = {
        key: value
        for key, value in CUT.items()
        if key in scenario.parameters and name not in ("same", "disjoint")
    }
    return build(scenario, patch, kind, parameters=cut, **arguments).run().summary()


@pytest.mark.parametrize("name", ["same", "prefault", "prepop", "disjoint", "punch", "hot1"])
@pytest.mark.parametrize("kind", ["default", "sw-protected"])
def test_preparing_is_once_a_page_before_the_series_and_at_every_fault_after_it(name: str, kind: str) -> None:
    before = run(name, "baseline", kind).events
    assert before["prepare"] == before["clear"]
    for patch in ("v1", "v2", "v3"):
        after = run(name, patch, kind).events
        assert after["prepare"] == after["get_pfn"] >= after["clear"]


def test_same_prepares_each_page_once_in_the_baseline() -> None:
    for vcpus in (1, 2, 4, 8):
        summary = run("same", "baseline", "default", vcpus=vcpus)
        events = summary.events
        assert events["prepare"] == events["clear"] == events["page_cache_add"] == 64
        # At most one fault a vCPU and page, but for those that lose an SPTE race and look the page up again.
        assert 64 <= events["get_pfn"] <= 64 * vcpus + summary.outcomes.get("retry spte", 0)


def test_prefault_with_eight_vcpus_is_what_was_recorded() -> None:
    """64 prepares and 512 get_pfn in 6.18, 512 prepares in 7.2, none in 7.3 (seen in the recordings)."""
    found = {}
    for patch in ("baseline", "v3", "mainline-7.3"):
        summary = run("prefault", patch, "default", vcpus=8)
        # A vCPU that loses an SPTE race looks the page up once more.
        again = sum(count for name, count in summary.outcomes.items() if name.startswith("retry"))
        assert summary.events["get_pfn"] == 512 + again
        found[patch] = summary.events.get("prepare", 0) - (again if patch == "v3" else 0)
    assert found == {"baseline": 64, "v3": 512, "mainline-7.3": 0}


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("name", ["punch", "punch_tight", "hot1", "mmap_punch", "conv1punch", "conv1_punch1"])
def test_each_life_of_a_page_is_cleared_once(patch: str, name: str) -> None:
    scenario = load_named(name)
    kind = "default" if "default" in scenario.head.vm_types else "sw-protected"
    events = run(name, patch, kind).events
    assert events["clear"] == events["page_cache_add"]
    assert 0 <= events["page_cache_add"] - events.get("page_cache_delete", 0) <= 32


def test_allocation_never_clears() -> None:
    for patch in PATCHES:
        events = run("prepop", patch, "default").events
        assert events["clear"] == 64
        assert "page_cache_add" not in events
        assert "clear" not in run("punchonly", patch, "default").events


def test_conversion_alone_adds_and_deletes_nothing() -> None:
    for patch in PATCHES:
        events = run("conv1", patch, "sw-protected").events
        assert events["page_cache_add"] == events["clear"] == 32
        assert "page_cache_delete" not in events
        assert events["set_attributes"] == 2 * CUT["conversions"]


@pytest.mark.parametrize("name", ["punch", "mmap_h2", "same", "conv1"])
def test_no_fault_takes_the_invalidate_lock(name: str) -> None:
    for patch in PATCHES:
        scenario = load_named(name)
        summary = run(name, patch, "default" if "default" in scenario.head.vm_types else "sw-protected")
        rows = {row.name: row for row in summary.locks}
        punches = summary.events.get("fallocate", 0)
        if punches:
            lock = rows["invalidate_lock"]
            assert (lock.read.acquisitions, lock.write.acquisitions) == (0, punches)
        else:
            assert "invalidate_lock" not in rows


def test_a_page_that_the_host_touches_first_is_never_prepared_before_the_series() -> None:
    before = run("mmap_h1", "baseline", "default").events
    assert before.get("prepare", 0) < before["clear"]
    after = run("mmap_h1", "v3", "default").events
    assert after["prepare"] == after["get_pfn"]


def test_populated_pages_are_neither_cleared_nor_prepared_by_the_baseline() -> None:
    for kind in ("snp", "tdx"):
        before = run("launch", "baseline", kind).events
        assert "clear" not in before
        assert "prepare" not in before
        after = run("launch", "v3", kind).events
        assert "clear" not in after
        # A TD's launch maps what it populates: no fault follows.
        assert (
            after.get("prepare", 0) == after.get("get_pfn", 0) == (0 if kind == "tdx" else after["faultin"])
        )


def test_a_failed_prepare_is_followed_by_another_clear_only_before_the_series() -> None:
    before = build(load_named("prepare_fails"), "baseline", "snp").run().summary()
    failures = before.outcomes["exit memory fault ENOENT"]
    assert before.events["clear"] == 16 + failures
    after = build(load_named("prepare_fails"), "v3", "snp").run().summary()
    assert after.outcomes["exit memory fault ENOENT"]
    assert after.events["clear"] == 16


def test_populate_holds_the_invalidate_lock_once_or_once_a_page() -> None:
    taken = {}
    for patch in ("baseline", "v1", "v2", "v3"):
        scenario = load_named("populate_busy")
        session = build(scenario, patch, "snp", parameters={"others": 0}).run()
        (row,) = [row for row in session.locks() if row.name == "invalidate_lock"]
        taken[patch] = row.write.acquisitions
    assert taken == {"baseline": 1, "v1": 1, "v2": 64, "v3": 64}


def test_who_refuses_a_second_populate() -> None:
    outcomes = {}
    for patch in ("baseline", "v3"):
        for kind in ("snp", "tdx"):
            session = build(load_named("populate_twice"), patch, kind).run()
            second = session.results["vcpu0"].operations[1]
            # SNP_LAUNCH_UPDATE makes -EIO of it.
            assert kind == "tdx" or second.outcome == "EIO"
            outcomes[patch, kind] = second.values[-1] if kind == "snp" else second.outcome
    # Common code's mark before the series; after it the RMP, and TDX's own state.
    assert outcomes["baseline", "snp"] == outcomes["v3", "snp"] == outcomes["baseline", "tdx"] == "EEXIST"
    assert outcomes["v3", "tdx"] != "ok"


def test_an_unaligned_source_is_accepted_before_v2() -> None:
    for patch, outcome in (("baseline", "ok"), ("v1", "ok"), ("v2", "EINVAL"), ("v3", "EINVAL")):
        session = build(load_named("populate_source"), patch, "snp").run()
        assert session.results["vcpu0"].operations[0].outcome == outcome


def test_an_unrelated_vm_is_not_disturbed() -> None:
    for patch in PATCHES:
        session = build(load_named("two_vms"), patch, "sw-protected").run()
        assert session.results["vcpu0"].faults == 32
        assert session.results["vm1.vcpu0"].faults > 32
