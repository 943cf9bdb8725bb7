"""Progress of a search, for people: on stderr, and only if it is a terminal."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from .output import status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..explore.campaign import Progress

__all__ = ["one_interrupt", "watching"]

#: Seconds between two updates of the line.
_EVERY = 0.1


@contextmanager
def watching(title: str) -> Iterator[Callable[[Progress], None] | None]:
    """Gives what a campaign calls with its progress, or None if nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    with status(f"{title} …") as line:
        shown = 0.0

        def show(progress: Progress) -> None:
            nonlocal shown
            now = monotonic()
            if now - shown < _EVERY:
                return
            shown = now
            rate = progress.schedules / progress.seconds if progress.seconds else 0.0
            what = f"{progress.states:,} states" if progress.states else f"{progress.classes:,} classes"
            line.update(
                f"{title}: {progress.schedules:,} runs, {what}, {rate:,.0f}/s, depth {progress.depth:,}"
            )

        yield show


@contextmanager
def one_interrupt() -> Iterator[None]:
    """The first Ctrl-C ends what is under way, and another is not heard while what was found is shown."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
