"""Ranges of conversions that no probe shows are inferred, and what is inferred is a run of the model or is rejected."""

from __future__ import annotations

import json
from itertools import takewhile
from typing import TYPE_CHECKING

import pytest

from gmemsim.follow.conversions import infer, readings
from gmemsim.follow.evidence import collect
from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import TraceError, parse_line, read_trace
from gmemsim.follow.search import Bounds
from gmemsim.follow.trace import Trace, load_trace, trace_from_events
from gmemsim.patches.registry import PATCHES

if TYPE_CHECKING:
    from pathlib import Path

BASE = 0x10000
START = f"vmm-1 tracing_mark_write: GMEM start name=x vcpus=1 pages=8 ino=5 data_gfn={BASE:#x}"
CONVERT = (
    "arch_pre_set_attrs: (x)",
    "unmap_gfn2: (x)",
    "unmap_gfn2_ret: (x) flush=1",
    "mmu_inv_end: (x)",
    "arch_post_set_attrs: (x)",
)


def trace_of(*lines: str, release: str = "6.12.107") -> Trace:
    events = []
    for number, line in enumerate((START, *lines), 1):
        thread, _, rest = line.partition(" ")
        event = parse_line(f"{thread} [000] ..... 1.{number:06}: {rest}", number)
        assert event is not None
        events.append(event)
    return trace_from_events(events, "x.trace", {"uname": f"Linux (none) {release}"})


def fault(index: int, private: bool, ret: int = 5) -> list[str]:
    gfn = BASE + index
    lines = [f"kvm_page_fault: vcpu 0 rip 0x0 address {gfn << 12:#x} error_code 0x4", "tdp_fault: (x)"]
    if private:
        lines.append(f"get_pfn: (x) gfn={gfn:#x}")
    lines += ["tdp_map: (x)", f"tdp_map_ret: (x) ret={ret}", f"tdp_fault_ret: (x) ret={ret}"]
    return [f"vcpu0-10 {line}" for line in lines]


def converted(*between: str) -> list[str]:
    """A conversion with what happens behind its zap."""
    lines = [f"conv0-20 {line}" for line in CONVERT]
    return [*lines[:3], *between, *lines[3:]]


def retried(index: int) -> list[str]:
    gfn = BASE + index
    return [
        f"vcpu0-10 kvm_page_fault: vcpu 0 rip 0x0 address {gfn << 12:#x} error_code 0x4",
        "vcpu0-10 tdp_fault: (x)",
        "vcpu0-10 tdp_fault_ret: (x) ret=1",
    ]


def test_what_faults_saw_gives_the_range() -> None:
    before = [line for index in range(8) for line in fault(index, private=True)]
    after = [line for index in range(8) for line in fault(index, private=not 2 <= index < 6)]
    trace = trace_of(*before, *converted(*retried(4)), *after)
    assert infer(trace, zap_filter=False)[0] == {"conv0-20": [(BASE + 2, BASE + 6, 0)]}
    result = follow(trace, PATCHES["baseline"], bounds=Bounds(states=0))
    assert result.accepted, result.rejected_at
    assert any("inferred" in note for note in result.notes)


@pytest.mark.parametrize("index", [0, 7])
def test_no_range_fits_both(index: int) -> None:
    """A retry outside what changed kind: no one range has it and leaves the gfns between alone."""
    before = [line for number in range(8) for line in fault(number, private=True)]
    after = [line for number in range(8) for line in fault(number, private=not 3 <= number < 5)]
    trace = trace_of(*before, *converted(*retried(index)), *after)
    assert not follow(trace, PATCHES["baseline"], bounds=Bounds(states=40, seconds=None)).accepted


def test_a_retry_may_be_of_a_conversion_that_shows_only_later() -> None:
    """Its invalidation began before the fault, behind no event of its own."""
    before = [line for index in range(4) for line in fault(index, private=True)]
    shown = [f"conv0-20 {line}" for line in CONVERT]
    trace = trace_of(*before, *retried(1), *shown, *fault(1, private=False), *fault(0, private=True))
    result = follow(trace, PATCHES["baseline"], bounds=Bounds(states=0))
    assert result.accepted, result.rejected_at


def test_a_fault_on_what_is_mapped_is_spurious() -> None:
    twice = [*fault(1, private=True), *fault(1, private=True, ret=6)]
    result = follow(trace_of(*twice, release="6.18.15"), PATCHES["baseline"], bounds=Bounds(states=0))
    assert result.accepted, result.rejected_at
    once = fault(1, private=True, ret=6)
    assert not follow(
        trace_of(*once, release="6.18.15"), PATCHES["baseline"], bounds=Bounds(states=0)
    ).accepted


def test_only_an_exit_for_memory_shows_both_kinds() -> None:
    """A fault that read two kinds returns EFAULT, so a conversion flipped the gfn meanwhile."""
    for ret, flips in ((-14, [True]), (2, [])):
        failed = [*retried(3)[:2], f"vcpu0-10 tdp_fault_ret: (x) ret={ret & (1 << 64) - 1:#x}"]
        evidence = collect(trace_of(*fault(1, private=True), *retried(3)[:1], *converted(*failed)))
        found = [clue.flips for clues in evidence.clues.values() for clue in clues if clue.gfn == 3]
        assert found == flips


def test_a_hole_that_takes_what_is_mapped_is_not_wrong() -> None:
    punched = ["fallocate: (x) mode=0x3 off=0x1000 len=0x1000", "unmap_gfn2: (x)", "unmap_gfn2_ret: (x) flush=1",
               "mmu_inv_end: (x)", "fallocate_ret: (x) ret=0"]  # fmt: skip
    hole = [f"punch0-30 {line}" for line in punched]
    for index, wrong in ((1, 0), (2, 1)):
        evidence = collect(trace_of(*fault(index, private=True), *hole))
        assert evidence.mapped_before(0, 0) == (0 if index == 1 else 1 << 2, wrong)


def test_a_trace_that_shows_them_is_read_as_it_is(carried: Path) -> None:
    trace = load_trace(carried / "7.2.13" / "sh_same_v2.trace.gz")
    assert readings(trace, zap_filter=True) == [trace]


def test_two_at_once_on_6_12(beside: Path) -> None:
    """Here a fault is retried for a conversion of which nothing shows yet."""
    path = beside / "linux-6.12.107-custom" / "pv_conv2_v4.trace.gz"
    events = takewhile(lambda event: event.line < 16_000, read_trace(path))
    trace = trace_from_events(events, str(path), json.loads(path.with_name("pv_conv2_v4.json").read_text()))
    result = follow(trace, PATCHES["baseline"], bounds=Bounds(states=0))
    assert result.accepted, result.rejected_at


@pytest.mark.parametrize("seen", range(1, 7))
def test_a_trace_may_end_inside_a_conversion(seen: int) -> None:
    shown = [f"kvm_vm_set_mem_attributes: {BASE:#x} -- {BASE + 2:#x} [0x0]", *CONVERT]
    whole = [line for index in range(2) for line in fault(index, private=True)]
    # What shows where: all of it once, then a part.
    first = [f"conv0-20 {line}" for line in shown]
    back = [line.replace("[0x0]", "[0x8]").replace("flush=1", "flush=0") for line in first]
    result = follow(trace_of(*whole, *first, *back[:seen]), PATCHES["baseline"], bounds=Bounds(states=0))
    assert result.accepted, result.rejected_at


def test_conversions_of_another_recording_are_its_threads() -> None:
    """A VMM that names no threads has many of one name: whose conversions those are, nobody knows."""
    seen = "kvm_vm_set_mem_attributes: 0x10000 -- 0x10002 [0x8]"
    trace = trace_of(*converted())
    trace.take_conversions(trace_of(f"conv0-7 {seen}", f"conv0-7 {seen}", f"other-8 {seen}"))
    assert trace.conversions_of("conv0-20") == [(0x10000, 0x10002, 1)] * 2
    with pytest.raises(TraceError, match="two threads called conv0 convert"):
        trace_of(*converted()).take_conversions(trace_of(f"conv0-7 {seen}", f"conv0-8 {seen}"))
    with pytest.raises(TraceError, match="two threads called conv0 convert"):
        trace_of(*converted(), "conv0-21 arch_pre_set_attrs: (x)").take_conversions(
            trace_of(f"conv0-7 {seen}")
        )
    with pytest.raises(TraceError, match="no conversions of a thread that is called as one of"):
        trace_of(*converted()).take_conversions(trace_of(f"other-8 {seen}"))
