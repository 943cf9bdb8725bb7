"""Recordings of Linux 7.3.4 by `gmemsim lab run SCENARIO --trace`, and what the follower says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmemsim.follow.follower import follow
from gmemsim.follow.trace import load_trace
from gmemsim.patches.registry import load_patch

HERE = Path(__file__).parent / "recordings"


@pytest.mark.parametrize(
    "name",
    [
        "disjoint-0",
        pytest.param(
            "close-0",
            marks=pytest.mark.xfail(
                strict=True, reason="the follower knows no call that shows the release of a file"
            ),
        ),
    ],
)
def test_a_recording_of_a_stock_kernel_is_a_run_of_its_version(name: str) -> None:
    result = follow(load_trace(HERE / f"{name}.trace.gz"), load_patch("mainline-7.3"))
    assert result.accepted, result.rejected_at
