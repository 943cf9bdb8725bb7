"""`gmemsim explore --against`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.cli.test_rules import TWO

from gmemsim.cli.group import cli


def call(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


@pytest.fixture
def two(tmp_path: Path) -> str:
    file = tmp_path / "two.toml"
    file.write_text(TWO)
    return str(file)


SEARCH = ("--strategy", "random", "--max-schedules", "60", "--no-shrink")
PATCH = "v3+prepare-outside-folio-lock"


def test_a_failure_of_its_own_is_exit_code_1(two: str) -> None:
    result = call("explore", two, "--patch", PATCH, "--against", "v3", *SEARCH)
    assert result.exit_code == 1
    text = " ".join(result.output.split())
    assert "own: I32: index 0 was prepared and is prepared again; not seen on v3" in text
    assert "Harm found past I33: I32" in text


def test_the_other_way_round_it_is_mended_and_exit_code_0(two: str) -> None:
    result = call("explore", two, "--patch", "v3", "--against", PATCH, *SEARCH, "--json")
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert (found["verdict"], found["own"], found["both"]) == ("none of its own", [], [])
    assert [each["rule"] for each in found["mended"]] == ["I32", "I33"]
    assert found["patch"]["name"] == "v3"
    assert found["against"]["name"] == PATCH
    assert (found["patch"]["complete"], found["against"]["broken_choices"]) == (False, ["I33"])


def test_what_both_have_is_not_reported(two: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = call("explore", two, "--patch", PATCH, "--against", PATCH, *SEARCH, "--html", str(page))
    assert result.exit_code == 0
    assert f"No violation found that {PATCH} does not have." in result.output
    assert "in both: I32" in result.output
    assert not page.exists()


def test_an_unknown_base_is_bad_input(two: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["explore", two, "--against", "v33"], prog_name="gmemsim")
    assert end.value.code == 2
    assert "v33" in capsys.readouterr().err


def test_a_base_of_which_no_run_ended_says_nothing(two: str) -> None:
    result = call(
        "explore", two, "--patch", "v3", "--against", PATCH, *SEARCH, "--max-seconds", "0", "--json"
    )
    assert result.exit_code == 2
    assert json.loads(result.output)["verdict"] == "undecided"
