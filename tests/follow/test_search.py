"""Where the rules' placement of unobserved steps does not fit, others are searched for, within bounds that are told."""

from __future__ import annotations

import gzip
import json
import os
import signal
import time
from contextlib import nullcontext
from itertools import takewhile
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.follow.alterations import alter

from gmemsim.engine.op import Op
from gmemsim.follow.attempt import Attempt, How
from gmemsim.follow.departing import Departing, Departure, _Taken
from gmemsim.follow.follower import follow
from gmemsim.follow.ftrace import parse_line, read_trace
from gmemsim.follow.probes import Observation
from gmemsim.follow.search import INTERRUPTED, Bounds
from gmemsim.follow.thread import Rejected
from gmemsim.follow.trace import Trace, load_trace, trace_from_events
from gmemsim.patches.registry import PATCHES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def altered(carried: Path) -> Trace:
    path = carried / "7.2.13" / "sh_mmap_h1_v2.trace.gz"
    with gzip.open(path, "rt") as file:
        lines = alter(file.readlines(), "drop a zeroing", Random("sh_mmap_h1_v2 0"))
    assert lines is not None
    metadata = json.loads((carried / "7.2.13" / "sh_mmap_h1_v2.json").read_text())
    events = (event for number, text in enumerate(lines, 1) if (event := parse_line(text, number)))
    return trace_from_events(events, str(path), metadata)


def test_a_limit_makes_undecided_and_its_end_rejected(altered: Trace) -> None:
    cut = follow(altered, PATCHES["v3"], bounds=Bounds(states=1, seconds=None, window=64))
    assert cut.verdict == "undecided"
    assert "--states" in cut.undecided
    whole = follow(altered, PATCHES["v3"], bounds=Bounds(seconds=None, window=64))
    assert whole.verdict == "rejected"
    assert whole.states > 1
    assert any("within these bounds" in note for note in whole.notes)
    assert whole.rejected_at is not None
    assert cut.rejected_at is not None
    assert whole.rejected_at.line == cut.rejected_at.line
    # What the model could have done there, and where the steps that no probe shows begin.
    assert 0 < whole.rejected_at.since < whole.rejected_at.line
    assert whole.rejected_at.reason not in whole.rejected_at.otherwise


def test_an_interrupt_ends_the_attempt_and_keeps_what_the_rules_said(
    altered: Trace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    attempts = []
    fork, wait = os.fork, os.waitpid

    def pressed(child: int) -> int:
        if child:
            attempts.append(child)
            if len(attempts) == 3:
                signal.setitimer(signal.ITIMER_REAL, 0.05)
        elif len(attempts) == 2:
            time.sleep(60)  # an attempt that takes its time
        return child

    monkeypatch.setattr("os.fork", lambda: pressed(fork()))
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        found = follow(altered, PATCHES["v3"], bounds=Bounds(seconds=None, window=64))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (found.verdict, found.undecided) == ("undecided", INTERRUPTED)
    assert found.rejected_at is not None
    with pytest.raises(ChildProcessError):
        wait(attempts[2], 0)  # it has ended, and was waited for
    assert capfd.readouterr().err == ""


def test_without_forks_it_is_the_same(altered: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = Bounds(seconds=None, window=16)
    forked = follow(altered, PATCHES["v3"], bounds=bounds)
    monkeypatch.delattr("os.fork", raising=False)
    plain = follow(altered, PATCHES["v3"], bounds=bounds)
    assert (plain.verdict, plain.states, plain.rejected_at) == (
        forked.verdict,
        forked.states,
        forked.rejected_at,
    )


def test_a_departure_places_a_step_otherwise(carried: Path) -> None:
    trace = load_trace(carried / "7.2.13" / "sh_punch1_v1.trace.gz")
    by_rule = Departing(How(trace, PATCHES["v3"]))
    assert by_rule.walk(0, 300) is None
    plain = Attempt(How(trace, PATCHES["v3"]))
    assert plain.walk(0, 300) is None
    assert plain.steps == by_rule.steps
    thread = by_rule.threads[trace.steps[300].thread]
    changed = False
    for departure in by_rule.alternatives(thread):
        other = Departing(How(trace, PATCHES["v3"]))
        other.depart([departure])
        other.walk(0, 300)
        changed = other.trail() != by_rule.trail()
        other.close()
        if changed:
            break
    assert changed
    nothing = Departing(How(trace, PATCHES["v3"]))
    nothing.depart([Departure("later", thread.name, 1 << 30, "", 1)])
    nothing.walk(0, 300)
    assert nothing.trail() == by_rule.trail()
    for attempt in (by_rule, plain, nothing):
        attempt.close()


def test_a_step_is_taken_although_the_future_asks_for_another_outcome(
    carried: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`anyway` takes it where the rules refuse."""
    trace = load_trace(carried / "7.2.13" / "sh_punch1_v1.trace.gz")
    for departs in (False, True):
        attempt = Departing(How(trace, PATCHES["v3"]))
        place = 0
        while (thread := attempt.threads[trace.steps[place].thread]).task.pending.kind in ("acquire", "call"):
            assert attempt.walk(place, place + 1) is None
            place += 1
        taken = thread.taken
        if departs:
            attempt.depart([Departure("anyway", thread.name, taken)])
        monkeypatch.setattr(attempt.outcomes, "ready", lambda thread, op: (False, "refuses"))
        monkeypatch.setattr(attempt.outcomes, "soft", lambda thread, op: False)
        monkeypatch.setattr(attempt, "advance_others", lambda thread: False)
        with nullcontext() if departs else pytest.raises(Rejected, match="refuses"):
            attempt._run(thread, trace.steps[place])
        assert thread.taken == taken + departs
        attempt.close()


def test_races_on_what_the_failing_thread_touched_come_first(carried: Path) -> None:
    """Then those of other threads on that, then all others, each the latest first."""
    trace = load_trace(carried / "7.2.13" / "sh_punch1_v1.trace.gz")
    attempt = Departing(How(trace, PATCHES["v3"]))
    failing, one, two = list(attempt.threads.values())[:3]
    log = [(failing, 0, "near"), (one, 0, "near"), (two, 0, "near"), (one, 1, "far"), (two, 1, "far")]
    for thread, taken, obj in log:
        attempt._log.append(_Taken(thread, taken, Op("store", obj, mode="w"), 0, 0, early=False))
    for thread in attempt.threads.values():
        thread.shown.append(Observation("zap"))
    found = attempt.alternatives(failing)
    attempt.close()
    kept = [(d.thread, d.taken, d.other) for d in found if d.kind == "first"]
    names = failing.name, one.name, two.name
    assert kept == [
        (names[0], 0, names[2]), (names[0], 0, names[1]), (names[1], 0, names[2]), (names[1], 1, names[2])
    ]  # fmt: skip


def test_a_recording_that_the_rules_alone_refuse(beside: Path) -> None:
    """Two conversions at once on 7.2: which kind a fault saw shows only by what came of it."""
    path = beside / "linux-7.2.13-custom" / "pv_conv2_v4.trace.gz"
    events = takewhile(lambda event: event.line < 41_200, read_trace(path))
    trace = trace_from_events(events, str(path), json.loads(path.with_name("pv_conv2_v4.json").read_text()))
    result = follow(trace, PATCHES["v3"], bounds=Bounds(seconds=None))
    assert result.accepted, result.rejected_at
    assert result.states
