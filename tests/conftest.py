"""Settings for the whole suite."""

import os
import signal

import pytest
from hypothesis import settings

from gmemsim.cli import progress

# Tables are as wide as they are without a terminal, whatever the caller's shell says.
os.environ.pop("COLUMNS", None)
# A script's background job ignores SIGINT, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Fixed examples and no wall-clock deadline: a run on a slow machine finds what a fast one finds.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")


@pytest.fixture(autouse=True)
def _no_line_says_how_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a command takes half a minute, and would say so where a test expects nothing."""
    monkeypatch.setattr(progress, "_SELDOM", float("inf"))
