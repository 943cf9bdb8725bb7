"""The nearest passing schedule passes, and differs from the failing one where the report says."""

from __future__ import annotations

import pytest
from tests.report.cases import CASES
from tests.report.reports import found, report

from gmemsim.engine.strategy import ReplayStrategy
from gmemsim.engine.tape import Tape
from gmemsim.report import report_failure
from gmemsim.report.nearest import changes
from gmemsim.report.recording import record


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_passes(name: str) -> None:
    """Replayed strictly, it ends well; up to the choice it is the failing tape, and there it differs."""
    program, one = found(name)
    nearest = report(name).nearest
    assert nearest is not None
    passing = record(program, ReplayStrategy(Tape(nearest.tape)), 20_000)
    assert passing.failure is None
    assert len(passing.steps) == nearest.steps
    raw = one.tape.raw
    at = nearest.position
    assert list(nearest.tape[:at]) == raw[:at]
    assert raw[at] == (nearest.task, nearest.call, nearest.label, nearest.was, nearest.bound)
    assert nearest.tape[at] == (nearest.task, nearest.call, nearest.label, nearest.now, nearest.bound)
    assert nearest.was != nearest.now


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_ran_instead(name: str) -> None:
    """The steps before are the same in both runs; the step that the choice decides about is not."""
    program, _ = found(name)
    made = report(name)
    nearest = made.nearest
    assert nearest is not None
    passing = record(program, ReplayStrategy(Tape(nearest.tape)), 20_000)
    before = nearest.step - 1
    first = [(step.task, step.op, step.call) for step in made.steps[:before]]
    assert first == [(step.task, step.op, step.call) for step in passing.steps[:before]]
    if nearest.label == "sched":
        assert nearest.failing.task == made.steps[before].task
        assert nearest.passing.task == passing.steps[before].task
        assert nearest.failing.task != nearest.passing.task


def test_order_of_changes() -> None:
    """Stops are taken back first, the last one first; then other answers; then without what followed."""
    raw = [("a", 1, "sched", 1, 3), ("b", 1, "sched", 0, 2), ("b", 1, "fault", 1, 2)]
    assert list(changes(raw)) == [
        (2, 0, True),
        (0, 0, True),
        (1, 1, True),
        (0, 2, True),
        (2, 0, False),
        (0, 0, False),
        (1, 1, False),
        (0, 2, False),
    ]


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not looked for, and given up: the report says how many runs were tried."""
    program, one = found("recheck")
    made = report_failure(program, one, tries=0)
    assert (made.nearest, made.tried) == (None, 0)
    made = report_failure(program, one, tries=5)
    assert (made.nearest, made.tried) == (None, 5)
    monkeypatch.setattr("gmemsim.report.nearest.BUDGET", 60)
    made = report_failure(program, one)
    assert (made.nearest, made.tried) == (None, 2)


def test_a_time_out_of_a_lock_is_tried_last() -> None:
    raw = [("a", 1, "sched", 1, 2), ("a", 1, "rwsem.deadline", 1, 2)]
    assert [(position, answer) for position, answer, _ in changes(raw)][:2] == [(0, 0), (1, 0)]
