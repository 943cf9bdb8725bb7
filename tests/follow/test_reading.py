"""Reading ftrace text: what is taken, and what is said about a damaged file."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from gmemsim.audit.kvm_events import (
    Bind,
    BindPrepare,
    Clear,
    InvStart,
    MemoryFailure,
    MemoryFailureRet,
    Prepare,
    SlotPublish,
    Unbind,
)
from gmemsim.follow.as_events import _MAKERS, events_of
from gmemsim.follow.calls import calls_of
from gmemsim.follow.ftrace import TraceError, parse_line, read_trace
from gmemsim.follow.observe import Observer
from gmemsim.follow.probes import PROBES, Observation, arguments, signed
from gmemsim.follow.trace import load_trace, trace_from_events

LINE = "           vcpu0-450     [000] .....    14.475397: get_pfn: (kvm_gmem_get_pfn+0x4/0x340 [kvm]) gfn=0x10000\n"


def test_a_line_is_taken_apart() -> None:
    event = parse_line(LINE, 7)
    assert event is not None
    assert (event.line, event.thread, event.name, event.time_us) == (7, "vcpu0-450", "get_pfn", 14_475_397)
    assert arguments(event.args) == {"gfn": 0x10000}


def test_comments_are_no_events() -> None:
    assert parse_line("# tracer: nop\n") is None
    assert parse_line("\n") is None


def test_error_pointers_are_negative() -> None:
    assert signed(0xFFFFFFFFFFFFFFFE) == -2
    assert signed(5) == 5


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.trace"
    path.write_text(LINE + "what is this\n")
    with pytest.raises(TraceError, match=r"bad\.trace:2: expected .*what is this"):
        list(read_trace(path))


def test_a_truncated_gzip_is_named(tmp_path: Path, carried: Path) -> None:
    data = (carried / "6.18.15" / "sh_same_v2.trace.gz").read_bytes()
    path = tmp_path / "cut.trace.gz"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(TraceError, match=r"cut\.trace\.gz: after line \d+: "):
        list(read_trace(path))


def test_an_empty_file_is_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "empty.trace"
    path.write_text("")
    with pytest.raises(TraceError, match="no event"):
        list(read_trace(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no such file"):
        load_trace(tmp_path / "none.trace.gz")


def test_gzip_and_plain_are_the_same(tmp_path: Path, carried: Path) -> None:
    path = carried / "7.2.13" / "sh_same_v2.trace.gz"
    plain = tmp_path / "plain.trace"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    assert list(read_trace(path)) == list(read_trace(plain))


def test_metadata_says_what_was_probed(carried: Path) -> None:
    trace = load_trace(carried / "6.18.15" / "sh_same_v2.trace.gz")
    assert {"prepare", "clear", "filemap_get"} <= trace.probed
    assert "get_folio" not in trace.probed  # inlined in that kernel
    assert (trace.pages, trace.data_gfn, trace.release) == (64, 0x10000, "6.18")


def test_calls_cover_the_faults(carried: Path) -> None:
    trace = load_trace(carried / "7.2.13" / "sh_punch1_v1.trace.gz")
    kinds = {call.kind for thread in trace.threads for call in calls_of(trace, thread)[0]}
    assert kinds == {"fault", "fallocate"}


def test_a_trace_reads_like_a_log(carried: Path) -> None:
    """The laws of the recordings: before, one prepare a zeroing; after, one a get_pfn."""
    before = list(events_of(load_trace(carried / "6.18.15" / "sh_prefault_v4.trace.gz")))
    after = list(events_of(load_trace(carried / "7.2.13" / "sh_prefault_v4.trace.gz")))

    def count(events: list[tuple[str, object]], cls: type) -> int:
        return sum(isinstance(event, cls) for _, event in events)

    assert count(before, Prepare) == count(before, Clear) == 64  # type: ignore[arg-type]
    assert count(after, Prepare) == 256  # type: ignore[arg-type]
    assert count(after, Clear) == 64  # type: ignore[arg-type]


@pytest.mark.parametrize(("attributes", "private"), [("0x0", 0), ("0x8", 1), ("0x18", 1), ("0x10", 0)])
def test_private_is_the_fourth_attribute(attributes: str, private: int) -> None:
    """KVM_MEMORY_ATTRIBUTE_PRIVATE is bit 3."""
    event = parse_line(
        f"vmm-1 [000] ..... 1.000001: kvm_vm_set_mem_attributes: 0x10 -- 0x12 [{attributes}]", 1
    )
    assert event is not None
    assert Observer(5, 0x10, 8).observe(event) == Observation("set_attributes", 0x10, 0x12, private)


def test_what_many_events_share_is_kept_once(carried: Path) -> None:
    trace = load_trace(carried / "7.2.13" / "sh_same_v2.trace.gz")
    steps = trace.steps
    for kept in ("thread", "kernel_name", "observation"):
        values = [getattr(step, kept) for step in steps]
        assert len({id(value) for value in values}) == len(set(values)), kept
    assert len({step.observation for step in steps}) < len(steps)


def test_metadata_that_say_two_things_are_refused(carried: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "m.json"
    metadata.write_text('{"lost_events": 17, "lost_events": 0}')
    with pytest.raises(TraceError, match="'lost_events' twice"):
        load_trace(carried / "7.2.13" / "sh_same_v2.trace.gz", metadata)


def test_metadata_of_another_recording_are_refused(carried: Path, tmp_path: Path) -> None:
    """By what they list as probed, steps that show would be none, and the trace be rejected for it."""
    metadata = tmp_path / "m.json"
    metadata.write_text('{"probes": ["PROBE get_pfn kvm_gmem_get_pfn -> ok"]}')
    with pytest.raises(TraceError, match=r":\d+: kvm_page_fault shows, and the metadata list no probe of it"):
        load_trace(carried / "7.2.13" / "sh_same_v2.trace.gz", metadata)


def test_every_event_that_is_matched_is_compared() -> None:
    """What `events_of` passed over, `diff` would call the same."""
    assert set(PROBES.values()) <= set(_MAKERS)


def of_lines(*lines: str) -> list[tuple[str, object]]:
    text = (
        f"{line.partition(' ')[0]} [000] ..... {n}.0: {line.partition(' ')[2]}"
        for n, line in enumerate(lines)
    )
    events = [event for n, line in enumerate(text, 1) if (event := parse_line(line, n)) is not None]
    return list(events_of(trace_from_events(events, "x.trace")))


ADDED = (
    "a-1 get_pfn: gfn=0x10000",
    "a-1 fm_getm: mapping=0x40 index=0x0 fgp=0x6",
    "a-1 fm_add: mapping=0x40 folio=0xffffea00001ec480 index=0x0",
    "a-1 mm_filemap_add_to_page_cache: dev 0:27 ino c8a pfn=0x7b12 ofs=0 order=0",
)


def test_memory_errors_and_slots_of_a_trace_are_compared() -> None:
    found = of_lines(
        *ADDED,
        "m-2 memory_failure: pfn=0x7b12",
        "m-2 memory_failure_ret: ret=-16",
        "v-3 set_region: slot=4 gpa=0x10000000 size=0x1000 offset=0x0",
        "v-3 set_region_ret: ret=0",
        "v-3 set_region: slot=4 gpa=0x10000000 size=0x0 offset=0x0",
        "v-3 set_region_ret: ret=0",
        "v-3 inv_start: start=0x0 end=0xffffffffffffffff",
    )
    assert [event for _, event in found[-7:]] == [
        MemoryFailure(0, 0x7B12),
        MemoryFailureRet(-16),
        BindPrepare("gmem0", 0, 0, 1, 0),
        Bind("gmem0", 0, 0, 1, 0),
        SlotPublish(0, "invalid"),
        Unbind(0),
        InvStart(0, (1 << 64) - 1),
    ]


def test_threads_of_one_name_are_told_apart() -> None:
    """A VMM that names no threads: what one of two did, and what both did, are two traces."""
    one = of_lines(
        *ADDED, "w-7 fallocate: mode=0x3 off=0x0 len=0x1000", "w-7 fallocate: mode=0x3 off=0x0 len=0x1000"
    )
    two = of_lines(
        *ADDED, "w-9 fallocate: mode=0x3 off=0x0 len=0x1000", "w-7 fallocate: mode=0x3 off=0x0 len=0x1000"
    )
    assert [actor for actor, _ in one[-2:]] == ["w", "w"]
    assert [actor for actor, _ in two[-2:]] == ["w#2", "w#1"]
