"""`gmemsim study`: one family of commands, of which some have a short name as well."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from gmemsim.cli.group import cli
from gmemsim.studies.registry import STUDIES

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

#: Enough to meet a finding in.
LITTLE = ("--states", "0", "--schedules", "60", "--sampled", "0")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["study", *arguments], catch_exceptions=False)


def test_without_a_name_it_lists_the_studies() -> None:
    assert [row["name"] for row in json.loads(run("--json").stdout)] == list(STUDIES)
    assert all(name in run().stdout for name in STUDIES)


@pytest.mark.parametrize(
    "words",
    [
        ("zoo", "launch-finish-repeated", "--repetitions", "1", "--schedules", "20"),
        ("hazards", "16", "--schedules", "2"),
        ("litmus", "first_fault", "--patch", "v3"),
    ],
)
def test_a_command_with_a_short_name_is_the_same(words: tuple[str, ...]) -> None:
    long, short = run(*words), CliRunner().invoke(cli, words)
    assert long.exit_code == short.exit_code

    def shown(result: Result) -> list[str]:
        return [line for line in result.stdout.splitlines() if "gm1:" not in line and "0." not in line]

    assert shown(long) == shown(short)


def test_pairs_have_findings_that_are_known(tmp_path: Path) -> None:
    words = ("pairs", "punch + memory failure", "--patch", "v3", "--arch", "sw-protected")
    result = run(*words, *LITTLE, "--ktap", f"{tmp_path}/out.ktap", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert {row["setup"] for row in rows} == {"untouched", "used"}
    assert {found["known"] for row in rows for found in row["violations"]} == {"memory-failure-against-punch"}
    assert "ok 1 punch + memory failure, v3, sw-protected, untouched" in (tmp_path / "out.ktap").read_text()
    text = run(*words, *LITTLE).stdout
    assert "memory-failure-against-punch" in text


def test_it_stops_after_a_while_and_goes_on(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    asked = ("pairs", "touch + punch", "--patch", "v3", "--arch", "snp", "--state", state)
    # So short that not even the first is begun.
    done = run(*asked, "--stop-after", "0.000001")
    assert done.exit_code == 2, done.output
    assert "searches are left (--stop-after 1e-06)" in done.stderr
    done = run(*asked, "--stop-after", "600", "--json")
    assert done.exit_code == 0, done.output
    assert "searches are left" not in done.stderr
    assert json.loads(done.stdout)
    # All are in the state file, so that nothing has to be begun.
    again = run(*asked, "--stop-after", "0.000001", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == json.loads(done.stdout)


def test_what_is_not_known_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gmemsim.explore.findings.table.FINDINGS", {})
    result = run("pairs", "punch + memory failure", "--patch", "v3", "--arch", "snp", *LITTLE)
    assert result.exit_code == 1
    assert "punch + memory failure, v3, snp, untouched: deadlock" in result.stdout


def test_what_never_ran_of_a_patch_is_said(tmp_path: Path) -> None:
    body = "    async def kvm_gmem_error_folio(self, *args):\n"
    body += "        return await super().kvm_gmem_error_folio(*args)\n"
    (tmp_path / "mine.py").write_text(f"from gmemsim.patches.v3 import V3\n\n\nclass Mine(V3):\n{body}")
    patch = f"{tmp_path}/mine.py:Mine"
    for words in (("pairs", "allocate + close"), ("hazards", "14", "--schedules", "1"), ("library", "hole")):
        result = run(*words, "--patch", patch, "--cells", "1")
        assert result.exit_code in (0, 1), result.output
        assert "`kvm_gmem_error_folio` never ran" in result.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("pairs", "punch + nonsense"), "no operations 'punch + nonsense' in pairs"),
        (("library", "punsh"), "did you mean punch?"),
        (("library", "--arch", "snpp"), "did you mean snp?"),
        (("triples", "--strategy", "nonsense"), "nonsense"),
        (("mends", "poisoned-mapping-survives-punch"), "no oracle calls"),
        (("litmus", "first_fault", "--arch", "snp", "--arch", "tdx"), "can be given once"),
        (("pairs", "punch page + to private"), "nothing to ask"),
        (("nonsense",), "No such command"),
    ],
)
def test_bad_usage_is_one_line(words: tuple[str, ...], says: str) -> None:
    result = run(*words)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert says in result.stderr
