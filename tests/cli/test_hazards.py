"""`gmemsim hazards`: what it prints, and its exit codes."""

from __future__ import annotations

import json

import attrs
import pytest
from click.testing import CliRunner, Result

from gmemsim.cli.group import cli
from gmemsim.explore.hazards import versions
from gmemsim.patches.hazards import registry


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
    assert {row["patch"] for row in rows} == set(versions())
    violated = [row for row in rows if row["verdict"] == "violated"]
    assert [(row["rule"], row["run_as"]) for row in violated] == [
        ("I12", "mainline-7.3+partial-store-kept"),
        ("I12", "inplace+partial-store-kept"),
    ]
    assert all(row["replay"].startswith("gm1:") for row in violated)


def test_a_verdict_that_is_not_the_known_one_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    hazard = registry.HAZARDS[16]
    case = attrs.evolve(hazard.cases[0], violated={"*": "I12"})
    monkeypatch.setitem(registry.HAZARDS, 16, attrs.evolve(hazard, cases=(case,)))
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
