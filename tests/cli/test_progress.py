"""Progress says how much of how much, and how long the rest may take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.cli import progress
from gmemsim.cli.progress import Counted, Searching, budgets, counted
from gmemsim.explore.campaign import Progress
from gmemsim.explore.search import Limits

if TYPE_CHECKING:
    from rich.status import Status


@pytest.fixture(autouse=True)
def _no_line_says_how_far() -> None:
    """Here they are what is looked at."""


class Clock:
    """Time as a test sets it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """The line on a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def update(self, text: str) -> None:
        self.text = text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    return clock


def screen() -> Status:
    return Screen()  # type: ignore[return-value]


def test_time_left_is_that_of_the_pieces_that_were_done_here(clock: Clock) -> None:
    line = screen()
    goal = Counted("stress", 100, line)
    goal(40)  # a campaign that goes on
    assert line.text == "stress: 40 of 100 in 0 s"  # type: ignore[attr-defined]
    clock.now = 30.0
    goal(50, "3 violations")
    assert line.text == "stress: 50 of 100 in 30 s, about 2 min left; 3 violations"  # type: ignore[attr-defined]


def test_piped_it_is_said_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with counted("conform", 10) as goal:
        for done in range(10):
            clock.now += 10.0
            goal(done)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "conform: 2 of 10 in 30 s, about 2 min left",
        "conform: 5 of 10 in 60 s, about 60 s left",
        "conform: 8 of 10 in 90 s, about 22 s left",
    ]


@pytest.mark.parametrize(
    ("limits", "states", "left"),
    [
        (Limits(schedules=None, seconds=None, states=None), 0, ""),
        (Limits(schedules=1_000, seconds=None, states=2_000), 0, "; at most 90 s left"),
        (Limits(schedules=1_000, seconds=60.0, states=None), 0, "; at most 50 s left"),
        (Limits(schedules=1_000, seconds=None, states=2_000), 500, "; at most 30 s left for states"),
        # Of a search of states, the schedules are sampled behind them.
        (Limits(schedules=1_000, seconds=60.0, states=2_000), 500, "; at most 50 s left"),
    ],
)
def test_a_search_ends_at_the_nearest_of_its_limits(
    clock: Clock, limits: Limits, states: int, left: str
) -> None:
    line = screen()
    clock.now = 10.0
    Searching("punch", limits, line)(
        Progress(schedules=100, classes=7, seconds=10.0, depth=3, states=states, phase="")
    )
    assert line.text.endswith(f"depth 3{left}")  # type: ignore[attr-defined]


def test_the_budget_of_auto_is_a_limit() -> None:
    limits = Limits(schedules=None, seconds=None, states=None)
    assert budgets(limits, "auto").states == 20_000
    assert budgets(limits, "stateful").states is None
    assert budgets(Limits(schedules=None, seconds=None, states=7), "auto").states == 7
