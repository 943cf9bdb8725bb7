"""`gmemsim zoo`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

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


PATCH = """
from gmemsim.patches.v3 import V3
from gmemsim.patches.inplace import Inplace

class Fine(V3):
    async def kvm_gmem_prepare_folio(self, t, vm, folio, gfn):
        return await super().kvm_gmem_prepare_folio(t, vm, folio, gfn)

class Withstands(V3):
    def sev_es_sync_vmsa(self, t, vcpu):
        return super().sev_es_sync_vmsa(t, vcpu)

    async def launch_finish(self, t, vm):
        return -22 if vm.finalized else await super().launch_finish(t, vm)

class Broken(V3):
    async def kvm_gmem_punch_hole(self, t, inode, start, end):
        return 0

class Raises(V3):
    async def kvm_gmem_get_pfn(self, t, vm, slot, gfn):
        raise ValueError("boom")

class Other(Inplace):
    pass
"""


def on_patch(name: str, *arguments: str) -> Result:
    return run(*arguments, "--patch", f"mine.py:{name}", "--repetitions", "1", "--schedules", "60")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(PATCH)


@pytest.mark.usefixtures("mine")
def test_seeded_into_a_patch() -> None:
    result = on_patch("Fine", SURE, "unbind-skips-dying-file", "--jobs", "2")
    assert result.exit_code == 0, result.output
    assert "mine.py:Fine" in result.stdout
    assert result.stdout.count("1 of 1") == 2


@pytest.mark.usefixtures("mine")
def test_a_patch_that_is_not_clean_itself() -> None:
    result = on_patch("Broken", "fault-recreates-page-in-punched-hole")
    assert result.exit_code == 1
    assert "without the bug: no order of the operations" in result.stdout
    assert "gmemsim explore punch --patch mine.py:Broken" in result.stdout
    result = on_patch("Raises", "seq-snapshot-after-lookup")
    assert result.exit_code == 1
    assert "ValueError: boom (mine.py:" in result.stdout


@pytest.mark.usefixtures("mine")
def test_what_its_version_has_is_not_the_patch_s() -> None:
    result = on_patch("Fine", "tdx-unmap-failure-frees-page", "--json")
    (row,) = json.loads(result.stdout)
    assert (result.exit_code, row["control"], row["inherited"], row["known"]) == (0, ["I31"], ["I31"], False)


@pytest.mark.usefixtures("mine")
def test_what_a_bug_takes_away_and_where_it_cannot_be() -> None:
    (row,) = json.loads(on_patch("Withstands", SURE, "--json").stdout)
    assert row["replaced"] == ["sev_es_sync_vmsa"]
    result = on_patch("Other", "prepare-outside-folio-lock", SURE)
    assert "changes kvm_gmem_prepare_folio, which nothing calls in mine.py:Other" in result.stdout
    result = on_patch("Fine", "no-refcheck-on-conversion", "rwlock-waiters-flag-leak")
    assert "mine.py:Fine derives from v3" in result.stdout
    assert "is a bug of the lock" in result.stdout


@pytest.mark.usefixtures("mine")
def test_no_such_patch_is_one_line() -> None:
    result = on_patch("Fina", SURE)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "did you mean Fine?" in result.stderr
