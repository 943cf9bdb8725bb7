"""A report on each failure of a search: made small and explained as far as time goes, and whole in any case."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import attrs
import click
import msgspec

from ..engine.interrupts import TimeUp, deadline, deaf
from ..explore.failure import slow
from ..explore.findings.table import known
from ..explore.program import leaving_out
from ..explore.shrink import shrink as make_small
from ..explore.token import encode
from ..explore.token_names import TokenError
from ..report import report_failure
from ..report.html import render_html
from ..report.nearest import TRIES
from ..report.text import render_text
from ..report.trace_events import trace_events
from .output import colored, console
from .output_files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..explore.runs import Program
    from ..explore.search import Found
    from ..report import FailureReport


class Budget:
    """The time that a command has, and whether the user has had enough.

    Args:
        seconds: from now on; None: no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else monotonic() + seconds
        self.stopped = ""

    @property
    def left(self) -> float | None:
        """Seconds; None: no limit."""
        return None if self._end is None else max(self._end - monotonic(), 0.0)

    @property
    def over(self) -> bool:
        """Nothing more is begun that can be left out."""
        if self.left == 0.0:
            self.stopped = self.stopped or "--max-seconds is over"
        return bool(self.stopped)

    def stop(self, error: KeyboardInterrupt) -> None:
        """It was interrupted, or time was up."""
        self.stopped = self.stopped or (
            "--max-seconds is over" if isinstance(error, TimeUp) else "interrupted"
        )


@attrs.frozen
class Reported:
    """One failure.

    Attributes:
        found: as it was found, or smaller.
        notes: what was left out of the report, and why.
    """

    found: Found
    report: FailureReport
    notes: tuple[str, ...]


def report_all(
    program: Program,
    found: tuple[Found, ...],
    *,
    shrink: bool,
    max_steps: int,
    budget: Budget,
    say: Callable[[str], object],
) -> list[Reported]:
    """A report on each, in the order in which they were found.

    Args:
        shrink: make each small first.
        max_steps: limit of a run in the search.
        budget: what it does not have time for is left out, and said.
        say: told what is done.
    """
    return [_report(program, each, shrink, max_steps, budget, say) for each in found]


def _report(
    program: Program,
    found: Found,
    shrink: bool,
    max_steps: int,
    budget: Budget,
    say: Callable[[str], object],
) -> Reported:
    small = program = leaving_out(program, found.without)
    shown = found
    notes: list[str] = []
    rule = found.failure.rule
    if found.failure.details.get("unjudged"):
        notes.append("interrupted before it was judged: the run may end under fair turns, and be no failure")
    if rule == "livelock":
        # A replay meets the step limit again; that fair turns do not end it was found out once. A smaller run
        # would have to be found out about again, so it stays as it is.
        shown = attrs.evolve(found, failure=attrs.evolve(found.failure, rule="step_limit", kind=""))
    elif shrink and not budget.over and not slow(found.failure):
        say(f"making {rule} small")
        try:
            with deadline(budget.left, again=False):
                shrunk = make_small(program, found, max_steps=max_steps, seconds=budget.left)
            small, shown = shrunk.program, shrunk.found
            if not shrunk.finished:
                notes.append(f"made small as far as {shrunk.attempts:,} runs went")
        except KeyboardInterrupt as error:
            budget.stop(error)
    if shrink and slow(found.failure):
        notes.append("not made small: each run takes seconds")
    elif shrink and rule != "livelock" and budget.over:
        notes.append(f"not made as small as it could be: {budget.stopped}")
    say(f"writing the report on {rule}")
    token = ""
    with deaf():
        try:
            token = encode(small, shown.tape, max_steps=max_steps)
        except TokenError as error:
            notes.append(f"no token: {error}")
    tries = 0 if budget.over else TRIES
    report: FailureReport | None = None
    try:
        with deadline(None if tries == 0 else budget.left, again=False):
            report = report_failure(small, shown, token, tries=tries)
    except KeyboardInterrupt as error:
        budget.stop(error)
    if report is None:
        with deaf():
            report = report_failure(small, shown, token, tries=0)
    if tries == 0 or budget.over:
        notes.append(f"no passing schedule was looked for: {budget.stopped}")
    if rule == "livelock":
        report = attrs.evolve(
            report, rule="livelock", verdict=found.failure.summary, known=known(found.failure)
        )
        shown = attrs.evolve(shown, failure=found.failure)
    return Reported(shown, report, tuple(notes))


def show_reports(reports: Sequence[Reported]) -> None:
    """All of them for people, each with its notes."""
    out = console()
    for each in reports:
        click.echo(render_text(each.report, out.width, color=colored(out)))
        for note in each.notes:
            click.echo(f"Note: {note}.")
        click.echo("")


def not_written(*paths: Path | None) -> None:
    """There is no failure that the files that were asked for could show."""
    for path in paths:
        if path is not None:
            click.echo(f"{path}: not written, nothing was found", err=True)


def write_report(report: FailureReport, html: Path | None, trace: Path | None) -> None:
    """The files that were asked for."""
    if html is not None:
        write_whole(html, render_html(report).encode())
    if trace is not None:
        write_whole(trace, msgspec.json.encode(trace_events(report)))
