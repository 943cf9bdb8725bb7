"""Real kernels' traces are runs of the version that they belong to, and of no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmemsim.follow.follower import follow
from gmemsim.follow.search import Bounds
from gmemsim.follow.trace import load_trace
from gmemsim.patches.registry import PATCHES

NAMES = ("sh_same_v2", "sh_prefault_v4", "sh_punch1_v1", "sh_mmap_h1_v2")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("release", "patch"), [("6.18.15", "baseline"), ("7.2.13", "v3")])
def test_a_kernel_is_a_run_of_its_version(carried: Path, release: str, patch: str, name: str) -> None:
    trace = load_trace(carried / release / f"{name}.trace.gz")
    result = follow(trace, PATCHES[patch])
    assert result.accepted, result.rejected_at
    # Everything but hints and unlocks of other files' folios is matched one to one.
    assert result.matched >= 0.98 * sum(
        step.name not in ("io_sched", "folio_lock_slow") for step in trace.steps
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("release", "patch"), [("6.18.15", "v3"), ("7.2.13", "baseline"), ("7.2.13", "mainline-7.3")]
)
def test_a_kernel_is_no_run_of_another_version(carried: Path, release: str, patch: str, name: str) -> None:
    bounds = Bounds(window=64, seconds=None)
    result = follow(load_trace(carried / release / f"{name}.trace.gz"), PATCHES[patch], bounds=bounds)
    assert result.verdict == "rejected"
    assert result.rejected_at is not None
    shown = result.rejected_at.event + result.rejected_at.reason
    # Where they part is the preparation: before the folio is uptodate, after it on every fault, or not at all.
    assert "prepare" in shown


def test_what_was_not_probed_is_named(carried: Path) -> None:
    trace = load_trace(carried / "7.2.13" / "sh_same_v2.trace.gz")
    result = follow(trace, PATCHES["v3"])
    assert "prepare_ret" not in result.unobserved
    assert "set_attributes" not in result.unobserved
    # The kernel has other arch hooks, so one that is missing does not exist.
    assert trace.absent == {"make_private", "arch_reclaim"}
    assert result.probes_from == "metadata"


def test_an_unprobed_function_is_no_missing_step(beside: Path) -> None:
    # kvm_mmu_faultin_pfn is inlined in that kernel.
    result = follow(load_trace(beside / "linux-6.12.107-custom" / "pv_same_v2.trace.gz"), PATCHES["baseline"])
    assert result.accepted, result.rejected_at
    assert "faultin" in result.unobserved


def test_without_metadata_the_probes_are_inferred(carried: Path, tmp_path: Path) -> None:
    copy = tmp_path / "alone.trace.gz"
    copy.write_bytes((carried / "6.18.15" / "sh_same_v2.trace.gz").read_bytes())
    result = follow(load_trace(copy), PATCHES["baseline"])
    assert result.accepted, result.rejected_at
    assert result.probes_from == "trace"


@pytest.mark.parametrize(
    ("directory", "patch", "name"),
    [
        ("linux-6.18.15-debian", "baseline", "sh_punch1_v4"),
        ("linux-6.18.15-debian", "baseline", "sh_mmap_h4_v0"),
        ("linux-7.2.13-debian", "v3", "sh_punch1_v2"),
        ("linux-7.2.13-custom", "v3", "pv_conv1_v2"),
        ("linux-7.3.4-debian", "mainline-7.3", "sh_punch1_v2"),
        ("linux-6.12.107-custom", "baseline", "pv_punch1_v4"),
        ("lockcheck-7.2.13-custom", "v3", "pv_lockcheck_punch1_v2"),
    ],
)
def test_races_of_real_kernels_are_runs(beside: Path, directory: str, patch: str, name: str) -> None:
    result = follow(load_trace(beside / directory / f"{name}.trace.gz"), PATCHES[patch])
    assert result.accepted, result.rejected_at


def test_unprobed_conversions_come_from_another_recording(beside: Path) -> None:
    trace = load_trace(beside / "linux-6.12.107-custom" / "pv_conv1_v1.trace.gz")
    trace.take_conversions(load_trace(beside / "linux-7.2.13-custom" / "pv_conv1_v1.trace.gz"))
    result = follow(trace, PATCHES["baseline"])
    assert result.accepted, result.rejected_at
