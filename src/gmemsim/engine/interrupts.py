"""Ctrl-C, SIGTERM and time limits: all three arrive as a KeyboardInterrupt, wherever the program is.

Whoever runs something for long catches KeyboardInterrupt, keeps what it has and says why it stopped. A limit that is
only looked at between two runs does not hold when one run, a judge or a shrinker takes its time, or when a user's patch
never comes back; a timer of the system does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from .engine import Engine

_LOOPS: Final = str(Path(__file__).with_name("bare.py"))

#: Seconds in which another Ctrl-C is the same one: people press it more than once.
_IMPATIENT: Final = 1.0
_last: float = -_IMPATIENT

#: Seconds until a time limit that some code has swallowed comes again.
_AGAIN: Final = 0.5

#: Seconds until an interrupt that came where exceptions are lost comes again.
_SOON: Final = 0.01


class TimeUp(KeyboardInterrupt):
    """The time that the user gave is over.

    Attributes:
        seconds: of the `deadline` that it came from.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds


class NoStep(Exception):
    """Code of the model, or a user's patch, does not come back: no step ended for some seconds of CPU time."""


def _interrupt(_number: int, _frame: Any) -> None:
    global _last
    before, _last = _last, monotonic()
    if _last - before < _IMPATIENT:
        return
    # Raised here, in a file of the package: a patch that raises KeyboardInterrupt by itself is told apart by that.
    raise KeyboardInterrupt


class _Deadline:
    """One that is under way: its seconds, when it is due next, and whether it comes again."""

    def __init__(self, seconds: float, again: bool) -> None:
        self.seconds = seconds
        self.due = monotonic() + max(min(seconds, 1e8), 1e-6)
        self.again = again


#: Those that are under way, the innermost last.
_deadlines: list[_Deadline] = []


def _time_up(_number: int, _frame: Any) -> None:
    now = monotonic()
    over = next((each for each in _deadlines if each.due <= now), None)
    if over is not None:
        over.due = now + _AGAIN if over.again else float("inf")
    _arm()
    if over is not None:
        raise TimeUp(over.seconds)


def _arm() -> None:
    """Set the timer for the deadline that is due first."""
    first = min((each.due for each in _deadlines), default=float("inf"))
    left = 0.0 if first == float("inf") else max(first - monotonic(), 1e-6)
    signal.setitimer(signal.ITIMER_REAL, left)


def listen() -> None:
    """SIGTERM ends a command as Ctrl-C does. Where SIGINT is ignored (a script's background job) it stays so."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    sys.unraisablehook = _lost


def _lost(found: sys.UnraisableHookArgs) -> None:
    """What a callback of the collector or a finalizer raises is lost: what came in one of them comes again after it."""
    global _last  # noqa: PLW0603 # there is one keyboard
    if isinstance(found.exc_value, TimeUp):
        for each in _deadlines:
            if each.seconds == found.exc_value.seconds:
                each.due = monotonic() + _SOON
        _arm()
    elif isinstance(found.exc_value, KeyboardInterrupt):
        _last = -_IMPATIENT
        # Not SIGINT, which may be ignored; both mean the same here.
        threading.Timer(_SOON, os.kill, (os.getpid(), signal.SIGTERM)).start()
    elif not isinstance(found.exc_value, NoStep):  # which looks again by itself
        sys.__unraisablehook__(found)


@contextmanager
def trio_listens() -> Iterator[None]:
    """Around `trio.run`: Ctrl-C is Trio's, which raises it in a task and never in its own loop; SIGTERM becomes one.

    Trio takes SIGINT over only where Python's own handler is installed.
    """
    mine = signal.getsignal(signal.SIGINT) is _interrupt
    if not mine or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _interrupt)
        signal.signal(signal.SIGTERM, before)


@contextmanager
def deadline(seconds: float | None, *, again: bool = True) -> Iterator[None]:
    """Raise `TimeUp` in the block after so many seconds; with `again` until the block is left.

    Only in the main thread of a system that has timers; elsewhere the limits that are looked at between runs remain.
    """
    main = threading.current_thread() is threading.main_thread()
    if seconds is None or not main or not hasattr(signal, "setitimer"):
        yield
        return
    mine = _Deadline(seconds, again)
    before = signal.signal(signal.SIGALRM, _time_up)
    try:  # the time may be up as soon as the timer is set
        _deadlines.append(mine)
        _arm()
        yield
    finally:
        _deadlines.remove(mine)
        signal.signal(signal.SIGALRM, before)
        _arm()


def heard(stop: KeyboardInterrupt) -> None:
    """Who ends because `stop` says so is not told again: a time limit that comes back would look like Ctrl-C."""
    if isinstance(stop, TimeUp):
        for each in _deadlines:
            if each.seconds == stop.seconds:
                each.due = float("inf")
        _arm()


@contextmanager
def steps_end(engine: Engine, seconds: float = 5.0) -> Iterator[None]:
    """Raise `NoStep` in the block when no step of the run ended between two looks, `seconds` of CPU time apart.

    Only in the main thread of a system that has timers.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer"):
        yield
        return
    last = -1

    def look(_number: int, frame: FrameType | None) -> None:
        nonlocal last
        steps = engine.steps
        while frame is not None:
            # The loops of the runtime count in a variable.
            if frame.f_code.co_filename == _LOOPS and "steps" in frame.f_code.co_varnames:
                steps = frame.f_locals["steps"]
                break
            frame = frame.f_back
        if steps == last:
            raise NoStep(f"no step ended in {seconds:g} s of CPU time: the code does not come back")
        last = steps

    before = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def deaf() -> Iterator[None]:
    """Neither Ctrl-C nor a timer is needed while we stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGALRM] if hasattr(signal, "SIGALRM") else [])]
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
