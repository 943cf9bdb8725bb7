"""`gmemsim hazards`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import pytest
from click.testing import CliRunner, Result

from gmemsim.cli.group import cli
from gmemsim.patches.hazards import registry
from gmemsim.studies.hazards import VERSIONS

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["hazards", *arguments])


def test_verdicts_reasons_and_tokens() -> None:
    result = run("16", "--schedules", "12")
    assert result.exit_code == 0
    assert "16. xa_store_range fails half-way" in result.output
    assert "violated: I12" in result.output
    assert "does not apply to baseline" in result.output
    assert "inplace+partial-store-kept, sw-protected: gmemsim replay gm1:" in result.output


def test_json() -> None:
    (entry,) = json.loads(run("16", "--schedules", "12", "--json").output)
    rows = entry["verdicts"]
    assert {row["patch"] for row in rows} == set(VERSIONS)
    violated = [row for row in rows if row["verdict"] == "violated"]
    assert [(row["rule"], row["run_as"]) for row in violated] == [
        ("I12", "mainline-7.3+partial-store-kept"),
        ("I12", "inplace+partial-store-kept"),
    ]
    assert all(row["replay"].startswith("gm1:") for row in violated)


def test_a_verdict_that_is_not_the_known_one_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    hazard = registry.HAZARDS["16"]
    case = attrs.evolve(hazard.cases[0], violated={"*": "I12"})
    monkeypatch.setitem(registry.HAZARDS, "16", attrs.evolve(hazard, cases=(case,)))
    result = run("16", "--schedules", "2")
    assert result.exit_code == 1
    assert "not what is known" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "says"), [(("99",), "no hazard 99"), (("1", "--strategy", "nonsense"), "nonsense")]
)
def test_bad_usage_is_exit_code_2(arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.output + (result.stderr or "") + str(result.exception)


def test_of_a_patch_of_one_s_own(tmp_path: Path) -> None:
    body = "    async def kvm_gmem_clear_folio(self, *args):\n        pass\n"
    (tmp_path / "mine.py").write_text(f"from gmemsim.patches.v3 import V3\n\n\nclass Mine(V3):\n{body}")
    patch = f"{tmp_path}/mine.py:Mine"
    options = ("--schedules", "2", "--seconds", "5", "--json")
    result = CliRunner().invoke(cli, ["hazards", "14", "--patch", patch, *options])
    assert result.exit_code == 1, result.output
    verdicts = [each for row in json.loads(result.stdout) for each in row["verdicts"]]
    assert {each["patch"] for each in verdicts} == {patch}
    assert any(each["rule"] == "I4" and not each["as_expected"] for each in verdicts)
    refused = CliRunner().invoke(cli, ["hazards", "14", "--patch", "tracked"])
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
