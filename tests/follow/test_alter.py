"""Altered traces are rejected, each kind of alteration on several kernels."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.follow.alterations import ALTERATIONS, alter, alter_at, places

from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import parse_line
from gmemsim.follow.search import Bounds
from gmemsim.follow.trace import trace_from_events
from gmemsim.patches.registry import PATCHES

if TYPE_CHECKING:
    from collections.abc import Callable

TRACES = (
    ("6.18.15", "baseline", "sh_same_v2"),
    ("7.2.13", "v3", "sh_same_v2"),
    ("6.18.15", "baseline", "sh_punch1_v1"),
    ("7.2.13", "v3", "sh_punch1_v1"),
    ("7.2.13", "v3", "sh_mmap_h1_v2"),
)
SEEDS = 1
#: A narrow window keeps the test short; a wider one is for bench/follow_recordings.py.
BOUNDS = Bounds(window=8, seconds=None)


@pytest.mark.parametrize("traces", [pytest.param(TRACES, marks=pytest.mark.long, id="all"), TRACES[2:4]])
@pytest.mark.parametrize("name", sorted(ALTERATIONS))
def test_an_altered_trace_is_rejected(
    carried: Path,
    name: str,
    traces: tuple[tuple[str, str, str], ...],
    record_property: Callable[[str, object], None],
) -> None:
    altered = rejected = 0
    accepted: list[str] = []
    for release, patch, trace_name in traces:
        path = carried / release / f"{trace_name}.trace.gz"
        with gzip.open(path, "rt") as file:
            lines = file.readlines()
        metadata = json.loads((carried / release / f"{trace_name}.json").read_text())
        for seed in range(SEEDS):
            changed = alter(lines, name, Random(f"{trace_name} {seed}"))
            if changed is None:
                continue
            events = (event for number, text in enumerate(changed, 1) if (event := parse_line(text, number)))
            result = follow(trace_from_events(events, str(path), metadata), PATCHES[patch], bounds=BOUNDS)
            altered += 1
            rejected += result.verdict == "rejected"
            if result.verdict != "rejected":
                accepted.append(f"{release} {trace_name} seed {seed}")
    record_property("altered", altered)
    record_property("rejected", rejected)
    assert altered, "no trace offers a place for this alteration"
    assert not accepted, f"rejected {rejected} of {altered}"


@pytest.mark.parametrize(("release", "patch", "trace_name"), TRACES[1:4:2] + TRACES[4:])
@pytest.mark.parametrize("doubled", [True, False])
def test_one_event_doubled_or_dropped(
    carried: Path, release: str, patch: str, trace_name: str, doubled: bool
) -> None:
    """Of every probe, where the trace is still short; the rules alone refuse it."""
    path = carried / release / f"{trace_name}.trace.gz"
    with gzip.open(path, "rt") as file:
        lines = [next(file) for _ in range(900)]
    metadata = json.loads((carried / release / f"{trace_name}.json").read_text())
    accepted = []
    for name, found in places(lines, metadata).items():
        place = Random(f"{trace_name} {name} {doubled}").choice(found[: len(found) // 2] or found)
        changed = alter_at(lines, place, doubled)
        events = (event for number, text in enumerate(changed, 1) if (event := parse_line(text, number)))
        trace = trace_from_events(events, str(path), metadata)
        if follow(trace, PATCHES[patch], bounds=Bounds(states=0)).accepted:
            accepted.append(f"{name} line {place + 1}")
    assert not accepted


def test_there_are_enough_kinds() -> None:
    assert len(ALTERATIONS) >= 8
