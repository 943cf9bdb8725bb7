"""Reading ftrace text: what is taken, and what is said about a damaged file."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from gmemsim.audit.kvm_events import Clear, Prepare
from gmemsim.follow.as_events import events_of
from gmemsim.follow.calls import calls_of
from gmemsim.follow.ftrace import TraceError, parse_line, read_trace
from gmemsim.follow.observe import Observer
from gmemsim.follow.probes import Observation, arguments, signed
from gmemsim.follow.trace import load_trace

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
