"""Reading logs into numbers of steps: the fast way and the slow one agree, and damage is said as ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmemsim.audit.base import Event
from gmemsim.audit.errors import LogError
from gmemsim.audit.events import Receive, Send
from gmemsim.audit.header import Header
from gmemsim.audit.kvm_events import GuestTouch, PageFault
from gmemsim.audit.render import write_log
from gmemsim.compare.logs import read_run, same_lines
from gmemsim.compare.runs import Steps

EVENTS: list[tuple[str, Event]] = [
    ("vcpu0", PageFault(1, True)),
    ("vcpu0", Send("gmem0", 7, "get_pfn", 'a text with "id":3, in it')),
    ("vcpu0", Receive("gmem0", 7, "get_pfn")),
    ('odd "name", "id":5,', GuestTouch("vm0", 1, True, 5, False, 'value "id":9,\n')),
    ("vcpu0", Send("vcpu0", 8, "get_pfn", 'a text with "id":3, in it')),
] * 300


def log(path: Path, events: list[tuple[str, Event]] = EVENTS) -> Path:
    write_log(path, [(number, *step) for number, step in enumerate(events)], Header("s", "v3", "snp", 0))
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst"])
def test_what_was_written_is_what_is_read(tmp_path: Path, name: str) -> None:
    steps = Steps()
    found = read_run(steps, log(tmp_path / name))
    assert steps.events(found.run) == EVENTS
    assert found.run.steps == steps.run(EVENTS).steps
    assert found.header.scenario == "s"


def test_other_spaces_go_the_slow_way(tmp_path: Path) -> None:
    path = log(tmp_path / "a.jsonl", EVENTS[:3])
    path.write_bytes(path.read_bytes().replace(b'"seq":1,', b'"seq": 1, '))
    steps = Steps()
    assert steps.events(read_run(steps, path).run) == EVENTS[:3]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b'"seq":700,', b'"seq":701,', "702: byte .*expected seq 700, found seq 701"),
        (b'"t":700,', b'"t":1,', "702: byte .*the time runs backwards: t 1 after t 699"),
        (b'"gfn":1,', b'"gfn":"x",', "2: byte .*field 'gfn': expected int"),
        (b'"events":1500}', b'"events":1499}', "the end line states 1499 events, found 1500"),
        (b'"id":7,', b"", "expected field 'id', found none"),
    ],
)
def test_damage_is_told_with_its_place(tmp_path: Path, old: bytes, new: bytes, says: str) -> None:
    path = log(tmp_path / "a.jsonl")
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(LogError, match=says):
        read_run(Steps(), path)


def test_a_log_that_breaks_off_is_read_only_if_expected(tmp_path: Path) -> None:
    path = log(tmp_path / "a.jsonl")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LogError, match="truncated"):
        read_run(Steps(), path)
    steps = Steps()
    found = read_run(steps, path, partial=True)
    assert found.broken_off
    assert steps.events(found.run) == EVENTS[: len(found.run.steps)]
    assert len(found.run.steps) > 1490


def test_equal_lines_under_another_header(tmp_path: Path) -> None:
    one, two = log(tmp_path / "a.jsonl"), log(tmp_path / "b.jsonl.zst")
    assert same_lines(one, two)
    assert not same_lines(one, log(tmp_path / "c.jsonl", EVENTS[1:]))
    one.write_bytes(one.read_bytes().replace(b'"patch":"v3"', b'"patch":"another"'))
    assert same_lines(one, two)
