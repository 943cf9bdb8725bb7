"""`gmemsim findings ID --mends` and `gmemsim list mends`."""

from __future__ import annotations

import json

from click.testing import CliRunner

from gmemsim.cli.errors import UNDECIDED
from gmemsim.cli.group import cli


def test_a_table_is_searched_and_shown() -> None:
    run = CliRunner().invoke(
        cli, ["findings", "memory-failure-against-punch", "--mends", "--states", "60", "--json"]
    )
    assert run.exit_code == UNDECIDED, run.output
    told = json.loads(run.output)
    assert (told["version"], told["release"]) == ("mainline-7.3", None)
    assert [row["mend"] for row in told["rows"]][:2] == [None, "error-bindings-lock"]
    # Sixty states are not all, so nothing is said to be gone.
    assert all(row["gone"] in (None, False) for row in told["rows"])
    assert all(row["edges_added"] is None and row["edges_removed"] is None for row in told["rows"])


def test_a_table_of_searches_that_were_all_cut_short_says_that_nothing_is_answered() -> None:
    run = CliRunner(env={"COLUMNS": "400"}).invoke(
        cli, ["findings", "memory-failure-against-punch", "--mends", "--states", "40"]
    )
    assert run.exit_code == UNDECIDED
    assert "not met; cut short; nor without it: says nothing of the mend" in run.output
    assert "what is new and what is missing is not known: cut short" in run.output
    assert "as before" not in run.output
    assert "Nothing is answered: every search was cut short" in run.output


def test_the_release_that_was_searched_is_told() -> None:
    asked = ["findings", "prefault-against-slot-deletion", "--mends", "--states", "3000"]
    run = CliRunner(env={"COLUMNS": "200"}).invoke(cli, asked)
    assert run.exit_code == 0, run.output
    assert "zoo-prefault_delete on baseline (release 6.12), sw-protected" in run.output
    assert "Nothing is answered" not in run.output
    told = json.loads(CliRunner().invoke(cli, [*asked, "--json"]).output)
    assert {told["release"], *(row["release"] for row in told["rows"])} == {"6.12"}
    assert [row["gone"] for row in told["rows"]] == [False, True, True]


def test_what_makes_no_sense_is_one_line() -> None:
    for words, says in (
        (["--mends"], "of which finding"),
        (["poisoned-mapping-survives-punch", "--mends"], "no oracle calls"),
        (["memory-failure-against-punch", "--mends", "--patch", "v9"], "expected one of"),
        (["memory-failure-against-punch", "--patch", "v3"], "--patch goes with --mends"),
        (["memory-failure-against-punch", "--states", "5"], "--states goes with --mends"),
        (["--seconds", "5"], "--seconds goes with --mends"),
    ):
        run = CliRunner().invoke(cli, ["findings", *words])
        assert run.exit_code == 2
        assert says in run.output


def test_they_are_listed() -> None:
    run = CliRunner().invoke(cli, ["list", "mends", "--json"])
    assert {"error-bindings-lock", "error-trylock"} <= {row["name"] for row in json.loads(run.output)}
