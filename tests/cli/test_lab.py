"""`gmemsim lab` without a kernel: bad input is one line and exit code 2, before anything is booted."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gmemsim.cli.group import cli


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "hole", "--kernel", "7.3.4"], "no kernel 7.3.4 is fetched (there: none)"),
        (["run", "hole", "--kernel", "/nowhere/vmlinuz"], "/nowhere/vmlinuz: no such kernel image"),
        (["run", "launch", "--kernel", "7.3.4"], "cannot run on a stock kernel: VM type"),
        (["run", "nothing", "--kernel", "7.3.4"], "nothing"),
        (["compare", "--kernel", "7.3.4"], "expected either scenarios or --drawn N"),
        (["compare", "hole", "--drawn", "3", "--kernel", "7.3.4"], "expected either scenarios or --drawn N"),
        (["reproduce", "nothing", "--kernel", "7.3.4"], "no finding 'nothing'"),
        (["reproduce", "tdx-removal-failure", "--kernel", "7.3.4"], "has no scene for a kernel"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, ["lab", *arguments])
    assert done.exit_code == 2
    assert said in done.output
    assert done.output.count("\n") == 1


def test_setup_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(cli, ["lab", "setup"])
    assert done.exit_code == 2
    assert "apt-get install qemu-system-x86 gcc libc6-dev" in done.output.splitlines()[-1]
