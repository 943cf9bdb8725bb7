"""Where the recorded traces are: the few that the package carries, and the full set beside the checkout if present."""

from __future__ import annotations

from pathlib import Path

import pytest

import gmemsim

CARRIED = Path(gmemsim.__file__).parent / "scenarios" / "recorded"
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "traces"


@pytest.fixture(scope="session")
def carried() -> Path:
    return CARRIED


@pytest.fixture(scope="session")
def beside() -> Path:
    if not BESIDE.is_dir():
        pytest.skip("the full set of recordings is not beside the checkout")
    return BESIDE
