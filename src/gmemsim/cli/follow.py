"""`gmemsim follow`: is what a kernel did a run of the model?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from .errors import INPUT, INTERRUPTED, VIOLATION, Command, InputError
from .output import console, print_json
from .params import json_option
from .progress import counted

if TYPE_CHECKING:
    from ..follow.result import FollowResult, Window

#: Events of a window that are shown, at most.
_MOST_EVENTS: Final = 24
_UNKNOWN: Final = "nothing says which kernel was recorded: followed by v3 (--patch)"
_COLORS: Final = {"accepted": "green", "undecided": "yellow", "rejected": "red"}


@click.command("follow", cls=Command)
@click.argument("traces", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--patch",
    help="Patch version, or path/to/file.py:Class; default: that of each recording's kernel by its metadata, else v3.",
)
@click.option("--release", help="Kernel release around the patch; default: as the metadata says.")
@click.option(
    "--metadata",
    type=click.Path(path_type=Path),
    help="JSON that lists the probes; default: NAME.json beside NAME.trace.gz, else inferred.",
)
@click.option(
    "--conversions-from",
    type=click.Path(path_type=Path),
    help="Another recording of the same program and seed, for the ranges of conversions that were not probed.",
)
@click.option(
    "--states",
    type=click.IntRange(min=0),
    default=2000,
    show_default=True,
    help="Placements of unobserved steps to try, where the rules' own does not fit, before a trace is undecided.",
)
@click.option(
    "--max-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Time for that search, and as much for the shortest window of a rejection, for each trace.",
)
@json_option
def command(
    traces: tuple[Path, ...],
    patch: str | None,
    release: str | None,
    metadata: Path | None,
    conversions_from: Path | None,
    states: int,
    max_seconds: float,
    as_json: bool,
) -> None:
    """Drive the model along kernel ftrace text (TRACES, plain or gzip).

    A trace is accepted if the model can take its steps in its order. Steps that no probe shows are placed by rules, and
    where these do not fit by a bounded search; if none of its placements fits the trace is rejected at the first event
    that the model cannot take, with what it could have done instead and the shortest window that shows it. Exit code 1
    if any trace is rejected; 2 if one is undecided, because it does not show enough or a limit ended the search, or is
    no readable trace. Of several traces each is answered.
    """
    import attrs

    from ..actors.release import RELEASES
    from ..follow.follower import follow, stock_version_of
    from ..follow.ftrace import TraceError
    from ..follow.search import INTERRUPTED as CUT_SHORT
    from ..follow.search import Bounds
    from ..follow.trace import load_trace
    from ..patches.registry import load_patch
    from .running import patches_told, user_error

    if release is not None and release not in RELEASES:
        raise click.BadParameter(
            f"no release {release!r}; expected one of: {', '.join(RELEASES)}", param_hint="--release"
        )
    results: list[FollowResult] = []
    unreadable: dict[str, str] = {}
    interrupted = False
    try:
        if patch is not None:
            load_patch(patch)
        other = None if conversions_from is None else load_trace(conversions_from)
        with counted("follow", len(traces)) as show:
            for number, path in enumerate(traces):
                show(number, path.name)
                try:
                    trace = load_trace(path, metadata)
                    if other is not None:
                        trace.take_conversions(other)
                    name = patch or stock_version_of(trace, release)
                    with user_error(name), patches_told([name], path.name):
                        result = follow(trace, load_patch(name), release, Bounds(states, max_seconds))
                    if not (patch or release or trace.release):
                        result = attrs.evolve(result, notes=(_UNKNOWN, *result.notes))
                    results.append(result)
                except (TraceError, ValueError) as error:
                    unreadable[str(path)] = str(error)
                    continue
                if results[-1].undecided == CUT_SHORT:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        if not results:
            raise
        interrupted = True
    if as_json:
        _print_json(results, unreadable, len(traces), interrupted)
    elif results:
        _show(results, len(traces), len(unreadable), interrupted)
    _end(results, list(unreadable.values()), interrupted)


def _print_json(
    results: list[FollowResult], unreadable: dict[str, str], traces: int, interrupted: bool
) -> None:
    """One trace's document, or all of several."""
    documents = [_document(result) for result in results]
    if traces == 1:
        for document in documents:
            print_json(document)
        return
    refused = [{"trace": path, "error": error} for path, error in unreadable.items()]
    about = {"unreadable": refused, "of": traces, "interrupted": interrupted}
    print_json({"traces": documents, **about, **_totals(results)})


def _end(results: list[FollowResult], unreadable: list[str], interrupted: bool) -> None:
    """A line for each trace that was not read, or else for the first that is undecided, and the exit code."""
    for error in unreadable:
        click.echo(f"gmemsim follow: {error}", err=True)
    rejected = any(result.verdict == "rejected" for result in results)
    code = INTERRUPTED if interrupted else VIOLATION if rejected else INPUT if unreadable else 0
    if code:
        click.get_current_context().exit(code)
    for result in results:
        if result.undecided:
            raise InputError(f"{result.trace}: undecided: {result.undecided}")


def _totals(results: list[FollowResult]) -> dict[str, Any]:
    return {
        "accepted": sum(result.accepted for result in results),
        "rejected": sum(result.verdict == "rejected" for result in results),
        "undecided": sum(result.verdict == "undecided" for result in results),
        "events": sum(result.events for result in results),
    }


def _document(result: FollowResult) -> dict[str, Any]:
    at = result.rejected_at
    rejected = None
    if at is not None:
        rejected = {
            "index": at.index,
            "line": at.line,
            "event": at.event,
            "reason": at.reason,
            "thread": at.thread,
            "since_line": at.since,
            "otherwise": list(at.otherwise),
            "window": None if at.window is None else _window_document(at.window),
        }
    return {
        "trace": result.trace,
        "patch": result.patch,
        "release": result.release,
        "accepted": result.accepted,
        "verdict": result.verdict,
        "undecided": result.undecided or None,
        "events": result.events,
        "matched": result.matched,
        "steps": result.steps,
        "states": result.states,
        "rejected_at": rejected,
        "unobserved": list(result.unobserved),
        "probes_from": result.probes_from,
        "left_out": result.left_out,
        "notes": list(result.notes),
        "seconds": round(result.seconds, 3),
    }


def _window_document(window: Window) -> dict[str, Any]:
    return {
        "first_line": window.first,
        "last_line": window.last,
        "calls": window.calls,
        "threads": list(window.threads),
        "whole": window.whole,
        "events": [{"line": line, "thread": thread, "event": event} for line, thread, event in window.events],
    }


def _show_window(window: Window) -> None:
    """What a reader has to look at, the latest events of it."""
    out = console()
    what = "the trace up to it" if window.whole else "shortest window"
    calls = f"{window.calls:,} call{'' if window.calls == 1 else 's'}"
    out.print(
        f"  {what}: lines {window.first} to {window.last}, {calls} of {', '.join(window.threads)}",
        soft_wrap=True,
        markup=False,
    )
    hidden = len(window.events) - _MOST_EVENTS
    if hidden > 0:
        out.print(f"    ({hidden:,} events before; --json has them)", soft_wrap=True, markup=False)
    for line, thread, event in window.events[-_MOST_EVENTS:]:
        out.print(f"    {line}  {thread}  {event}", soft_wrap=True, markup=False)


def _show(results: list[FollowResult], traces: int, unreadable: int, interrupted: bool) -> None:
    from rich.text import Text

    out = console()
    for result in results:
        verdict = (result.verdict, _COLORS[result.verdict])
        out.print(
            Text.assemble(
                verdict,
                f"  {result.trace}: {result.matched} of {result.events} events matched by {result.steps} steps of "
                f"{result.patch} on release {result.release}",
            ),
            soft_wrap=True,
        )
        if result.undecided:
            out.print(f"  {result.undecided}", soft_wrap=True, markup=False)
        at = result.rejected_at
        if at is not None:
            out.print(f"  line {at.line}, {at.thread}, {at.event}", soft_wrap=True, markup=False)
            out.print(f"  {at.reason}", soft_wrap=True, markup=False)
            if at.since:
                out.print(
                    f"  its event before is line {at.since}; what no probe shows lies between",
                    soft_wrap=True,
                    markup=False,
                )
            for other in at.otherwise:
                out.print(f"  with other placements: {other}", soft_wrap=True, markup=False)
            if at.window is not None:
                _show_window(at.window)
    first = results[0]
    out.print(
        f"Probes read from the {first.probes_from}; not observed there: {', '.join(first.unobserved) or 'nothing'}."
    )
    for note in dict.fromkeys(note for result in results for note in result.notes):
        out.print(f"Note: {note}.")
    if interrupted:
        out.print(f"interrupted: {len(results) + unreadable} of {traces} traces")
    if traces > 1:
        totals = _totals(results)
        seconds = sum(result.seconds for result in results)
        rate = totals["events"] / max(seconds, 1e-9)
        bad = f", {unreadable} not readable" if unreadable else ""
        out.print(f"{totals['accepted']} of {len(results)} accepted{bad}; {rate:,.0f} events a second.")
