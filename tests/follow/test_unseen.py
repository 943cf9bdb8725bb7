"""Recordings that do not show all: begun in the middle, without the slot's probes, of more files than one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from gmemsim.follow.files import geometry, scan
from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import KernelEvent, TraceError, parse_line
from gmemsim.follow.search import Bounds
from gmemsim.follow.trace import Trace, trace_from_events
from gmemsim.patches.registry import load_patch

RECORDINGS = Path(__file__).parents[1] / "lab" / "recordings"


def read(name: str) -> tuple[list[str], dict[str, object]]:
    lines = gzip.decompress((RECORDINGS / f"{name}.trace.gz").read_bytes()).decode().splitlines()
    return lines, json.loads((RECORDINGS / f"{name}.json").read_text())


def events_of(lines: list[str]) -> list[KernelEvent]:
    return [event for number, line in enumerate(lines, 1) if (event := parse_line(line, number))]


def made(lines: list[str], metadata: dict[str, object]) -> Trace:
    return trace_from_events(events_of(lines), "a.trace", metadata)


def late(name: str, line: int) -> Trace:
    """A recording as if it had begun at that line, without its start line."""
    lines, metadata = read(name)
    return made(["" if number < line else text for number, text in enumerate(lines, 1)], metadata)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("close", 32),
        ("close", 47),
        ("close_6.18", 23),
        ("close_mapped", 69),
        ("killed", 112),
        ("late_bind", 60),
    ],
)
def test_a_recording_that_begins_in_the_middle_is_not_rejected_by_its_own_version(
    name: str, line: int
) -> None:
    trace = late(name, line)
    patch = {"6.18": "baseline", "7.3": "mainline-7.3"}[trace.release or ""]
    result = follow(trace, load_patch(patch), explain=False)
    assert result.verdict != "rejected", result.rejected_at
    assert result.accepted or "no start line" in result.undecided or "nothing of" in result.undecided


def test_one_that_begins_in_the_middle_is_rejected_where_a_thread_alone_shows_another_version() -> None:
    """Each fault calls the arch hook in 7.2 and none does in 7.3, whatever was there before."""
    result = follow(late("killed_7.2", 30), load_patch("mainline-7.3"))
    assert result.verdict == "rejected"
    assert result.rejected_at is not None
    assert result.rejected_at.event.startswith("arch_prepare")


def test_without_a_start_line_the_first_gfn_is_where_index_0_would_be() -> None:
    lines, _ = read("killed")
    events = events_of(lines)
    shown = next(event for event in events if "GMEM start" in event.args)
    pages = int(shown.args.partition("pages=")[2].split()[0])
    files = scan(events)
    # From the fault on index 1 on, so that the lowest gfn is not that of index 0.
    at = next(n for n, event in enumerate(events) if event.name == "get_pfn" and "gfn=0x10001" in event.args)
    first, found = geometry(events[at:], files.mapping_of(None), alone=True)
    assert first == 0x10000
    assert found <= pages


def without_slots(metadata: dict[str, object]) -> dict[str, object]:
    probes = metadata["probes"]
    assert isinstance(probes, list)
    return {**metadata, "probes": [probe for probe in probes if "set_region" not in probe]}


def test_a_slot_that_comes_unseen_leaves_a_trace_undecided() -> None:
    lines, metadata = read("late_bind")
    seen = follow(made(lines, metadata), load_patch("mainline-7.3"))
    assert seen.accepted
    unseen = made([line for line in lines if "set_region" not in line], without_slots(metadata))
    result = follow(unseen, load_patch("mainline-7.3"))
    assert result.verdict == "undecided"
    assert "set_region" in result.undecided


def test_what_another_file_shows_is_left_out_and_what_the_followed_one_shows_is_not() -> None:
    lines, metadata = read("two_vms")
    trace = made(lines, metadata)
    assert set(trace.threads) == {"vcpu0-114"}
    assert not trace.alone
    # Insert the page of the followed file twice.
    again = next(n for n, line in enumerate(lines) if "ino ca6 " in line)
    result = follow(made([*lines[: again + 1], *lines[again:]], metadata), load_patch("mainline-7.3"))
    assert result.verdict == "rejected"


def test_the_start_line_says_which_of_two_files_is_followed() -> None:
    lines, metadata = read("two_vms")
    other = made([line.replace("ino=3238", "ino=3239") for line in lines], metadata)
    assert set(other.threads) == {"vm1.vcpu0-115", "punch-116"}
    assert follow(other, load_patch("mainline-7.3")).accepted


def test_a_start_line_of_a_file_that_does_not_show_is_named() -> None:
    lines, metadata = read("two_vms")
    with pytest.raises(TraceError, match=r"names inode 5, and the events are of inode 3238, 3239"):
        made([line.replace("ino=3238", "ino=5") for line in lines], metadata)


def test_two_recordings_in_one_file_are_refused() -> None:
    lines, metadata = read("close")
    with pytest.raises(TraceError, match="a second start line, the first is line 13"):
        made([*lines, *read("late_bind")[0]], metadata)


def test_arch_hooks_of_an_invalidation_are_known_without_metadata() -> None:
    lines, _ = read("late_bind")
    trace = made([line for line in lines if "arch_reclaim" not in line and "make_private" not in line], {})
    assert trace.gmem_prepare


def test_times_that_go_back_are_told() -> None:
    lines, metadata = read("late_bind")
    swapped = [*lines[:15], lines[16], lines[15], *lines[17:]]
    result = follow(made(swapped, metadata), load_patch("mainline-7.3"), explain=False)
    assert any("times go back at line 17" in note for note in result.notes)
    assert not any("times go back" in note for note in follow(made(lines, metadata), load_patch("v3")).notes)


def test_a_text_whose_times_go_back_is_not_rejected(carried: Path) -> None:
    """Each CPU's text behind the other's: in that order the version cannot do it, and the kernel did not."""
    path = carried / "7.2.13" / "sh_same_v2.trace.gz"
    with gzip.open(path, "rt") as file:
        lines = file.readlines()
    lines.sort(key=lambda line: "" if line.startswith("#") else line.partition("[")[2][:3])
    metadata = json.loads(path.with_name("sh_same_v2.json").read_text())
    result = follow(made(lines, metadata), load_patch("v3"), explain=False)
    assert result.verdict == "undecided"
    assert "not in the order in which things happened, as times go back at line" in result.undecided


def test_a_deletion_that_returns_before_a_fault_that_was_under_way_is_over_is_not_accepted() -> None:
    """Its grace period ends behind the last fault that had begun before; the search has to leave it asleep."""
    lines, metadata = read("close_unbound_6.18")
    at = next(n for n, line in enumerate(lines) if "set_region_ret" in line)
    lines.insert(at - 3, lines.pop(at))
    bounds = Bounds(states=40, seconds=None, window=64)
    result = follow(made(lines, metadata), load_patch("baseline"), bounds=bounds, explain=False)
    assert not result.accepted


def test_a_hole_whose_entry_is_missing_is_no_deletion_of_a_slot(carried: Path) -> None:
    """The hook lies between the invalidation's start and its return there; without the slot's probes it is rejected."""
    path = carried / "7.2.13" / "sh_punch1_v1.trace.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()[:2500]
    metadata = json.loads(path.with_name("sh_punch1_v1.json").read_text())
    last = max(number for number, line in enumerate(lines) if " fallocate: " in line)
    bounds = Bounds(states=200, seconds=None, window=32)
    trace = made(lines[:last] + lines[last + 1 :], metadata)
    result = follow(trace, load_patch("v3"), bounds=bounds, explain=False)
    assert result.verdict == "rejected", result.undecided
