"""The release of the file: by whoever drops the last reference, to the last index, and nothing maps it behind."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.follow.alterations import alter_at, in_time, places

from gmemsim.follow.calls import calls_of
from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import KernelEvent, parse_line
from gmemsim.follow.release_events import Releases
from gmemsim.follow.search import Bounds
from gmemsim.follow.trace import trace_from_events
from gmemsim.patches.registry import load_patch

if TYPE_CHECKING:
    from gmemsim.follow.result import FollowResult
    from gmemsim.follow.trace import Trace

RECORDINGS = Path(__file__).parents[1] / "lab" / "recordings"
ENOUGH = Bounds(seconds=None, window=32)
#: So few that an altered trace may stay undecided: what is asked is that none is accepted.
FEW = Bounds(states=6, seconds=None, window=32)


def read(name: str) -> tuple[list[str], dict[str, object]]:
    with gzip.open(RECORDINGS / f"{name}.trace.gz", "rt") as file:
        lines = file.readlines()
    return lines, json.loads((RECORDINGS / f"{name}.json").read_text())


def parse(lines: list[str], metadata: dict[str, object]) -> Trace:
    events = (event for number, line in enumerate(lines, 1) if (event := parse_line(line, number)))
    return trace_from_events(events, "changed", metadata)


def followed(lines: list[str], metadata: dict[str, object], bounds: Bounds = FEW) -> FollowResult:
    return follow(parse(lines, metadata), load_patch("mainline-7.3"), bounds=bounds)


def test_a_vcpu_whose_fault_had_the_last_reference_releases_the_file() -> None:
    trace = parse(*read("close_by_vcpu"))
    found = {
        call.kind: thread.partition("-")[0] for thread in trace.threads for call in calls_of(trace, thread)[0]
    }
    assert found == {"fault": "vcpu0", "release": "vcpu0"}


@pytest.mark.parametrize("name", ["close", "close_by_vcpu", "close_empty"])
def test_no_event_of_a_release_can_be_doubled_or_dropped(name: str) -> None:
    lines, metadata = read(name)
    trace = parse(lines, metadata)
    ours = {step.line - 1 for step in trace.steps if step.position in trace.releases.ours}
    last = {steps[-1].line - 1 for steps in trace.threads.values()}
    tried = 0
    for found in places(lines, metadata).values():
        for place in found:
            for doubled in (True, False):
                # Without its last event a thread is one whose recording ended before.
                if place in ours and (doubled or place not in last):
                    tried += 1
                    result = followed(alter_at(lines, place, doubled), metadata)
                    assert result.verdict != "accepted", (doubled, lines[place], result.notes)
    assert tried >= 2 * len(ours) - 1


def test_a_fault_that_is_given_memory_behind_the_release_is_rejected() -> None:
    lines, metadata = read("close")
    released = next(number for number, line in enumerate(lines) if " inv_start2: " in line)
    fault = [line for line in lines[:released] if "vcpu0" in line]
    behind = in_time([*lines[:-8], *fault, lines[-1]])
    result = followed(behind, metadata, ENOUGH)
    assert result.verdict == "rejected"
    assert result.rejected_at is not None
    assert result.rejected_at.line > len(lines) - 8


def test_a_file_that_somebody_faults_on_later_is_not_released() -> None:
    lines, metadata = read("close_mapped")
    released = next(number for number, line in enumerate(lines) if " inv_start2: " in line)
    begins = next(number for number, line in enumerate(lines) if " user_fault: " in line)
    ends = next(number for number, line in enumerate(lines[begins:], begins) if " folio_unlock: " in line)
    early = in_time(
        [*lines[:begins], *lines[released : len(lines) - 1], *lines[begins : ends + 1], lines[-1]]
    )
    result = followed(early, metadata, ENOUGH)
    assert result.verdict == "rejected"
    assert result.rejected_at is not None
    assert "still mapped" in result.rejected_at.reason


def test_the_release_of_another_file_is_left_out() -> None:
    lines, metadata = read("close")
    release = [line for line in lines if "vmm-" in line]
    others = [
        line.replace("ino d2f", "ino abc").replace("mapping=0xffff8880075dc638", "mapping=0xffff888001111111")
        for line in release
    ]
    first = next(number for number, line in enumerate(lines) if "vmm-" in line)
    trace = parse([*lines[:first], *others, *lines[first:]], metadata)
    assert len(trace.releases.others) == len(others)
    result = follow(trace, load_patch("mainline-7.3"), bounds=FEW)
    assert result.accepted, result.rejected_at
    assert result.left_out["inv_start2 (other file)"] == 1


def test_the_index_at_which_a_truncation_without_end_looks_last_is_that_of_the_release() -> None:
    lines, metadata = read("close")
    changed = [line.replace("index=0xfffffffffffff ", "index=0xffffffffffffffff ") for line in lines]
    assert changed != lines
    assert followed(changed, metadata, ENOUGH).verdict == "rejected"
    old = {**metadata, "uname": "Linux x 6.18.15"}
    result = follow(parse(changed, old), load_patch("mainline-7.3"), bounds=FEW)
    # The release decides it, not the version: that look-up is taken, whatever else 6.18 does otherwise.
    assert result.accepted or (result.rejected_at is not None and "0xffff" not in result.rejected_at.reason)


def test_a_release_that_names_no_file_can_be_of_another() -> None:
    lines, metadata = read("close_empty")
    mark = next(number for number, line in enumerate(lines) if "GMEM start" in line)
    release = [line for line in lines if "vmm-" in line]
    # Of a file in no slot: nothing is invalidated. The followed file's slot would show.
    unbound = [line for line in release if not any(name in line for name in ("mmu_inv", "unmap", "arch_inv"))]
    assert len(unbound) < len(release)
    trace = parse([*lines[: mark + 1], *unbound, lines[-1]], metadata)
    assert trace.releases.unnamed
    result = follow(trace, load_patch("mainline-7.3"), bounds=FEW)
    assert result.verdict == "undecided"
    assert "nothing of guest_memfd" in result.undecided
    assert any("of another one" in note for note in result.notes)


def test_the_deletion_of_another_slot_shows_nothing_of_the_file() -> None:
    lines, metadata = read("close")
    probes = metadata["probes"]
    assert isinstance(probes, list)
    metadata = {**metadata, "probes": [*probes, "PROBE set_region kvm_set_memory_region ok"]}
    metadata["probes"] = [*metadata["probes"], "RET set_region_ret kvm_set_memory_region ok"]  # type: ignore[misc]
    head = "             vmm-117     [002] .....    14.033800: "
    ioctl = "(kvm_set_memory_region+0x0/0x620 [kvm])"
    back = "(kvm_vm_ioctl+0x10ba/0x1980 [kvm] <- kvm_set_memory_region)"
    shown = [
        f"set_region: {ioctl} slot=0 gpa=0x10000000 size=0x1000 offset=0x0",
        f"set_region_ret: {back} ret=-22",
        f"set_region: {ioctl} slot=3 gpa=0x0 size=0x0 offset=0x0",
        "arch_inv_range: (kvm_arch_gmem_invalidate_range+0x4/0x10 [kvm])",
        f"set_region_ret: {back} ret=0",
    ]
    mark = next(number for number, line in enumerate(lines) if "GMEM start" in line)
    trace = parse([*lines[: mark + 1], *(f"{head}{text}\n" for text in shown), *lines[mark + 1 :]], metadata)
    assert trace.ignored["arch_inv_range (other slot)"] == 1
    result = follow(trace, load_patch("mainline-7.3"), bounds=FEW)
    assert result.accepted, result.rejected_at


@pytest.mark.parametrize(("end", "release"), [("0xffffffffffffffff", True), ("-1", True), ("0x8", False)])
def test_only_a_whole_invalidation_or_truncation_is_a_release(end: str, release: bool) -> None:
    """Where fallocate is not probed, a hole at the file's beginning is none."""
    steps = [("inv_start", f"start=0x0 end={end}"), ("trunc", f"mapping=0x1 lstart=0x0 lend={end}")]
    for name, args in steps:
        assert Releases([KernelEvent(1, 1, "vmm-1", name, args)]).ours == ({0} if release else set())
