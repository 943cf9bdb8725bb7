"""Timers that watch over a run are gone after it, whatever the run came to."""

from __future__ import annotations

import signal
from contextlib import suppress
from time import monotonic

import pytest

from gmemsim.engine.engine import Engine
from gmemsim.engine.interrupts import NoStep, TimeUp, deadline, heard, steps_end


@pytest.mark.parametrize("error", [None, NoStep, KeyboardInterrupt])
def test_a_watch_over_steps_leaves_no_timer(error: type[BaseException] | None) -> None:
    before = signal.getsignal(signal.SIGPROF)
    with suppress(NoStep, KeyboardInterrupt), steps_end(Engine(), 1000):
        assert signal.getitimer(signal.ITIMER_PROF)[0] > 0
        if error is not None:
            raise error
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    assert signal.getsignal(signal.SIGPROF) is before


def test_a_deadline_leaves_the_one_around_it() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with deadline(2000):
        with deadline(1000):
            assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1000
        assert 1000 < signal.getitimer(signal.ITIMER_REAL)[0] <= 2000
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_limit_that_was_heard_does_not_come_again() -> None:
    """Another would come half a second later, where nobody ends anything any more."""
    with deadline(0.01):
        with pytest.raises(TimeUp) as told:
            _turn(10.0)
        heard(told.value)
        _turn(0.7)


def _turn(seconds: float) -> None:
    end = monotonic() + seconds
    while monotonic() < end:
        pass
