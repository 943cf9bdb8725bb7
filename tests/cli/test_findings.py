"""`gmemsim findings`, and what other commands say of a known one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from gmemsim.cli.errors import INTERRUPTED
from gmemsim.cli.group import cli
from gmemsim.explore.findings.table import FINDINGS

if TYPE_CHECKING:
    from gmemsim.explore.findings.finding import Finding


def call(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


def test_the_list_names_every_finding_and_its_state() -> None:
    result = call("findings")
    assert result.exit_code == 0
    assert all(ident in result.output for ident in FINDINGS)
    assert "confirmed on 6.12.117" in " ".join(result.output.split())


def test_one_is_shown_whole() -> None:
    result = call("findings", "unbind-during-memory-failure")
    text = " ".join(result.output.split())
    for part in (
        "confirmed on 6.18.15, 7.2.13",
        "fixed in 7.3",
        "zoo-poison_close",
        "reproducers/",
        "known by: I15",
    ):
        assert part in text


def test_as_json() -> None:
    every = json.loads(call("findings", "--json").output)
    assert [one["id"] for one in every] == list(FINDINGS)
    one = json.loads(call("findings", "memory-failure-against-punch", "--json").output)
    assert one in every
    assert one["states"][0]["kind"] == "confirmed"
    assert one["page"] == "docs/findings/memory-failure-against-punch.md"


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("memory-failure-against-punsh", "memory-failure-against-punch"),
        ("unbind", "unbind-during-memory-failure"),
    ],
)
def test_an_unknown_one_gets_the_nearest_names(
    capsys: pytest.CaptureFixture[str], asked: str, near: str
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["findings", asked], prog_name="gmemsim")
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"gmemsim findings: no finding '{asked}'; did you mean ")
    assert near in error
    assert error.count("\n") == 1


def test_list_has_them() -> None:
    rows = json.loads(call("list", "findings", "--json").output)
    assert [row["name"] for row in rows] == list(FINDINGS)


def test_explore_names_it() -> None:
    asked = ("explore", "zoo-poison_punch", "--patch", "v3", "--max-schedules", "50")
    result = call(*asked)
    assert result.exit_code == 1
    assert "this is the known finding memory-failure-against-punch" in " ".join(result.output.split())
    document = json.loads(call(*asked, "--json", "--no-cycles").output)
    assert document["violation"]["known"] == "memory-failure-against-punch"
    assert document["violation"]["report"]["known"] == "memory-failure-against-punch"


def test_stress_and_outcomes_name_it() -> None:
    asked = ("stress", "zoo-poison_punch", "--arch", "default", "--seeds", "1", "--schedules", "30")
    assert "known: gmemsim findings memory-failure-against-punch" in call(*asked).output
    (violation,) = json.loads(call(*asked, "--json").output)["violations"]
    assert violation["known"] == "memory-failure-against-punch"
    asked = ("outcomes", "zoo-poison_punch", "--patch", "v3", "--max-schedules", "60", "--strategy", "random")
    assert json.loads(call(*asked, "--json").output)["v3"]["known"] == ["memory-failure-against-punch"]
    assert "known finding memory-failure-against-punch" in call(*asked).output


def test_mends_of_what_no_rule_calls_an_error_are_searched_where_a_scenario_comes_to_it() -> None:
    result = call("findings", "fault-against-slot-creation", "--mends", "--states", "400", "--json")
    document = json.loads(result.output)
    assert document["version"] == "mainline-7.3"
    assert [row["mend"] for row in document["rows"]] == [
        None, "mmio-map-retries", "mmio-fault-looks-again", "slot-invalid-first",
    ]  # fmt: skip
    # Cut short: gone is not said.
    assert not any(row["gone"] or row["complete"] for row in document["rows"])


def test_what_no_rule_calls_an_error_has_the_versions_on_which_its_mends_are_searched() -> None:
    there = ["baseline", "v3", "mainline-7.3"]
    assert json.loads(call("findings", "fault-against-slot-creation", "--json").output)["versions"] == there
    assert f"versions: {', '.join(there)}" in call("findings", "fault-against-slot-creation").output


def test_mends_that_no_search_can_tell_of_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for asked, said in (
        (["poisoned-mapping-survives-punch"], "docs/findings/poisoned-mapping-survives-punch.md"),
        (
            ["fault-against-slot-creation", "--patch", "inplace"],
            "expected one of: baseline, v3, mainline-7.3",
        ),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["findings", *asked, "--mends"], prog_name="gmemsim")
        assert end.value.code == 2
        assert said in capsys.readouterr().err


def test_what_ended_before_an_interruption_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(scenario: str, patch: str, *given: object, **more: object) -> dict[str, object]:
        asked.append(patch)
        if len(asked) % 3 == 0:
            raise KeyboardInterrupt
        return {
            "scenario": scenario, "patch": patch, "arch": "default", "complete": True, "states": 1, "schedules": 1,
            "cpu_seconds": 0.0, "violations": [], "left_mapped": False, "warned": False, "edges": [], "cycles": [],
        }  # fmt: skip

    monkeypatch.setattr("gmemsim.studies.mends.table.ask_scenario", ask)
    command = ("findings", "fault-against-slot-creation", "--mends")
    result = call(*command)
    assert result.exit_code == INTERRUPTED
    assert "Interrupted: 2 of 4 searches ended." in result.output
    document = json.loads(call(*command, "--json").output)
    assert (document["interrupted"], document["searches"], len(document["rows"])) == (True, 4, 2)


@pytest.mark.parametrize("one", FINDINGS.values(), ids=lambda one: one.ident)
def test_how_to_see_it_names_a_version_on_which_the_scenario_shows_it(one: Finding) -> None:
    """`tests/explore/findings/test_table.py` searches each scenario on each version of it."""
    said = re.findall(
        r"see it: gmemsim explore (\S+) --patch (\S+)(?: --release (\S+))? --arch (\S+)",
        call("findings", one.ident).output,
    )
    assert len(said) == len(one.shown)
    for (scenario, version, release, vm_type), shown in zip(said, one.shown, strict=True):
        assert (scenario, vm_type) == (shown.scenario, shown.vm_type)
        assert version in (shown.versions or one.versions)
        assert (release or None) == one.release_on(version)
