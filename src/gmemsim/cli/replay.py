"""`gmemsim replay`: the same failure again, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import VIOLATION, Command, InputError
from .output import colored, console, print_json
from .output_files import check_writable
from .params import FILE, json_option, own_operations, own_oracles, token_text
from .program import input_errors

if TYPE_CHECKING:
    from ..explore.replay import Replayed


@click.command("replay", cls=Command)
@click.argument("token")
@click.option("--patch", help="Run this version, or path/to/file.py:Class, in place of the recorded one.")
@own_oracles
@own_operations
@click.option("--follow", is_flag=True, help="Go on where the run leaves the recorded choices.")
@click.option("--log", type=FILE, help="Write the audit log (.jsonl[.zst]).")
@click.option("--html", type=FILE, help="The report as a page, if it fails.")
@click.option("--trace", type=FILE, help="The failing run for Perfetto (.json).")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    token: str,
    patch: str | None,
    oracles: tuple[str, ...],
    operations: tuple[str, ...],
    follow: bool,
    log: Path | None,
    html: Path | None,
    trace: Path | None,
    as_json: bool,
) -> None:
    """Run what TOKEN (from `gmemsim explore`, `outcomes`, …, or @FILE that holds one) says again, choice by choice.

    Says whether failure and log are those that were recorded. Exit code 1 if it fails, as it did or in
    another way; 0 if it does not; 2 if the choices do not fit any more and --follow is not given.
    """
    from ..explore.replay import replay
    from .reporting import not_written, write_report

    check_writable(log, html, trace, inputs=(token, patch or "", *oracles, *operations))
    text = token_text(token)
    with input_errors():
        done = replay(text, patch=patch, oracles=oracles, operations=operations, follow=follow)
        report = _report(done, text)
        if log is not None:
            _write_log(done, log)
    if report is not None:
        write_report(report, html, trace)
    else:
        not_written(html, trace)
    if as_json:
        print_json(_document(done, report))
    else:
        _show(done, report)
    if done.diverged and not follow:
        raise InputError(f"{done.diverged}; --follow goes on with the default choice")
    if done.failure is not None:
        ctx.exit(VIOLATION)


def _report(done: Replayed, token: str) -> Any:
    if done.attempt is None or done.failure is None:
        return None
    from ..explore.search import Found
    from ..report import report_failure

    found = Found(done.failure, done.attempt.tape, 1, done.attempt.measure.steps)
    return report_failure(done.program, found, token)


def _write_log(done: Replayed, path: Path) -> None:
    from ..audit.header import Header
    from ..audit.render import LogWriter

    program: Any = done.program
    header = Header(program.name, str(getattr(program, "patch", "")), str(getattr(program, "arch", "")), 0)
    with LogWriter(path, header) as writer:
        writer.write(list(done.entries))


def _document(done: Replayed, report: Any) -> dict[str, Any]:
    from ..report.json import as_json

    return {
        "program": done.program.name,
        "diverged": done.diverged or None,
        "same_failure": done.same_failure,
        "same_log": done.same_log,
        "notes": list(done.notes),
        "violation": None if report is None else as_json(report),
    }


def _show(done: Replayed, report: Any) -> None:
    from ..report.text import render_text

    out = console()
    if report is not None:
        click.echo(render_text(report, out.width, color=colored(out)))
        click.echo("")
    for note in done.notes:
        click.echo(note)
    if done.diverged:
        click.echo(done.diverged)
    if done.attempt is not None:
        same = "the same failure" if done.same_failure else "not what the token recorded"
        log = (
            "the log is the same, byte for byte" if done.same_log else "the log differs from the recorded one"
        )
        click.echo(
            f"Replayed: {same if done.failure else 'no violation' if done.same_failure else same}; {log}."
        )
