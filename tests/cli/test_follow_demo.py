"""`gmemsim follow` and `demo`: verdicts, JSON keys, exit codes, and one line for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import gmemsim
from gmemsim.cli.group import cli

RECORDED = Path(gmemsim.__file__).parent / "scenarios" / "recorded"
BEFORE = RECORDED / "6.18.15" / "sh_same_v2.trace.gz"
AFTER = RECORDED / "7.2.13" / "sh_same_v2.trace.gz"
MINE = """\
from gmemsim.patches.v3 import V3


class NoPrepare(V3):
    async def kvm_gmem_prepare_folio(self, t, vm, folio, gfn):
        return 0
"""


def gmem(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_a_trace_is_accepted() -> None:
    result = gmem("follow", BEFORE, "--patch", "baseline", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["accepted"] is True
    assert document["rejected_at"] is None
    assert document["matched"] > 1200
    assert document["events"] == 1407
    assert document["probes_from"] == "metadata"


def test_a_trace_is_rejected_at_an_event() -> None:
    result = gmem("follow", BEFORE, "--patch", "v3", "--json")
    assert result.exit_code == 1
    at = json.loads(result.stdout)["rejected_at"]
    assert set(at) >= {"index", "line", "event", "reason"}
    assert "prepare" in at["event"]
    assert "set_uptodate" in at["reason"]


def test_people_see_the_same() -> None:
    result = gmem("follow", BEFORE, AFTER, "--patch", "v3")
    assert result.exit_code == 1
    assert "rejected" in result.stdout
    assert "1 of 2 accepted" in result.stdout


def test_without_a_patch_a_recording_is_followed_by_its_kernels_version() -> None:
    result = gmem("follow", BEFORE, AFTER, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)["traces"]
    assert [(one["patch"], one["verdict"]) for one in found] == [("baseline", "accepted"), ("v3", "accepted")]


def test_a_users_patch_is_followed_too(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(MINE)
    result = gmem("follow", AFTER, "--patch", f"{mine}:NoPrepare", "--json")
    assert result.exit_code == 1
    assert "prepare" in json.loads(result.stdout)["rejected_at"]["event"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["follow", "none.trace"], "none.trace: no such file"),
        (["follow", BEFORE, "--patch", "v9"], "'v9'"),
        (["follow", BEFORE, "--release", "5.0"], "5.0"),
        (["follow", __file__], "expected 'TASK-PID"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: list[object], says: str) -> None:
    result = gmem(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not result.stdout


def test_of_several_traces_each_is_answered_although_one_cannot_be_read(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.trace.gz"
    damaged.write_bytes(Path(BEFORE).read_bytes()[:600])
    empty = tmp_path / "empty.trace"
    empty.touch()
    result = gmem("follow", damaged, BEFORE, empty)
    assert result.exit_code == 2
    assert "1 of 1 accepted, 2 not readable" in result.stdout
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == ["gmemsim follow"] * 2
    document = json.loads(gmem("follow", BEFORE, damaged, "--json").stdout)
    assert document["accepted"] == 1
    assert [one["trace"] for one in document["unreadable"]] == [str(damaged)]
    # A rejection counts for more.
    assert gmem("follow", damaged, BEFORE, "--patch", "v3").exit_code == 1


def test_of_a_kernel_whose_version_nobody_knows_it_has_to_be_said(tmp_path: Path) -> None:
    about = tmp_path / "about.json"
    about.write_text(json.dumps({"uname": "Linux (none) 7.0.3"}))
    result = gmem("follow", BEFORE, "--metadata", about)
    assert result.exit_code == 2
    assert "7.0" in result.stderr
    assert "--patch" in result.stderr
    about.write_text("{}")
    assert "followed by v3" in gmem("follow", BEFORE, "--metadata", about).stdout


def test_the_demo_holds() -> None:
    result = gmem("demo")
    assert result.exit_code == 0, result.output
    assert "8 of 8 recordings are runs of the model" in result.stdout
    assert "v3        clear < set_uptodate < prepare" in result.stdout
    assert "baseline  EEXIST from guest_memfd" in result.stdout
    # No law is broken, in the model or in the kernels.
    assert "✗" not in result.stdout
