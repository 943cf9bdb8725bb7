"""A campaign's file: it goes on where it ended, with the same campaign only, and is asked again without a kernel."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from gmemsim.cli.group import cli
from gmemsim.lab.drawn import drawn_text
from gmemsim.lab.errors import LabError
from gmemsim.lab.results import (
    Head,
    Row,
    digest_of,
    keep_row,
    read_results,
    totals,
    write_results,
)
from gmemsim.scenarios.catalogue import load_named

HEAD = Head(kernel="7.3.4+deb13-amd64", patch="mainline-7.3", seed=1, rounds=4, delay=200)
HOLE = "vcpu0(touch=ok read=ok:data:new) punch(punch=ok) gmem0[]"


def row(name: str, outcomes: dict[str, int], **more: object) -> Row:
    text = load_named(name).source.text if name == "hole" else ""
    fields = {
        "scenario": name,
        "digest": digest_of(text),
        "verdict": "agree",
        "rounds": 4,
        "seconds": 0.5,
        "kernel_outcomes": outcomes,
        **more,
    }
    return msgspec.convert(fields, Row)


LINES = msgspec.json.encode(HEAD) + b"\n" + msgspec.json.encode(row("hole", {HOLE: 4})) + b"\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LINES.replace(b'"agree"', b'"fine"'), ":2: expected results"),
        (LINES.replace(b'"seconds"', b'"hungg":true,"seconds"'), ":2: expected results"),
        (LINES.replace(b":4}", b":-4}"), ":2: expected results"),
        (LINES.replace(b'"seconds"', b'"hung":true,"hung":false,"seconds"'), "'hung' twice in one object"),
        (
            LINES.replace(b":4}", b":5}"),
            ":2: expected results of gmemsim lab compare (hole: outcomes of 5 rounds",
        ),
        (LINES.replace(b"vcpu0", b"\xff"), ":2: expected results"),
        (LINES + b'{"a":' * 100_000 + b"\n", ":3: expected results"),
        (LINES + LINES[:-1].rpartition(b"\n")[2], ":3: the last line breaks off"),
        (LINES.replace(b'"mainline-7.3"', b'"no/where.py:Mine"'), "is only run if --patch names it"),
        (LINES.replace(b'"hole"', b'"no/where.toml"'), "no such scenario"),
    ],
)
def test_what_is_no_whole_file_of_results_is_refused(text: bytes, says: str, tmp_path: Path) -> None:
    """Nothing that a file says makes another file be read or run, and no line counts that says nothing."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(text)
    done = CliRunner().invoke(cli, ["lab", "again", str(path)])
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
    assert "internal error" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_file_reads_as_it_was_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows = [row("one", {"x": 4}), row("two", {"y": 1, "z": 3}, verdict="differ", not_of_the_model={"z": 3})]
    write_results(path, HEAD, rows)
    assert read_results(path, HEAD) == (HEAD, {"one": rows[0], "two": rows[1]})


def test_a_line_that_a_kill_cut_off_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_results(path, HEAD, [row("one", {"x": 4})])
    with path.open("ab") as file:
        file.write(b'{"scenario":"two","dig')
    assert set(read_results(path)[1]) == {"one"}
    keep_row(path, row("two", {"y": 4}))
    keep_row(path, row("one", {"x": 3, "y": 1}))
    rows = read_results(path)[1]
    assert list(rows) == ["one", "two"]
    assert rows["one"].kernel_outcomes == {"x": 3, "y": 1}


def test_another_campaign_and_another_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_results(path, HEAD, [])
    with pytest.raises(LabError, match="another campaign: rounds 4, not 5, delay 200, not 7"):
        read_results(path, msgspec.structs.replace(HEAD, rounds=5, delay=7))
    path.write_text('{"format":"gmemsim-lab-1"}\n{}\n', encoding="utf-8")
    with pytest.raises(LabError, match=r"a\.jsonl:1: expected results"):
        read_results(path)
    write_results(path, HEAD, [])
    with path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(LabError, match=r"a\.jsonl:2: expected results"):
        read_results(path)


def test_shares_count_complete_sets_that_agree() -> None:
    rows = [
        row("one", {"x": 4}, model_complete=True, model_outcomes=3, seen=1),
        row("two", {"x": 2, "y": 2}, model_outcomes=9, seen=2),
        row("three", {"x": 4}, verdict="differ", model_complete=True, model_outcomes=1, hung=True),
    ]
    sums = totals(rows)
    assert (sums.rounds, sums.distinct, sums.hung) == (12, 4, 1)
    assert (sums.complete, sums.seen, sums.outcomes) == (1, 1, 3)
    assert sums.verdicts == {"agree": 2, "differ": 1}


def test_recorded_outcomes_are_held_against_the_model_of_today(tmp_path: Path) -> None:
    path, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    write_results(path, HEAD, [row("hole", {HOLE: 4})])
    done = CliRunner().invoke(cli, ["lab", "again", str(path), "--write", str(other)])
    assert done.exit_code == 0
    assert "1 scenarios (1 agree)" in done.output
    assert (
        "Of the 3 outcomes of 1 scenarios whose set is complete the kernel came to 1."
        in done.output.replace("\n", " ")
    )
    assert read_results(other)[1]["hole"].model_outcomes == 3
    write_results(path, HEAD, [row("hole", {HOLE: 3, HOLE.replace("punch=ok", "punch=EINTR"): 1})])
    done = CliRunner().invoke(cli, ["lab", "again", str(path)])
    assert done.exit_code == 1
    assert "punch=EINTR" in done.output


def test_asking_again_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, kept, other = tmp_path / "a.jsonl", tmp_path / "kept.jsonl", tmp_path / "b.jsonl"
    write_results(path, HEAD, [row("hole", {HOLE: 4}), row("punch", {"x": 4}), row("munmap", {"x": 4})])
    monkeypatch.setattr("gmemsim.cli.lab_compare._is_known", lambda rows, scenario: True)
    asked: list[str] = []

    def ask(head: Head, row: Row, scenario: object, *_: object) -> Row:
        asked.append(row.scenario)
        if asked == ["hole", "punch"]:
            raise KeyboardInterrupt
        return msgspec.structs.replace(row, model_states=7)

    monkeypatch.setattr("gmemsim.lab.batch.ask_again", ask)
    command = ["lab", "again", str(path), "--results", str(kept), "--write", str(other)]
    cut = CliRunner().invoke(cli, command)
    assert cut.exit_code == 130, cut.output
    assert list(read_results(kept)[1]) == ["hole"]
    assert {name: row.model_states for name, row in read_results(other)[1].items()} == {
        "hole": 7, "punch": 0, "munmap": 0,
    }  # fmt: skip
    done = CliRunner().invoke(cli, [*command, "--max-seconds", "0.000001"])
    assert done.exit_code == 2
    assert "Not run: 2 scenarios" in done.output
    assert CliRunner().invoke(cli, command).exit_code == 0
    assert asked == ["hole", "punch", "punch", "munmap"]
    assert {row.model_states for row in read_results(other)[1].values()} == {7}
    done = CliRunner().invoke(cli, [*command, "--patch", "v2"])
    assert "another campaign: patch" in done.output


def test_a_scenario_that_was_drawn_otherwise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_results(path, HEAD, [row("drawn-1-2", {"x": 4})])
    assert digest_of(drawn_text(1, 2)) != digest_of("")
    done = CliRunner().invoke(cli, ["lab", "again", str(path)])
    assert done.exit_code == 2
    assert "drawn-1-2 is another scenario than the one in the results" in done.output
