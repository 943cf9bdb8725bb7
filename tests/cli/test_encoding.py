"""A reader that goes away takes no verdict with it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def code_without_reader(*args: str) -> tuple[int | None, bytes]:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "gmemsim", *args], stdout=out, stderr=subprocess.PIPE, check=False
        )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("explore", "zoo-poison_punch", "--patch", "v3", "--max-schedules", "300", "--no-shrink"), 1),
        (("run", "same", "--small"), 0),
        (("list", "scenarios"), 0),
        (("explore", "no-such-scenario"), 2),
    ],
)
def test_the_exit_code_is_that_of_the_answer(args: tuple[str, ...], code: int) -> None:
    got, said = code_without_reader(*args)
    assert got == code
    assert b"Traceback" not in said
    assert b"BrokenPipe" not in said
