"""`gmemsim diff`: verdicts, JSON keys, exit codes, and one line for bad input."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import gmemsim
from gmemsim.audit.base import Event
from gmemsim.audit.events import Lock, Unlock
from gmemsim.audit.header import Header
from gmemsim.audit.kvm_events import Clear, Prepare
from gmemsim.audit.render import write_log
from gmemsim.cli.group import cli
from gmemsim.scenarios import session as sessions

RECORDED = Path(gmemsim.__file__).parent / "scenarios" / "recorded"


def gmem(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none", "other"], "none: no such file; for two patches give --scenario"),
        (["v3", "v9", "--scenario", "same"], "'v9'"),
        (["v3", "v2", "--scenario", "nothing"], "nothing"),
        (["v3", "v2", "--scenario", "same", "--release", "5.0"], "5.0"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: list[object], says: str) -> None:
    result = gmem("diff", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not result.stdout


def test_the_change_of_the_series_comes_first() -> None:
    result = gmem("diff", "baseline", "v3", "--scenario", "same", "--seeds", 2, "--vcpus", 2, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    first = document["changes"][0]
    assert first["kind"] == "preparation"
    assert first["text"] == "prepare after set_uptodate instead of before"
    assert first["certain"]
    assert "kvm_gmem_get_pfn" in first["function"]
    assert first["shown_by"] == "seed 0"
    assert document["scenario"] == "same"
    assert document["release"] == "7.2"
    assert document["seeds"] == [0, 1]
    assert document["first_divergence"] is not None
    assert document["locks"]["left"]


def test_a_patch_is_like_itself() -> None:
    result = gmem("diff", "v3", "v3", "--scenario", "conv1", "--small", "--seeds", 4, "--json")
    assert result.exit_code == 0, result.stdout
    assert json.loads(result.stdout)["changes"] == []


def test_over_all_classes_of_schedules() -> None:
    result = gmem("diff", "baseline", "v3", "--scenario", "populate_twice", "--classes", 50, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["classes"]["left"]["complete"]
    assert document["changes"][0]["shown_by"].startswith("gm1:")


def test_two_kernels_differ_in_the_preparation() -> None:
    result = gmem(
        "diff",
        RECORDED / "6.18.15" / "sh_prefault_v4.trace.gz",
        RECORDED / "7.2.13" / "sh_prefault_v4.trace.gz",
        "--json",
    )
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["events"]["prepare"] == {"left": 64, "right": 256}
    assert document["events"]["clear"] == {"left": 64, "right": 64}
    assert document["changes"][0]["text"] == "prepare after set_uptodate instead of before"


def test_two_logs(tmp_path: Path) -> None:
    for name, patch in (("a.jsonl", "v3"), ("b.jsonl.zst", "v3"), ("c.jsonl", "baseline")):
        assert gmem("run", "same", "--patch", patch, "--log", tmp_path / name).exit_code == 0
    assert gmem("diff", tmp_path / "a.jsonl", tmp_path / "b.jsonl.zst").exit_code == 0
    assert gmem("diff", tmp_path / "a.jsonl", tmp_path / "c.jsonl").exit_code == 1


EVENTS: list[tuple[str, Event]] = [
    ("a", Lock("l", "w")), ("a", Unlock("l", "w")), ("b", Lock("m", "w")), ("b", Unlock("m", "w")),
]  # fmt: skip


def log(
    path: Path, events: list[tuple[str, Event]], scenario: str = "s", patch: str = "v3", arch: str = "snp"
) -> Path:
    write_log(path, [(number, *step) for number, step in enumerate(events)], Header(scenario, patch, arch))
    return path


def test_the_order_of_independent_steps_is_no_difference(tmp_path: Path) -> None:
    result = gmem(
        "diff", log(tmp_path / "a.jsonl", EVENTS), log(tmp_path / "b.jsonl", EVENTS[2:] + EVENTS[:2])
    )
    assert result.exit_code == 0
    assert "Only the order of independent steps differs." in result.stdout
    # What the logs do not say is no part of the answer.
    assert "these logs do not say what each step touches" in result.stdout


@pytest.mark.parametrize("key", ["scenario", "arch"])
def test_logs_of_different_workloads_are_not_compared(tmp_path: Path, key: str) -> None:
    paths = log(tmp_path / "a.jsonl", EVENTS), log(tmp_path / "b.jsonl", EVENTS, **{key: "other"})
    result = gmem("diff", *paths)
    assert result.exit_code == 2
    assert f"differ in {key}" in result.stderr
    forced = gmem("diff", *paths, "--force")
    assert forced.exit_code == 0
    assert forced.stdout.startswith(f"header, {key}: ")


def test_other_patches_are_what_it_is_for(tmp_path: Path) -> None:
    result = gmem("diff", log(tmp_path / "a.jsonl", EVENTS), log(tmp_path / "b.jsonl", EVENTS, patch="v2"))
    assert result.exit_code == 0
    assert result.stdout.startswith("header, patch: v3 and v2")


def test_a_log_that_breaks_off(tmp_path: Path) -> None:
    whole, broken = log(tmp_path / "a.jsonl", EVENTS), tmp_path / "b.jsonl"
    broken.write_bytes(b"".join(whole.read_bytes().splitlines(keepends=True)[:4]) + b'{"seq":3,"t')
    assert gmem("diff", whole, broken).exit_code == 2
    result = gmem("diff", whole, broken, "--salvage")
    assert result.exit_code == 2
    assert "b.jsonl: breaks off after 3 events" in result.stdout
    assert f"3 of {len(EVENTS)} events on the left, 3 of 3 on the right" in " ".join(result.stdout.split())
    assert "The same, step by step, as far as both go." in result.stdout


def test_what_the_other_side_has_behind_a_break_is_no_difference(tmp_path: Path) -> None:
    """Of each task: the other side's steps may come in another order, and a difference before the break counts."""
    twice = [("a", Prepare(1, 1, 0)), ("b", Clear(7, 2, 1)), ("a", Prepare(1, 1, 0)), ("b", Clear(8, 3, 1))]
    swapped = [twice[1], twice[0], twice[3], twice[2]]
    whole = log(tmp_path / "whole.jsonl", twice)
    broken = tmp_path / "broken.jsonl"

    def cut(events: list[tuple[str, Any]], lines: int) -> Path:
        other = log(tmp_path / "other.jsonl", events)
        broken.write_bytes(b"".join(other.read_bytes().splitlines(keepends=True)[:lines]))
        return broken

    for left, right in ((whole, cut(swapped, 4)), (cut(swapped, 4), whole)):
        same = gmem("diff", left, right, "--salvage")
        assert same.exit_code == 2
        assert "Only the order of independent steps differs, as far as both go." in same.stdout
    other = [twice[0], ("b", Clear(9, 2, 1)), *twice[2:]]
    assert gmem("diff", whole, cut(other, 4), "--salvage").exit_code == 1
    # Nothing is compared, so that nothing can be the same.
    nothing = gmem("diff", cut(twice, 2), log(tmp_path / "b.jsonl", [("b", Clear(7, 2, 1))]), "--salvage")
    assert nothing.exit_code == 1
    alone = tmp_path / "alone.jsonl"
    alone.write_bytes((tmp_path / "b.jsonl").read_bytes().rpartition(b'{"end"')[0])
    nothing = gmem("diff", broken, alone, "--salvage")
    assert nothing.exit_code == 2
    assert "no task has a step in both" in nothing.stderr


@pytest.mark.parametrize("after", [4, 5])
def test_ctrl_c_compares_what_there_is(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    finish = sessions.finish
    done: list[Any] = []

    def interrupted(session: Any, runtime: Any) -> None:
        if len(done) == after:
            signal.raise_signal(signal.SIGINT)
        done.append(session)
        finish(session, runtime)

    monkeypatch.setattr(sessions, "finish", interrupted)
    asked = ("diff", "baseline", "v3", "--scenario", "same", "--small", "--seeds", 9)
    result = gmem(*asked, "--json")
    assert result.exit_code == 130, result.output
    found = json.loads(result.stdout)
    assert found["interrupted"]
    assert found["notes"] == [f"interrupted: compared {(after + 1) // 2} and 2 of 9 seeds"]
    assert found["changes"][0]["kind"] == "preparation"
    done.clear()
    assert "interrupted: compared" in gmem(*asked).stdout


def test_ctrl_c_before_anything_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(session: Any, runtime: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sessions, "finish", interrupted)
    result = gmem("diff", "baseline", "v3", "--scenario", "same", "--small")
    assert result.exit_code == 130
    assert result.stderr.strip().endswith("interrupted")
    assert not result.stdout


def test_ctrl_c_between_two_logs_tells_the_divergence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    paths = []
    for number, mode in enumerate("rw"):
        paths.append(tmp_path / f"{number}.jsonl")
        events: list[Event] = [Lock("l", mode), Unlock("l", mode)]
        write_log(
            paths[-1], [(at, "a", event) for at, event in enumerate(events)], Header("s", "v3", "snp", 0)
        )
    monkeypatch.setattr("gmemsim.compare.diff.compare_runs", interrupted)
    result = gmem("diff", *paths, "--json")
    assert result.exit_code == 130, result.output
    found = json.loads(result.stdout)
    assert found["first_divergence"]["index"] == 0
    assert found["notes"] == ["interrupted: only the first divergence is told"]


def test_rows_name_methods_with_file_and_line() -> None:
    result = gmem("diff", "baseline", "v3", "--scenario", "same", "--small", "--seeds", 1, "--json")
    row = json.loads(result.stdout)["changes"][0]
    root = Path(gmemsim.__file__).parent
    for side in ("left_method", "right_method"):
        name, _, place = row[side].partition(" (")
        path, _, line = place.rstrip(")").partition(":")
        text = (root / path).read_text().splitlines()[int(line) - 1]
        assert f"def {name.rpartition('.')[2]}(" in text


PINNED = """
[scenario]
name = "pinned"
summary = "A pinned page of a range that is converted, one task."
vm_types = ["sw-protected"]
[[file]]
id = "gmem0"
pages = 2
flags = ["MMAP", "INIT_SHARED"]
[[slot]]
file = "gmem0"
[[map]]
id = "m"
[[task]]
name = "vmm"
ops = [
    { op = "host_write", map = "m", value = "x", count = 1 },
    { op = "host_read", map = "m", count = 1 },
    { op = "pin", map = "m", start = 1, count = 1 },
    { op = "set_file_attributes", private = true },
]
"""
SILENT = """
from gmemsim.actors.errno import EAGAIN
from gmemsim.actors.gmem_convert import Converted
from gmemsim.patches.inplace import Inplace


class Names(Inplace):
    async def kvm_gmem_convert(self, t, inode, start, end, private, flags):
        done = await super().kvm_gmem_convert(t, inode, start, end, private, flags)
        return Converted(EAGAIN, 0) if done.ret == EAGAIN else done


class Swallows(Inplace):
    async def kvm_gmem_set_attributes(self, t, file, offset, size, private, flags=0):
        done = await super().kvm_gmem_set_attributes(t, file, offset, size, private, flags)
        return Converted(0) if done.ret == EAGAIN else done


class Stores(Inplace):
    async def host_access(self, t, mapping, index, write):
        return await super().host_access(t, mapping, index, None if write is None else write + "!")
"""


@pytest.mark.parametrize(
    ("patch", "more", "says"),
    [
        ("Names", "--seeds", "the call comes to EAGAIN with 0"),
        ("Swallows", "--seeds", "the call comes to EAGAIN no more"),
        ("Swallows", "--classes", "the call comes to EAGAIN no more"),
        ("Stores", "--seeds", "the call comes to ok with data:x!"),
        ("Stores", "--classes", "the call comes to ok with data:x!"),
    ],
)
def test_what_a_call_comes_to_is_compared(
    patch: str, more: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where events are silent about it: which page an error names, an errno that the ioctl swallows, what is read."""
    monkeypatch.chdir(tmp_path)
    Path("pinned.toml").write_text(PINNED)
    Path("mine.py").write_text(SILENT)
    arguments = ["diff", "inplace", f"mine.py:{patch}", "--scenario", "pinned.toml", "--json", more, 2]
    result = gmem(*arguments)
    assert result.exit_code == 1, result.stderr
    rows = [row for row in json.loads(result.stdout)["changes"] if row["kind"] == "outcome"]
    assert says in [row["text"] for row in rows]
    assert all(row["certain"] for row in rows)
