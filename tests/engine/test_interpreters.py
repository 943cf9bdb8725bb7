"""The canonical log has the same bytes under every supported interpreter at hand and under any hash seed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
NAMES = ("python3.11", "python3.12", "python3.13", "python3.14")
PROGRAM = """
import hashlib

from gmemsim.audit.recorder import Recorder
from gmemsim.audit.render import render_lines
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.session import Options, build

CASES = [
    ("same", "v3", "snp", None),
    ("punch", "v3", "default", 1),
    ("conv1", "mainline-7.3", "sw-protected", 2),
]
for name, patch, arch, seed in CASES:
    for runtime in ("bare", "trio"):
        recorder = Recorder()
        options = Options(rec=recorder.rec, strategy=None if seed is None else RandomStrategy(seed))
        session = build(load_named(name), patch, arch, small=seed is not None, options=options)
        session.run(runtime)
        print(name, len(recorder), hashlib.sha256(b"".join(render_lines(recorder))).hexdigest())
"""


def run(python: str, program: str, hash_seed: str) -> subprocess.CompletedProcess[str]:
    """Run `program` with the package on the path."""
    env = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "PYTHONHASHSEED": hash_seed,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run([python, "-c", program], env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def expected() -> str:
    """What this interpreter prints; both runtimes agree."""
    done = run(sys.executable, PROGRAM, "0")
    assert not done.returncode, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert lines[::2] == lines[1::2]
    assert all(int(line.split()[1]) for line in lines)
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_another_interpreter_writes_the_same_bytes(name: str, expected: str) -> None:
    python = shutil.which(name)
    if python is None or run(python, "", "0").returncode:
        pytest.skip(f"{name} is not at hand")
    if run(python, "import msgspec, structlog, trio, zstandard, attrs", "0").returncode:
        pytest.skip(f"{name} lacks the dependencies")
    for hash_seed in ("0", "4711"):
        done = run(python, PROGRAM, hash_seed)
        assert not done.returncode, done.stderr
        assert done.stdout == expected
