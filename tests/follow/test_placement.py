"""Where unobserved steps of the page cache and of the host's page tables are placed, on traces of a few lines."""

from __future__ import annotations

import json
from itertools import takewhile
from typing import TYPE_CHECKING

from gmemsim.follow.attempt import Attempt, How
from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import parse_line, read_trace
from gmemsim.follow.search import Bounds
from gmemsim.follow.trace import trace_from_events
from gmemsim.patches.registry import PATCHES

if TYPE_CHECKING:
    from pathlib import Path

    from gmemsim.follow.result import FollowResult
    from gmemsim.follow.trace import Trace

START = "vmm-1 tracing_mark_write: GMEM start name=x vcpus=0 pages=4 ino=5 data_gfn=0x10000"


def trace_of(*lines: str) -> Trace:
    """Of events given as `THREAD EVENT: FIELDS`."""
    events = []
    for number, line in enumerate((START, *lines), 1):
        thread, _, rest = line.partition(" ")
        event = parse_line(f"{thread} [000] ..... 1.{number:06}: {rest}", number)
        assert event is not None
        events.append(event)
    return trace_from_events(events, "x.trace")


def outcome(*lines: str) -> FollowResult:
    """What `v3` says to them, without the search."""
    return follow(trace_of(*lines), PATCHES["v3"], bounds=Bounds(states=0))


def touch(thread: str, index: int, ends: bool = True) -> list[str]:
    """A host fault on a page that is not there; it keeps the folio locked until it ends."""
    return [
        f"{thread} user_fault: index={index:#x}",
        f"{thread} mm_filemap_add_to_page_cache: dev 0:1 ino 5 pfn={0x100 + index:#x} ofs={index << 12} order=0",
        *([f"{thread} user_fault_ret: ret=0x200"] if ends else []),
    ]


def delete(index: int) -> str:
    page = f"pfn={0x100 + index:#x} ofs={index << 12} order=0"
    return f"punch0-20 mm_filemap_delete_from_page_cache: dev 0:1 ino 5 {page}"


PUNCH = "punch0-20 fallocate: mode=0x3 off=0x0 len=0x4000"
DONE = "punch0-20 fallocate_ret: ret=0"


def test_a_sleep_on_a_folio_lock_is_behind_the_look_up() -> None:
    """The second pass found index 1 before it slept, so index 0, which came later, stays."""
    meanwhile = [*touch("host0-10", 0), *touch("host3-13", 3)]
    ends = ["host1-11 user_fault_ret: ret=0x200", delete(1), delete(3), DONE]
    slept = "punch0-20 folio_lock_slow: folio=0xffffea0000004040"
    found = outcome(*touch("host1-11", 1, ends=False), PUNCH, slept, *meanwhile, *ends)
    assert found.accepted, found.rejected_at
    late = outcome(*touch("host1-11", 1, ends=False), PUNCH, *meanwhile, slept, *ends)
    assert not late.accepted


def test_what_the_host_mapped_stays_until_somebody_needs_it_gone() -> None:
    unmap = ["punch0-20 down_write: lock=0x50", "punch0-20 trunc: mapping=0x10 lstart=0x0 lend=0x3fff"]
    taken = "punch0-20 down_read: lock=0xa0"
    again = ["host1-11 user_fault: index=0x1", "host1-11 user_fault_ret: ret=0x200"]
    ends = [delete(1), delete(2), "punch0-20 trunc_ret:", "punch0-20 up_write: lock=0x50", DONE]
    # Index 1 is touched again, so its entry was dropped in between; index 2 need not have been.
    for first in ([], [taken]):
        found = outcome(*touch("host1-11", 1), *touch("host1-11", 2), *again, PUNCH, *unmap, *first, *ends)
        assert found.accepted, found.rejected_at


def test_a_hole_ends_where_its_call_says() -> None:
    touched = [line for index in (1, 2) for line in touch("host1-11", index)]
    found = outcome(*touched, "punch0-20 fallocate: mode=0x3 off=0x1000 len=0x1000", delete(1), DONE)
    assert found.accepted, found.rejected_at


def test_a_scan_is_told_from_a_look_up_whatever_sleeps_are_between() -> None:
    """A truncation's look-up shows filemap_get before it; that it slept in between does not make it a scan."""
    get = "punch0-20 fm_get: mapping=0x10 index=0x0 fgp=0x0"
    slept = "punch0-20 folio_lock_slow: folio=0xffffea0000004040"
    truncate = ["punch0-20 down_write: lock=0x50", "punch0-20 trunc: mapping=0x10 lstart=0x0 lend=0x3fff"]
    trace = trace_of(
        *touch("host1-11", 1), PUNCH, *truncate, get, slept, slept, delete(1), "punch0-20 trunc_ret:", DONE
    )
    attempt = Attempt(How(trace, PATCHES["v3"]))
    thread = attempt.threads["punch0-20"]
    thread.truncating = True
    scans = {}
    for step in trace.threads["punch0-20"]:
        thread.future.cursor = step.number
        scans[step.kernel_name, step.number] = attempt.outcomes._is_scan(thread)
    attempt.close()
    names = [name for name, _ in scans]
    behind = names.index("fm_get") + 1
    assert list(scans.values()) == [not behind <= number < behind + 3 for number in range(len(names))]


def test_the_slot_maps_the_file_from_its_first_page() -> None:
    attempt = Attempt(How(trace_of(*touch("host1-11", 1)), PATCHES["v3"]))
    slot = next(mapping for mapping in attempt.setup.gmem.inode.mappings if mapping.label == "slot0")
    attempt.close()
    assert (slot.start, slot.pages) == (0, 4)


def test_recordings_that_need_it(beside: Path) -> None:
    path = beside / "lockcheck-7.2.13-custom" / "sh_lockcheck_mmap_h2_punch1_v2.trace.gz"
    events = takewhile(lambda event: event.line < 42_200, read_trace(path))
    metadata = json.loads(path.with_name("sh_lockcheck_mmap_h2_punch1_v2.json").read_text())
    trace = trace_from_events(events, str(path), metadata)
    result = follow(trace, PATCHES["v3"], bounds=Bounds(states=0))
    assert result.accepted, result.rejected_at
