"""Traces of Linux 7.3.4 with a mended module (reproducers/mend) are runs of the mended version, and of no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmemsim.follow.calls import calls_of
from gmemsim.follow.follower import follow
from gmemsim.follow.search import Bounds
from gmemsim.follow.trace import load_trace
from gmemsim.patches.registry import load_patch

HERE = Path(__file__).parent / "mended"
#: In the first the memory failures are over when the hole begins; in the second the hole begins inside the hook.
APART, MEETS = HERE / "zoo-poison_punch-6.trace.gz", HERE / "zoo-poison_punch-7.trace.gz"


@pytest.mark.parametrize("path", [APART, MEETS])
def test_both_are_runs_of_the_mended_version(path: Path) -> None:
    result = follow(load_trace(path), load_patch("mainline-7.3+error-bindings-lock"))
    assert result.accepted, result.rejected_at
    trace = load_trace(path)
    assert result.matched >= 0.95 * len(trace.steps)
    failures = [
        call for name in trace.threads for call in calls_of(trace, name)[0] if call.kind == "memory_failure"
    ]
    assert failures


def test_where_the_lock_matters_the_trace_is_no_run_of_the_stock_kernel() -> None:
    stock = load_patch("mainline-7.3")
    assert follow(load_trace(APART), stock).accepted
    result = follow(load_trace(MEETS), stock, bounds=Bounds(window=64, seconds=None))
    assert result.verdict == "rejected"
    assert result.rejected_at is not None
    assert "gmem0.invalidate_lock" in result.rejected_at.reason


def test_a_trylock_is_another_mend() -> None:
    """It takes the invalidate lock as well, and the hole could not have begun inside the hook."""
    result = follow(
        load_trace(MEETS), load_patch("mainline-7.3+error-trylock"), bounds=Bounds(window=64, seconds=None)
    )
    assert result.verdict == "rejected"


def test_a_memory_failure_of_a_frame_that_left_the_file_is_left_out() -> None:
    """The hole was over before: the failure is a free page's, with nothing for guest_memfd to do."""
    trace = load_trace(HERE / "memory_failure-0.trace.gz")
    result = follow(trace, load_patch("mainline-7.3+error-bindings-lock"))
    assert result.accepted, result.rejected_at
    assert result.matched == len(trace.steps) - 2
