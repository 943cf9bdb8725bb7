"""Reading logs into numbers of steps: the fast way and the slow one agree, and damage is said as ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmemsim.audit.base import Event
from gmemsim.audit.errors import LogError
from gmemsim.audit.events import Access, Lock, Receive, Send
from gmemsim.audit.header import Header
from gmemsim.audit.kvm_events import Discard, GuestTouch, PageFault
from gmemsim.audit.reader import read_log
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
        (b'"gfn":1,', b'"gfn":1,"gfn":1,', "2: byte .*event 'page_fault': the line has 'gfn' twice"),
        (b'"t":700,', b'"t":700,"t":700,', "702: byte .*the line has 't' twice"),
        (b'"id":7,', b'"id":7,"id":7,', "3: byte .*event 'send': the line has 'id' twice"),
        (b'"arch":"snp",', b'"arch":"snp","arch":"tdx",', "the header has 'arch' twice"),
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


def test_a_key_twice_is_not_made_up_for_by_one_that_is_missing(tmp_path: Path) -> None:
    path = log(tmp_path / "a.jsonl")
    text = path.read_bytes().replace(b'"id":7,', b'"id":7,"id":7,', 1)
    at = text.index(b'"id":8,')
    path.write_bytes(text[:at] + text[at:].replace(b'"id":8,', b"", 1))
    for read in (lambda: list(read_log(path)), lambda: read_run(Steps(), path)):
        with pytest.raises(LogError, match="the line has 'id' twice"):
            read()


def test_a_number_that_is_missing_is_not_made_up_for_by_one_elsewhere(tmp_path: Path) -> None:
    """Numbers of messages are cut out of a block of lines: as many of them say nothing of where they were."""
    path = log(tmp_path / "a.jsonl", EVENTS[:3])
    text = path.read_bytes().replace(b'"id":7,', b"", 1).replace(b'"private"', b'"id":7,"private"')
    path.write_bytes(text)
    with pytest.raises(LogError, match=r"2: byte .*event 'page_fault': unexpected field 'id'"):
        read_run(Steps(), path)
    # A number with a nought in front is no JSON.
    for number in (b'"id":7,', b'"seq":1,', b'"t":2,'):
        log(path, EVENTS[:3])
        path.write_bytes(path.read_bytes().replace(number, number.replace(b":", b":0"), 1))
        with pytest.raises(LogError, match="damaged line"):
            read_run(Steps(), path)


@pytest.mark.parametrize("mode", ["q", "", "R"])
def test_modes_are_r_and_w(tmp_path: Path, mode: str) -> None:
    path = log(tmp_path / "a.jsonl", [("a", Lock("l", "r")), ("a", Access("load", "l", 0, -1, "r"))])
    for name in ("lock", "access"):
        text = path.read_bytes()
        at = text.index(b'"event":"%s"' % name.encode())
        (tmp_path / "b.jsonl").write_bytes(
            text[:at] + text[at:].replace(b'"mode":"r"', b'"mode":"%s"' % mode.encode(), 1)
        )
        with pytest.raises(LogError, match=f"event '{name}', field 'mode': expected \"r\" or \"w\""):
            read_run(Steps(), tmp_path / "b.jsonl")


def test_a_log_from_before_a_field_is_read(tmp_path: Path) -> None:
    # `discard` of 0.1.0 did not say which mapping.
    path = log(tmp_path / "a.jsonl", [("a", Discard(0, 1, "m"))])
    path.write_bytes(path.read_bytes().replace(b',"mapping":"m"', b""))
    steps = Steps()
    assert steps.events(read_run(steps, path).run) == [("a", Discard(0, 1))]
    assert [record.event for record in read_log(path)] == [Discard(0, 1)]
