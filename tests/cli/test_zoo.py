"""`gmemsim zoo`: what it prints, and its exit codes."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from gmemsim.cli.group import cli
from gmemsim.patches.zoo.registry import BUGS

#: Found at once, found by some schedules only, and not expressed.
SURE, RARE, NONE = "launch-finish-repeated", "rwlock-waiters-flag-leak", "sev-flag-toctou"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["zoo", *arguments])


def test_found() -> None:
    result = run(SURE, NONE, "--repetitions", "2", "--schedules", "20")
    assert result.exit_code == 0
    assert "2 of 2" in result.output
    assert "1 of 1 bugs found." in result.output
    assert f"not expressed: {NONE} (review-found): {BUGS[NONE].why_not}" in result.output


def test_json_has_the_keys_that_others_rely_on() -> None:
    result = run(SURE, NONE, "--repetitions", "2", "--schedules", "20", "--json")
    found, none = json.loads(result.output)
    for entry in (found, none):
        assert {"id", "origin", "expected", "found", "rule", "strategy", "schedules", "seconds"} <= set(entry)
    assert (found["id"], found["found"], found["rule"]) == (SURE, True, "I35")
    assert found["expected"] == ["I35"]
    assert (none["id"], none["found"]) == (NONE, None)


def test_not_found_is_exit_code_1() -> None:
    result = run(RARE, "--repetitions", "1", "--schedules", "1", "--strategy", "random")
    assert result.exit_code == 1
    assert "0 of 1 bugs found." in result.output


def test_several_strategies_are_named_and_run_on_several_processes() -> None:
    arguments = (SURE, "--strategy", "random", "--strategy", "dfs", "--repetitions", "2", "--schedules", "20")
    alone, together = (run(*arguments, *more, "--json") for more in ((), ("--jobs", "2")))
    assert alone.exit_code == together.exit_code == 0
    left, right = (json.loads(result.output) for result in (alone, together))
    assert [(row["strategy"], row["searches"]) for row in left] == [("random", 2), ("dfs", 1)]
    for row in (*left, *right):
        del row["seconds"]
    assert left == right
    assert " dfs " in run(*arguments).output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("no-such-bug",), "no bug 'no-such-bug' in the zoo"), ((SURE, "--strategy", "nonsense"), "nonsense")],
)
def test_bad_usage(arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.output
