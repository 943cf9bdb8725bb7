"""Live output through structlog: for people and for programs, with processors of the user's own."""

from __future__ import annotations

import io
import json
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog

from gmemsim.audit.events import Lock
from gmemsim.audit.header import Header
from gmemsim.audit.kvm_events import GetPfn, HostTouch, MmuInvStart, PageCacheAdd
from gmemsim.audit.live import LiveLog
from gmemsim.audit.recorder import Entry
from gmemsim.audit.render import render_lines

HEADER = Header("punch1_v4", "v3", "snp", 7, {"vcpus": 4})
ENTRIES: list[Entry] = [
    (0, "vcpu0", GetPfn(3, 19)),
    (1_234_567, "vcpu1", Lock("gmem0[3]", "w")),
    (1_234_568, "host0", HostTouch(19, True, "data: a\nb\x1b")),
]
Dict = MutableMapping[str, Any]


@dataclass
class Clock:
    now: int = 0


@dataclass
class Actor:
    name: str = "vcpu0"
    engine: Clock = field(default_factory=Clock)


def json_of(*processors: Any, entries: list[Entry] = ENTRIES) -> list[bytes]:
    out = io.BytesIO()
    with LiveLog(HEADER, json=True, file=out, processors=processors) as live:
        live.write(entries)
    return out.getvalue().splitlines()


def test_each_line_is_out_at_once() -> None:
    out = io.BytesIO()
    task = Actor("vcpu3")
    with LiveLog(HEADER, json=True, file=out) as live:
        assert out.getvalue() == HEADER.line()
        task.engine.now = 77
        live.rec(task, GetPfn(1, 2))
        assert out.getvalue() == HEADER.line() + next(render_lines([(77, "vcpu3", GetPfn(1, 2))]))
        task.engine.now = 78
        live.rec(task, GetPfn(1, 3))
    assert out.getvalue().splitlines()[2:] == [
        b'{"seq":1,"t":78,"actor":"vcpu3","event":"get_pfn","gfn":1,"index":3}',
        b'{"end":"gmemsim","events":2}',
    ]


def test_a_crash_is_not_given_an_end_line() -> None:
    out = io.BytesIO()

    def crash() -> None:
        with LiveLog(HEADER, json=True, file=out) as live:
            live.write(ENTRIES[:1])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        crash()
    assert len(out.getvalue().splitlines()) == 2


def test_processors_see_the_context_and_can_add_change_and_drop() -> None:
    seen: list[dict[str, Any]] = []

    def spy(logger: Any, method: str, event_dict: Dict) -> Dict:
        seen.append(dict(event_dict))
        return event_dict

    def no_locks(logger: Any, method: str, event_dict: Dict) -> Dict:
        if event_dict["event"] == "lock":
            raise structlog.DropEvent
        return event_dict

    def mark(logger: Any, method: str, event_dict: Dict) -> Dict:
        event_dict["hot"] = event_dict.get("index") == 19
        event_dict["actor"] = event_dict["actor"].upper()
        return event_dict

    lines = json_of(spy, no_locks, mark)
    assert lines[1:-1] == [
        b'{"seq":0,"t":0,"actor":"VCPU0","event":"get_pfn","gfn":3,"index":19,"hot":true}',
        b'{"seq":2,"t":1234568,"actor":"HOST0","event":"host_touch","index":19,"write":true,'
        b'"value":"data: a\\nb\\u001b","hot":true}',
    ]
    assert seen[0] == {
        "scenario": "punch1_v4",
        "patch": "v3",
        "arch": "snp",
        "seed": 7,
        "vcpus": 4,
        "seq": 0,
        "t": 0,
        "actor": "vcpu0",
        "event": "get_pfn",
        "gfn": 3,
        "index": 19,
    }


def test_context_that_a_processor_changes_is_shown() -> None:
    def other(logger: Any, method: str, event_dict: Dict) -> Dict:
        event_dict["patch"] = "mine"
        return event_dict

    assert json.loads(json_of(other)[1])["patch"] == "mine"


def test_a_field_that_is_called_like_context_stays() -> None:
    out = io.BytesIO()
    with LiveLog(Header(more={"vm": "vm0", "index": 4}), json=True, file=out) as live:
        live.write([(0, "punch0", MmuInvStart("vm0")), (0, "vcpu0", PageCacheAdd(4, 1, 0))])
    assert out.getvalue().splitlines()[1:3] == [
        b'{"seq":0,"t":0,"actor":"punch0","event":"mmu_inv_start","vm":"vm0"}',
        b'{"seq":1,"t":0,"actor":"vcpu0","event":"page_cache_add","index":4,"pfn":1,"order":0}',
    ]


def test_for_people() -> None:
    out = io.StringIO()
    with LiveLog(HEADER, file=out) as live:
        live.write([*ENTRIES, (1_234_569, "vcpu0", PageCacheAdd(19, 0x1234, 0))])
    assert out.getvalue() == (
        "scenario=punch1_v4 patch=v3 arch=snp seed=7 vcpus=4\n"
        "             0 ns  vcpu0      get_pfn                gfn=3 index=19\n"
        "     1,234,567 ns  vcpu1      lock                   lock=gmem0[3] mode=w\n"
        "     1,234,568 ns  host0      host_touch             index=19 write=True value='data: a\\nb\\x1b'\n"
        "     1,234,569 ns  vcpu0      page_cache_add         index=19 pfn=0x1234 order=0\n"
        "4 events\n"
    )


def test_colors_only_when_asked_for_or_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for out, colors, expected in (
        (io.StringIO(), None, False),
        (io.StringIO(), True, True),
        (Terminal(), None, True),
        (Terminal(), False, False),
    ):
        with LiveLog(HEADER, file=out, colors=colors) as live:
            live.write(ENTRIES)
        assert ("\x1b[" in out.getvalue()) is expected


def test_stdout_is_the_default(capfd: pytest.CaptureFixture[str]) -> None:
    with LiveLog(HEADER, json=True) as live:
        live.write(ENTRIES)
    with LiveLog(HEADER) as live:
        live.write(ENTRIES)
    out = capfd.readouterr().out
    assert out.startswith('{"log":"gmemsim"')
    assert out.endswith("3 events\n")


def test_structlog_s_own_configuration_is_left_alone() -> None:
    structlog.reset_defaults()
    json_of()
    assert not structlog.is_configured()
