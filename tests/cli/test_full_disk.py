"""Output that can't be written is one line and exit 2, not a traceback and the exit code of a violation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.is_char_device(), reason="the system has no device that is always full")
@pytest.mark.parametrize("arguments", [["list", "scenarios"], ["run", "punch", "--small", "--json"]])
def test_full(arguments: list[str]) -> None:
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gmemsim", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "gmemsim: cannot write the output: No space left on device\n"
