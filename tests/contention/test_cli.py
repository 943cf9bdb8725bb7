"""`gmemsim bench contention` at its edges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gmemsim.cli.bench import command
from gmemsim.cli.group import cli
from gmemsim.contention.flat import read_csv

SMALL = ["contention", "--vcpus", "1,2", "--pages", "8", "--storm", "refault"]


def test_table_and_files(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    done = CliRunner().invoke(command, [*SMALL, "--csv", str(path)])
    assert done.exit_code == 0, done.output
    assert "faults/ms" in done.output
    assert "mmu_lock" in done.output
    assert len(read_csv(path.read_text())) == 8
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.csv"]


def test_json() -> None:
    done = CliRunner().invoke(command, [*SMALL, "--json"])
    rows = json.loads(done.stdout)
    assert [row["point"]["vcpus"] for row in rows] == [1] * 4 + [2] * 4


def test_sweep() -> None:
    done = CliRunner().invoke(
        command, ["contention", "--vcpus", "1", "--pages", "4", "--storm", "refault", "--sweep"]
    )
    assert done.exit_code == 0, done.output
    assert "rmp_lookup=200" in done.output


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        done = CliRunner().invoke(command, [*SMALL, "--plot", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--vcpus", "1,x"],
        ["--vcpus", "0"],
        ["--patch", "nosuch"],
        ["--arch", "pkvm"],
        ["--folio", "2M"],
        ["--storm", "populate", "--arch", "default"],
        ["--release", "5.0"],
        ["--storm", "nosuch"],
        ["--background", "nosuch"],
        ["--lock", "nosuch"],
        ["--plot", "out.gif"],
        ["--csv", "no/such/directory/out.csv"],
        ["--sweep", "--csv", "out.csv"],
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "contention", *arguments], prog_name="gmemsim")
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_versions_that_cannot_are_left_out_with_a_line() -> None:
    done = CliRunner().invoke(
        command,
        ["contention", "--patch", "v3,hugepage", "--folio", "2M", "--vcpus", "1", "--pages", "2"],
    )
    assert done.exit_code == 0, done.output
    assert done.stderr == "gmemsim: left out: patch v3 has no folios of 2M: only 4K\n"
    assert "folios of 2M" in done.stdout
    assert "hugepage" in done.stdout
