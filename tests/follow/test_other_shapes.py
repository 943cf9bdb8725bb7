"""Trace text as other tools write it: read where it says the same, else one line that names what the file is."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gmemsim
from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import TraceError, parse_line, read_trace
from gmemsim.follow.thread import kind_of
from gmemsim.follow.trace import load_trace, trace_from_events
from gmemsim.patches.registry import PATCHES

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDED = Path(gmemsim.__file__).parent / "scenarios" / "recorded" / "7.2.13" / "sh_same_v2.trace.gz"
LINE = re.compile(r"\s*(.+)-(\d+)\s+(\[\d+\])\s+(\S+)\s+(\d+)\.(\d+): (\S+): ?(.*)")

SHAPES: dict[str, Callable[[str, str, str, str, str, str, str, str], str]] = {
    "as it is": lambda c, p, cpu, fl, s, u, e, a: f"{c}-{p} {cpu} {fl} {s}.{u}: {e}: {a}",
    "no flags": lambda c, p, cpu, fl, s, u, e, a: f"{c}-{p} {cpu}  {s}.{u}: {e}: {a}",
    "tgid": lambda c, p, cpu, fl, s, u, e, a: f"{c}-{p} (  36411) {cpu} {fl} {s}.{u}: {e}: {a}",
    "no tgid": lambda c, p, cpu, fl, s, u, e, a: f"{c}-{p} (-------) {cpu} {fl} {s}.{u}: {e}: {a}",
    "perf script": lambda c, p, cpu, fl, s, u, e, a: f"{c:>16} {p} {cpu} {s}.{u}: probe:{e}: {a}",
    "perf tids": lambda c, p, cpu, fl, s, u, e, a: f"{c:>16} 7/{p} {cpu} {s}.{u}: probe:{e}: {a}",
    "counter": lambda c, p, cpu, fl, s, u, e, a: f"{c}-{p} {cpu} {fl} {s}{u}: {e}: {a}",
    "crlf": lambda c, p, cpu, fl, s, u, e, a: f"{c}-{p} {cpu} {fl} {s}.{u}: {e}: {a}\r",
    "trace-cmd report": lambda c, p, cpu, fl, s, u, e, a: (
        f"{c:>16}-{p:<6} {cpu}  {s}.{u}: {'print' if e == 'tracing_mark_write' else e + ':':<21} {a}".replace(
            "print ", "print:"
        )
    ),
    "trace-cmd with flags and tgid": lambda c, p, cpu, fl, s, u, e, a: (
        f"{c:>16}-{p:<5} (  77) {cpu} {fl} {s}.{u}000: {e}: {a}"
    ),
    "perf names returns": lambda c, p, cpu, fl, s, u, e, a: (
        f"{c:>16} 7/{p} {cpu} {s}.{u}: probe:{e + '__return' if e.endswith('_ret') else e}: {a}"
    ),
    "perf with call chains": lambda c, p, cpu, fl, s, u, e, a: (
        f"{c:>16} {p} {cpu} {s}.{u}: probe:{e}: {a}\n        ffffffffc0a12340 {e}+0x4 ([kvm])\n"
        f"            55d0a1b2c3d4 main+0x1f (/usr/bin/qemu-system-x86_64)\n"
    ),
    "x86-tsc": lambda c, p, cpu, fl, s, u, e, a: (
        f"{c}-{p} {cpu} {fl} {int(s) * 2_100_000_000 + int(u)}: {e}: {a}"
    ),
    "CPU n/KVM": lambda c, p, cpu, fl, s, u, e, a: (
        f"{c.replace('vcpu0', 'CPU 0/KVM').replace('vcpu1', 'CPU 1/KVM')}-{p} {cpu} {fl} {s}.{u}: {e}: {a}"
    ),
    "a blank and a dash in comm": lambda c, p, cpu, fl, s, u, e, a: (
        f"{c.replace('vcpu', 'CPU -')}/KVM-{p} {cpu} {fl} {s}.{u}: {e}: {a}"
    ),
}


@pytest.fixture(scope="module")
def lines() -> list[tuple[str, ...]]:
    text = gzip.decompress(RECORDED.read_bytes()).decode().splitlines()
    return [match.groups() for line in text if (match := LINE.match(line))]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_trace_in_another_shape(shape: str, lines: list[tuple[str, ...]], tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    head = "cpus=4\nversion = 6\nCPU 3 is empty\n# tracer: nop\n"
    path.write_text(head + "".join(f"{SHAPES[shape](*line)}\n" for line in lines))
    trace = load_trace(path)
    whole = load_trace(RECORDED)
    assert [step.observation for step in trace.steps] == [step.observation for step in whole.steps]


def test_plain_kvm_events_are_undecided(lines: list[tuple[str, ...]], tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    shape = SHAPES["as it is"]
    plain = [line for line in lines if line[6] == "kvm_page_fault"]
    path.write_text("".join(f"{shape(*line)}\n" for line in plain[:40]))
    for version in PATCHES.values():
        result = follow(load_trace(path), version)
        assert not result.accepted
        assert result.verdict in ("undecided", "rejected")
    assert follow(load_trace(path), PATCHES["v3"]).undecided


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"lock_stat version 0.4\n", "/proc/lock_stat"),
        (b"====\nWARNING: possible circular locking dependency detected\n", "lockdep"),
        (b" contended   total wait     max wait     avg wait         type   caller\n", "perf lock"),
        (b"# tracer: function_graph\n#\n 1)   |  kvm_gmem_get_pfn() {\n", "function_graph"),
        (b"Attaching 2 probes...\n", "bpftrace"),
        (b'{"log":"gmemsim","schema":1}\n', "an audit log"),
        (b"\x17\x08Dtracing6\0", "trace-cmd report"),
        (b"PERFILE2\0\0", "perf script"),
        (b"a-1 [000] ..... 1.0: x: y\nCPU:2 [LOST 137 EVENTS]\n", "137 events were lost"),
        (b"a-1 [000] ..... 1.0: x: y\nCPU:2 [137 events lost]\n", "137 events were lost"),
        (b"a-1 [000] ..... 1.0: x: y\nCPU:2 [LOST EVENTS]\n", "some events were lost"),
        (b"a-1 [000] ..... 1.0: x: y\nCPU:2 [137 EVENTS DROPPED]\n", "137 events were lost"),
        (b"a-1 [000] ..... 1.0: x: y\nCPU:2 [EVENTS DROPPED]\n", "some events were lost"),
        (b"a-1 [000] ..... 1.0: x: y\nperf 9 [002] 1.5: PERF_RECORD_LOST lost 137\n", "137 events were lost"),
        (
            b"# entries-in-buffer/entries-written: 10/147   #P:4\na-1 [000] ..... 1.0: x: y\n",
            "137 events were over",
        ),
        (b"", "no event in it"),
        (b"\n" * 20_000, "lines without an event"),
        (b" " * 60_000 + b"x\n", "a line of more than"),
        (b"a-1 [000] ..... 1.0: get_pfn:\n", "get_pfn without its field gfn"),
        (b"a-1 [000] ..... 1.0: get_pfn: gfn=0x0\nb-1 [000] ..... 1.0: get_pfn: gfn=0xffffffff\n", "pages"),
        (
            b"a-1 [000] ..... 1.0: get_pfn: gfn=0x1000\na-1 [000] ..... 1.1: get_pfn_ret: ret=0x",
            ":2: the last line has no end",
        ),
        (b"a-1 [000] ..... 1.0: get_pfn: gfn=0x10", ":1: the last line has no end"),
        (
            b"a-1 [000] ..... 1.0: get_pfn: gfn=0x1000\na-1 [000] ..... 1.1: get_pfn_ret: ret=\n",
            "without its field ret",
        ),
        (
            b"a-1 [000] ..... 1.0: get_pfn: gfn=0x1\na-1 [000] ..... 1.1: kvm_page_fault: vcpu 0 rip\n",
            "field address",
        ),
        (
            b"# entries-in-buffer/entries-written: 3/3   #P:4\na-1 [000] ..... 1.0: get_pfn: gfn=0x1000\n",
            "its head says 3 events, and 1 are there",
        ),
        (
            b"# entries-in-buffer/entries-written: 1/1   #P:4\na-1 [000] ..... 1.0: x: y\n" * 2,
            ":3: a second head",
        ),
        (gzip.compress(b"a-1 [000] ..... 1.0: get_pfn: gfn=0x0\n")[:-9], "after line"),
        (gzip.compress(b"\n" * 3_000_000), "lines without an event"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_in_one_line(text: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    path.write_bytes(text)
    with pytest.raises(TraceError, match=re.escape(says)) as refused:
        trace_from_events(read_trace(path), str(path))
    assert "\n" not in str(refused.value)


def test_a_name_that_looks_like_a_line_is_refused() -> None:
    """A task may be called so: whose event it is, nobody can tell."""
    with pytest.raises(ValueError, match=re.escape("can be an event of a-1 and of a-1 [0] 1:e:-7")):
        parse_line("  a-1 [0] 1:e:-7     [001] ..... 14.475397: get_pfn: (x+0x4/0x9) gfn=0x1\n")
    odd = parse_line(
        "  [0] 1.5: \N{SNOWMAN}-7 [001] ..... 14.475397: sched_switch: a:12 [120] S ==> b:13 [120]\n"
    )
    assert odd is not None
    assert (odd.thread, odd.name) == ("[0] 1.5: \N{SNOWMAN}-7", "sched_switch")


def test_a_damaged_line_is_no_event() -> None:
    for text in ("vcpu0-425 [000] .....", "x [0] 1.5: e:", "-1 [0] 1.5: e:", "a-1 [0] x: e:", "a-1 [0] 1.5:"):
        with pytest.raises(ValueError, match="expected 'TASK-PID"):
            parse_line(text)


def test_losses_are_named_in_the_metadata_too() -> None:
    with pytest.raises(TraceError, match="137 events were lost, says the metadata"):
        trace_from_events(read_trace(RECORDED), "x.trace", {"lost_events": 137})
    for found in ("17", [17], 1.5):
        with pytest.raises(TraceError, match="lost_events of the metadata: expected a number"):
            trace_from_events(read_trace(RECORDED), "x.trace", {"lost_events": found})
    for none in (0, None):
        assert trace_from_events(read_trace(RECORDED), "x.trace", {"lost_events": none}).steps


def test_threads_of_qemu_are_of_one_kind() -> None:
    assert kind_of("CPU 0/KVM-812") == kind_of("CPU 11/KVM-823")
    assert kind_of("vcpu0-1") == kind_of("vcpu12-2") == "vcpu"


def test_a_thread_whose_name_changes_is_one_thread(lines: list[tuple[str, ...]], tmp_path: Path) -> None:
    """The kernel forgets names, and a thread is renamed by whoever made it: within a call as well."""
    path = tmp_path / "x.trace"
    shape = SHAPES["as it is"]
    inside = next(number for number, line in enumerate(lines) if line[0] == "vcpu0" and line[6] == "faultin")
    for first, then in (("vcpu0", "<...>"), ("<...>", "vcpu0"), ("qemu-system-x86", "vcpu0")):
        names = [first if number < inside else then for number in range(len(lines))]
        path.write_text(
            "".join(
                f"{shape(name if line[0] == 'vcpu0' else line[0], *line[1:])}\n"
                for name, line in zip(names, lines, strict=True)
            )
        )
        trace = load_trace(path, RECORDED.with_name("sh_same_v2.json"))
        assert {thread.rpartition("-")[0] for thread in trace.threads} == {"vcpu0", "vcpu1"}
        assert follow(trace, PATCHES["v3"]).accepted


def test_qemus_names_are_followed_alike(lines: list[tuple[str, ...]], tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    path.write_text("".join(f"{SHAPES['CPU n/KVM'](*line)}\n" for line in lines))
    result = follow(load_trace(path, RECORDED.with_name("sh_same_v2.json")), PATCHES["v3"])
    assert result.accepted, result.rejected_at
