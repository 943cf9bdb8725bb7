"""Progress, for people: on stderr, a line that changes on a terminal, else one now and then."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final

import click

from ..audit.bounded import clean
from .output import status, watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.status import Status

    from ..explore.campaign import Progress
    from ..explore.search import Limits

#: Seconds between two updates of the line on a terminal, and between two lines elsewhere.
_EVERY: Final = 0.1
_SELDOM: Final = 30.0


class _Line:
    """Where it is said, and how often."""

    def __init__(self, title: str, line: Status | None) -> None:
        self._title = title
        self._line = line
        self._every = _SELDOM if line is None else _EVERY
        self._shown = monotonic() if line is None else 0.0

    def due(self) -> bool:
        return monotonic() - self._shown >= self._every

    def tell(self, text: str) -> None:
        self._shown = monotonic()
        if self._line is None:
            click.echo(f"{self._title}: {text}", err=True)
        else:
            self._line.update(clean(f"{self._title}: {text}", 300))


class Counted(_Line):
    """What a command of many pieces calls before each: how many are done, and which one comes now."""

    def __init__(self, title: str, total: int, line: Status | None) -> None:
        super().__init__(title, line)
        self._total = total
        self._began = monotonic()
        self._from: int | None = None

    def __call__(self, done: int, doing: str = "") -> None:
        # What a stopped campaign had done before says nothing of how long the rest takes.
        self._from = done if self._from is None else self._from
        if self._line is None and not self.due():
            return
        seconds = monotonic() - self._began
        mine = done - self._from
        left = f", about {_span(seconds / mine * (self._total - done))} left" if mine else ""
        self.tell(f"{done:,} of {self._total:,} in {_span(seconds)}{left}{f'; {doing}' if doing else ''}")

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The line is away while the block prints something else."""
        if self._line is not None:
            self._line.stop()
        try:
            yield
        finally:
            if self._line is not None:
                self._line.start()


def _span(seconds: float) -> str:
    """A time as one says it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Searching(_Line):
    """What a campaign calls with its progress; `say` is for what comes after the search."""

    def __init__(self, title: str, limits: Limits | None, line: Status | None) -> None:
        super().__init__(title, line)
        self._limits = limits

    def __call__(self, progress: Progress) -> None:
        """How far the search is, of how much."""
        if not self.due() and not (progress.phase and self._line):
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
        phase = f"; {progress.phase}" if progress.phase else self._left(progress)
        self.tell(
            f"{progress.schedules:,}{many} runs in {time}, {what}, {rate:,.0f}/s, depth {progress.depth:,}{phase}"
        )

    def _left(self, progress: Progress) -> str:
        """How long until the first limit is met, at this rate; a search that is complete before ends before."""
        limits = self._limits
        if limits is None or progress.seconds < 1:
            return ""
        done = progress.seconds
        # Where states are looked at, schedules are counted only once they are sampled.
        budget, spent = (
            (limits.states, progress.states) if progress.states else (limits.schedules, progress.schedules)
        )
        work = None if budget is None or not spent else (budget - spent) * done / spent
        time = None if limits.seconds is None else limits.seconds - done
        if time is not None and (work is None or time <= work or progress.states):
            return f"; at most {_span(max(time, 0.0))} left"
        if work is None:
            return ""
        return f"; at most {_span(max(work, 0.0))} left" + (" for states" if progress.states else "")

    def say(self, text: str) -> None:
        """What goes on after the search."""
        if self._line is not None or self.due():
            self.tell(text)


@contextmanager
def searching(title: str, limits: Limits | None = None) -> Iterator[Searching]:
    """Show progress towards `limits` while the block runs."""
    with ExitStack() as stack:
        line = stack.enter_context(status(f"{title} …")) if watched() else None
        yield Searching(title, limits, line)


def budgets(limits: Limits, strategy: str) -> Limits:
    """The limits with the states that `auto` looks at unless it is told otherwise."""
    from attrs import evolve

    from ..explore.campaign import STATES
    from ..explore.strategies import AUTO

    return evolve(limits, states=STATES) if strategy == AUTO and limits.states is None else limits


@contextmanager
def counted(title: str, total: int) -> Iterator[Counted]:
    """Show how many of `total` pieces are done while the block runs, and how long the others may take."""
    with ExitStack() as stack:
        line = stack.enter_context(status(f"{title} …")) if watched() else None
        yield Counted(title, total, line)


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
