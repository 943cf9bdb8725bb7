"""`gmemsim findings ID --mends` and `gmemsim list mends`."""

from __future__ import annotations

import json

from click.testing import CliRunner

from gmemsim.cli.group import cli


def test_a_table_is_searched_and_shown() -> None:
    run = CliRunner().invoke(
        cli, ["findings", "memory-failure-against-punch", "--mends", "--states", "60", "--json"]
    )
    assert run.exit_code == 0, run.output
    told = json.loads(run.output)
    assert told["version"] == "mainline-7.3"
    assert [row["mend"] for row in told["rows"]][:2] == [None, "error-bindings-lock"]
    # Sixty states are not all, so nothing is said to be gone.
    assert all(row["gone"] in (None, False) for row in told["rows"])


def test_what_makes_no_sense_is_one_line() -> None:
    for words, says in (
        (["--mends"], "of which finding"),
        (["poisoned-mapping-survives-punch", "--mends"], "no oracle calls"),
        (["memory-failure-against-punch", "--mends", "--patch", "v9"], "expected one of"),
        (["memory-failure-against-punch", "--patch", "v3"], "goes with --mends"),
    ):
        run = CliRunner().invoke(cli, ["findings", *words])
        assert run.exit_code == 2
        assert says in run.output


def test_they_are_listed() -> None:
    run = CliRunner().invoke(cli, ["list", "mends", "--json"])
    assert {"error-bindings-lock", "error-trylock"} <= {row["name"] for row in json.loads(run.output)}
