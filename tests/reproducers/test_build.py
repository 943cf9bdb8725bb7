"""The reproducers compile without a warning, and the scripts are shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "reproducers"
PROGRAMS = sorted(FOLDER.glob("*.c"))
COMPILER = shutil.which("gcc") or shutil.which("cc")


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_it_compiles(program: Path) -> None:
    assert COMPILER is not None
    done = subprocess.run(
        [COMPILER, "-std=gnu11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_there_are_some() -> None:
    assert PROGRAMS


@pytest.mark.parametrize("script", ["init", "boot.sh", "mkinitramfs.sh"])
def test_scripts_parse(script: str) -> None:
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("no shell")
    assert subprocess.run([shell, "-n", str(FOLDER / script)], check=False).returncode == 0
