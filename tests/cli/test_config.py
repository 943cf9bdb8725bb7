"""Defaults from a file: what is taken, what is refused, and that it is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gmemsim.cli.group import cli


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    monkeypatch.delenv("GMEMSIM_CONFIG", raising=False)
    return tmp_path


def test_the_nearest_file_counts_and_is_named(folder: Path) -> None:
    (folder / "gmemsim.toml").write_text('patch = "v1"\n[run]\nseed = 7\njson = true\n')
    result = run("run", "hole")
    assert f"defaults from {folder / 'gmemsim.toml'}: patch, seed, json" in result.stderr
    ran = json.loads(result.stdout)
    assert (ran["patch"], ran["seed"]) == ("v1", 7)
    # What is typed goes before it, and a nearer file replaces it.
    assert json.loads(run("run", "hole", "--patch", "v2").stdout)["patch"] == "v2"
    (folder / "a" / "pyproject.toml").write_text("[tool.gmemsim.run]\njson = true\n")
    assert json.loads(run("run", "hole").stdout)["patch"] == "v3"


def test_an_empty_name_is_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gmemsim.toml").write_text("[run]\njson = true\n")
    monkeypatch.setenv("GMEMSIM_CONFIG", "")
    assert not run("run", "hole").stdout.startswith("{")


def test_a_group_hands_them_down(folder: Path) -> None:
    (folder / "gmemsim.toml").write_text('[bench.contention]\nvcpus = "1"\npatch = "v3"\npages = 16\n')
    result = run("bench", "contention")
    assert result.exit_code == 0
    assert "vcpus, patch, pages" in result.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pacth = 'v3'", "no command has the option 'pacth'; did you mean patch"),
        ("[rnu]\nseed = 1", "no command 'rnu'; did you mean run?"),
        ("[run]\nsede = 1", "run has no option 'sede'; did you mean seed?"),
        ("[run]\nseed = 'x'", "seed: 'x' is not a valid integer"),
        ("[run]\nseed = true", "seed: expected a text or a number, got True"),
        ("[run]\njson = 1", "json: expected true or false, got 1"),
        ("[run]\nseed = [1]", "seed: expected one value, got a list"),
        ("patch = 'evil.py:Mine'", "patch: a file to write or to run is named on the command line only"),
        ("[run]\nlog = 'x.jsonl'", "log: a file to write or to run is named on the command line only"),
        ("seed = ", "Invalid value (at end of document)"),
    ],
)
def test_what_is_wrong_is_one_line(folder: Path, text: str, expected: str) -> None:
    (folder / "gmemsim.toml").write_text(text)
    result = run("run", "hole")
    assert result.exit_code == 2
    assert f"{folder / 'gmemsim.toml'}: " in result.stderr
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_project_that_says_nothing_of_it_is_passed_over(folder: Path) -> None:
    (folder / "gmemsim.toml").write_text("[run]\njson = true\n")
    (folder / "a" / "pyproject.toml").write_text('[project]\nname = "gmemsim-friend"\n')
    assert run("run", "hole").stdout.startswith("{")
