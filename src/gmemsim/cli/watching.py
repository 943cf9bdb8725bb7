"""Progress of a search, for people: on stderr, a line that changes on a terminal, else one now and then."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final

import click

from .output import status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.status import Status

    from ..explore.campaign import Progress
    from ..explore.search import Limits

__all__ = ["Watcher", "one_interrupt", "watching"]

#: Seconds between two updates of the line on a terminal, and between two lines elsewhere.
_EVERY: Final = 0.1
_SELDOM: Final = 30.0


class Watcher:
    """What a campaign calls with its progress; `say` is for what comes after the search."""

    def __init__(self, title: str, limits: Limits | None, line: Status | None) -> None:
        self._title = title
        self._limits = limits
        self._line = line
        self._every = _SELDOM if line is None else _EVERY
        self._shown = monotonic() if line is None else 0.0

    def __call__(self, progress: Progress) -> None:
        """How far the search is, of how much."""
        now = monotonic()
        if now - self._shown < self._every and not (progress.phase and self._line):
            return
        limits = self._limits
        many = f" of {limits.schedules:,}" if limits and limits.schedules is not None else ""
        time = f"{progress.seconds:,.0f} s"
        if limits and limits.seconds is not None:
            time += f" of {limits.seconds:,.0f}"
        rate = progress.schedules / progress.seconds if progress.seconds else 0.0
        what = f"{progress.classes:,} classes"
        if progress.states:
            budget = f" of {limits.states:,}" if limits and limits.states is not None else ""
            what, many = f"{progress.states:,}{budget} states", ""
        phase = f"; {progress.phase}" if progress.phase else ""
        self._tell(
            f"{progress.schedules:,}{many} runs in {time}, {what}, {rate:,.0f}/s, depth {progress.depth:,}{phase}"
        )

    def say(self, text: str) -> None:
        """What goes on after the search."""
        if self._line is not None or monotonic() - self._shown >= self._every:
            self._tell(text)

    def _tell(self, text: str) -> None:
        self._shown = monotonic()
        if self._line is None:
            click.echo(f"{self._title}: {text}", err=True)
        else:
            self._line.update(f"{self._title}: {text}")


@contextmanager
def watching(title: str, limits: Limits | None = None) -> Iterator[Watcher]:
    """Show progress towards `limits` while the block runs."""
    with ExitStack() as stack:
        line = stack.enter_context(status(f"{title} …")) if sys.stderr.isatty() else None
        yield Watcher(title, limits, line)


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
