"""Ctrl-C, SIGTERM and time limits: all three arrive as a KeyboardInterrupt, wherever the program is.

Whoever runs something for long catches KeyboardInterrupt, keeps what it has and says why it stopped. A limit that is
only looked at between two runs does not hold when one run, a judge or a shrinker takes its time, or when a user's patch
never comes back; a timer of the system does.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TimeUp", "deadline", "deaf", "listen", "trio_listens"]

#: Seconds in which another Ctrl-C is the same one: people press it more than once.
_IMPATIENT: Final = 1.0
_last: float = -_IMPATIENT

#: Seconds until a time limit that some code has swallowed comes again.
_AGAIN: Final = 0.5


class TimeUp(KeyboardInterrupt):
    """The time that the user gave is over."""


def _interrupt(_number: int, _frame: Any) -> None:
    global _last
    before, _last = _last, monotonic()
    if _last - before < _IMPATIENT:
        return
    # Raised here, in a file of the package: a patch that raises KeyboardInterrupt by itself is told apart by that.
    raise KeyboardInterrupt


def _time_up(_number: int, _frame: Any) -> NoReturn:
    raise TimeUp


def listen() -> None:
    """SIGTERM ends a command as Ctrl-C does. Where SIGINT is ignored (a script's background job) it stays so."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)


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
    before = signal.signal(signal.SIGALRM, _time_up)
    signal.setitimer(signal.ITIMER_REAL, max(min(seconds, 1e8), 1e-6), _AGAIN if again else 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


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
