"""Recordings of stock kernels by `gmemsim lab run SCENARIO --trace`, and what the follower says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmemsim.follow.follower import follow
from gmemsim.follow.trace import load_trace
from gmemsim.patches.registry import load_patch

HERE = Path(__file__).parent / "recordings"
NAMES = sorted(path.name.removesuffix(".trace.gz") for path in HERE.glob("*.trace.gz"))
VERSIONS = {"6.18": "baseline", "7.2": "v3", "7.3": "mainline-7.3"}


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_of_a_stock_kernel_is_a_run_of_its_version(name: str) -> None:
    trace = load_trace(HERE / f"{name}.trace.gz")
    assert trace.release is not None
    result = follow(trace, load_patch(VERSIONS[trace.release]))
    assert result.accepted, result.rejected_at
    # Each event is matched, up to the two markers and what is of other files.
    outside = sum(int(note.split()[0]) for note in result.notes if "passed over" in note)
    assert result.matched + sum(result.left_out.values()) + outside == result.events
    assert result.states == 0


def test_which_are_carried() -> None:
    assert len(NAMES) >= 7
