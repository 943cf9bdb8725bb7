"""A rejection says which end of the trace shows it: followed alone it is refused there, and less of it is not."""

from __future__ import annotations

import gzip
import json
from random import Random
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from tests.follow.alterations import alter

from gmemsim.cli.follow import command
from gmemsim.follow.calls import calls_of
from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import parse_line
from gmemsim.follow.search import Bounds
from gmemsim.follow.trace import trace_from_events
from gmemsim.follow.window import _least
from gmemsim.patches.registry import load_patch

if TYPE_CHECKING:
    from pathlib import Path

    from gmemsim.follow.result import Rejection, Window
    from gmemsim.follow.trace import Trace

FEW = Bounds(states=60, seconds=None, window=32)


class Altered:
    """A recording with one alteration, followed."""

    def __init__(self, carried: Path, name: str, kind: str, seed: int = 0) -> None:
        with gzip.open(carried / "7.2.13" / f"{name}.trace.gz", "rt") as file:
            lines = alter(file.readlines(), kind, Random(f"{name} {seed}"))
        assert lines is not None
        self.lines = lines
        self.metadata = json.loads((carried / "7.2.13" / f"{name}.json").read_text())
        self.trace = self.parse(range(1, len(lines) + 1))
        found = follow(self.trace, load_patch("v3"), bounds=FEW)
        assert found.verdict == "rejected"
        assert found.rejected_at is not None
        assert found.rejected_at.window is not None
        self.at: Rejection = found.rejected_at
        self.window: Window = found.rejected_at.window

    def parse(self, numbers: range | list[int]) -> Trace:
        """Of these lines, and the marker at the beginning."""
        events = [e for n, line in enumerate(self.lines, 1) if (e := parse_line(line, n))]
        mark = next(e for e in events if "GMEM start" in e.args)
        chosen = set(numbers) | {mark.line}
        return trace_from_events((e for e in events if e.line in chosen), "altered", self.metadata)

    def alone(self, numbers: list[int]) -> Rejection | None:
        return follow(self.parse(numbers), load_patch("v3"), bounds=FEW).rejected_at

    def first_call_dropped(self) -> list[int]:
        """The window's lines but for the call that is over first."""
        steps = self.trace.threads
        over = []
        inside = {line for line, _, _ in self.window.events}
        for thread in self.window.threads:
            for call in calls_of(self.trace, thread)[0]:
                lines = {step.line for step in steps[thread][call.first : call.last + 1]}
                if lines <= inside and max(lines) < self.at.line:
                    over.append((max(lines), lines))
        assert over
        return sorted(inside - min(over)[1])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sh_mmap_h1_v2", "drop a zeroing"),
        ("sh_mmap_h1_v2", "double a zeroing"),
        ("sh_mmap_h1_v2", "swap uptodate with the next step"),
        ("sh_mmap_h1_v2", "insertion fails"),
    ],
)
def test_what_is_wrong_within_a_call_shows_in_that_call_alone(carried: Path, name: str, kind: str) -> None:
    altered = Altered(carried, name, kind)
    assert altered.window.calls == 1
    assert not altered.window.whole
    thread = altered.trace.threads[altered.at.thread]
    call = next(
        c for c in calls_of(altered.trace, altered.at.thread)[0]
        if thread[c.first].line <= altered.at.line <= thread[c.last].line
    )  # fmt: skip
    lines = [s.line for s in thread[call.first : call.last + 1] if s.line <= altered.at.line]
    assert [line for line, _, _ in altered.window.events] == lines
    alone = altered.alone(lines)
    assert alone is not None
    assert (alone.line, alone.reason) == (altered.at.line, altered.at.reason)


def test_a_window_reaches_back_to_what_it_needs_and_no_further(carried: Path) -> None:
    altered = Altered(carried, "sh_punch1_v1", "another frame", seed=7)
    step = next(s for s in altered.trace.steps if s.line == altered.at.line)
    index = step.observation.a
    inserted = max(
        s.line
        for s in altered.trace.steps
        if s.name == "page_cache_add" and s.observation.a == index and s.line < altered.at.line
    )
    lines = [line for line, _, _ in altered.window.events]
    assert inserted in lines
    assert altered.window.first <= inserted
    assert altered.window.calls > 1
    # Without its first call the page can have been any before.
    short = altered.alone(altered.first_call_dropped())
    assert short is None or (short.line, short.reason) != (altered.at.line, altered.at.reason)


def test_evidence_behind_the_event_is_in_the_window(carried: Path) -> None:
    altered = Altered(carried, "sh_mmap_h1_v2", "drop an insertion")
    assert altered.window.first <= altered.at.line < altered.window.last
    assert altered.window.calls == 1


def test_the_answer_shows_the_window(carried: Path, tmp_path: Path) -> None:
    altered = Altered(carried, "sh_same_v2", "double a zeroing")
    path = tmp_path / "altered.trace"
    path.write_text("".join(altered.lines))
    (tmp_path / "altered.json").write_text(json.dumps(altered.metadata))
    told = CliRunner().invoke(command, [str(path), "--patch", "v3", "--json"])
    assert told.exit_code == 1
    window = json.loads(told.stdout)["rejected_at"]["window"]
    assert (window["first_line"], window["last_line"]) == (altered.window.first, altered.window.last)
    assert [event["line"] for event in window["events"]] == [line for line, _, _ in altered.window.events]
    shown = CliRunner().invoke(command, [str(path), "--patch", "v3"])
    assert (
        f"shortest window: lines {altered.window.first} to {altered.window.last}, 1 call of" in shown.stdout
    )
    for _, thread, event in altered.window.events:
        assert f"{thread}  {event}" in shown.stdout


@pytest.mark.parametrize("least", range(9))
def test_the_least_is_found(least: int) -> None:
    assert _least(0, 7, lambda number: number >= least) == (least if least <= 7 else None)
