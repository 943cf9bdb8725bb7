"""A misspelt name is answered with the one that was meant, wherever a name is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from gmemsim.cli.group import cli

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("explor punch", "explore"),
        ("run hol", "hole"),
        ("run first_fault", "litmus-first_fault"),
        ("run hole --patch v33", "v3"),
        ("run hole --patch v3+mf-delay", "mf-delayed"),
        ("run hole --arch SNP", "snp"),
        ("run hole --lock rwsen", "rwsem"),
        ("explore punch --strategy ptc", "pct"),
        ("explore punch --without I333", "I33"),
        ("outcomes punch --patch v3 --observe attributs", "set_attributes"),
        ("findings memory-failure-against-punc", "memory-failure-against-punch"),
        ("explain deadlok", "deadlock"),
        ("zoo launch-finish-repeate", "launch-finish-repeated"),
        ("litmus first_faul", "litmus-first_fault"),
        ("conform --arch snpp", "snp"),
        ("bench contention --storm refaul", "refault"),
        ("bench contention --lock rwsen", "rwsem"),
        ("bench contention --arch snpp", "snp"),
        ("list scenario", "scenarios"),
        ("completion bas", "bash"),
        ("man explor", "explore"),
        ("lab reproduce memory-failure-against-punc --kernel none", "memory-failure-against-punch"),
    ],
)
def test_the_name_that_was_meant(line: str, meant: str) -> None:
    result = CliRunner().invoke(cli, line.split())
    assert result.exit_code == 2
    assert f"did you mean {meant}" in result.output.strip().splitlines()[-1]


@pytest.mark.parametrize("option", ["--arch SNP", "--release 6.13"])
def test_a_wrong_option_is_not_blamed_on_the_scenarios_file(option: str) -> None:
    result = CliRunner().invoke(cli, ["run", "hole", *option.split()])
    assert result.exit_code == 2
    assert "hole.toml" not in result.output


def test_the_classes_of_a_patch_file_are_named_and_the_file_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("raise SystemExit('it ran')\nclass First: ...\nclass Second: ...\n")
    result = CliRunner().invoke(cli, ["run", "hole", "--patch", str(file)])
    assert result.exit_code == 2
    assert f"which class? {file}:First or {file}:Second" in result.output
    file.write_text("x = 1\n")
    assert "it has no class" in CliRunner().invoke(cli, ["run", "hole", "--patch", str(file)]).output
