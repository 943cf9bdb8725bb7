"""`gmemsim explore`: search the schedules of a scenario."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from .errors import INTERRUPTED, VIOLATION
from .output import colored, console, print_json
from .params import SECONDS, max_states, schedule_limit
from .program import describe, input_errors, make_program, program_options
from .scope import scope, scope_document
from .watching import one_interrupt, watching
from .whole import check_writable, write_whole

if TYPE_CHECKING:
    from ..explore.campaign import CampaignResult
    from ..explore.classes import Coverage
    from ..explore.lock_graph import Decided
    from ..explore.program import Program, ScenarioProgram
    from ..explore.report import FailureReport
    from ..explore.search import Found, Limits

__all__ = ["command"]

#: Seconds for making a failure small when there is no time left.
_AT_LEAST: Final = 0.5


@click.command("explore")
@click.argument("scenario")
@click.option("--patch", default="v3", show_default=True, help="Patch version, or path/to/file.py:Class.")
@click.option(
    "--strategy",
    default="auto",
    show_default=True,
    help="See `gmemsim list strategies`; `auto` looks at every state first, then samples.",
)
@max_states
@click.option(
    "--max-schedules",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="With `auto`, of the second part; `stateful` has no limit unless it is given.",
)
@click.option("--max-seconds", type=SECONDS, help="Wall-clock.")
@click.option(
    "--max-steps", type=click.IntRange(min=1), default=20_000, show_default=True, help="In one run."
)
@program_options
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes, of a random strategy; others need one.",
)
@click.option("--keep-going", is_flag=True, help="Do not stop at the first violation.")
@click.option("--shrink/--no-shrink", default=True, help="Make what was found small.  [default: shrink]")
@click.option(
    "--cycles/--no-cycles",
    default=True,
    help="Search for the deadlock of each lock cycle.  [default: cycles]",
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="The report as a page.")
@click.option(
    "--trace", type=click.Path(dir_okay=False, path_type=Path), help="The failing run for Perfetto (.json)."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    scenario: str,
    patch: str,
    strategy: str,
    max_states: int | None,
    max_schedules: int,
    max_seconds: float | None,
    max_steps: int,
    jobs: int,
    keep_going: bool,
    shrink: bool,
    cycles: bool,
    html: Path | None,
    trace: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Search the schedules of SCENARIO, a name of the library or a .toml file.

    Stops at the first violation and reports it, shrunk, with a token that `gmemsim replay` plays again. Exit code 1
    if there is one. Ctrl-C and limits end the search with what it has.
    """
    from ..explore.campaign import Campaign, run_campaign
    from ..explore.search import Limits
    from ..explore.strategies import make_strategy

    check_writable(html, trace)
    try:
        make_strategy(strategy, 0)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--strategy") from None
    ctx.with_resource(one_interrupt())
    began = monotonic()
    with input_errors():
        program = make_program(scenario, patch, **options)
        campaign = Campaign(
            program=program,
            strategy=strategy,
            seed=options["seed"],
            limits=Limits(
                schedules=schedule_limit(ctx, strategy, max_schedules),
                seconds=max_seconds,
                steps=max_steps,
                states=max_states,
            ),
            jobs=jobs,
            keep_going=keep_going,
        )
        with watching(describe(program)) as progress:
            result = run_campaign(campaign, progress)
        hurry = result.search.stopped == "interrupted"
        left = None if max_seconds is None else max(_AT_LEAST, began + max_seconds - monotonic())
        reports = _reports(program, result, shrink and not hurry, campaign.limits, left)
        late = max_seconds is not None and monotonic() - began >= max_seconds
        decided = _decide(program, result, cycles and not late and not hurry, options["seed"])
    if reports:
        _write(reports[0][1], html, trace)
    else:
        for path in (html, trace):
            if path is not None:
                click.echo(f"{path}: not written, nothing was found", err=True)
    if as_json:
        print_json(_document(program, result, reports, decided))
    else:
        _show(describe(program), result, reports, decided)
    if reports or any(each.found is not None for each in decided):
        ctx.exit(VIOLATION)
    if result.search.stopped == "interrupted":
        ctx.exit(INTERRUPTED)


def _reports(
    program: ScenarioProgram, result: CampaignResult, shrink: bool, limits: Limits, seconds: float | None
) -> list[tuple[Found, FailureReport]]:
    """A report on each failure that was found, in the order in which they were found."""
    import attrs

    from ..explore.findings.table import known
    from ..explore.report import report_failure
    from ..explore.shrink import shrink as make_small
    from ..explore.token import encode

    reports = []
    for found in result.search.found:
        small: Program = program
        shown = found
        livelock = found.failure.rule == "livelock"
        if livelock:
            # A replay meets the step limit again; that fair turns do not end it was found out once. A smaller run
            # would have to be found out about again, so it stays as it is.
            shown = attrs.evolve(found, failure=attrs.evolve(found.failure, rule="step_limit", kind=""))
        elif shrink:
            shrunk = make_small(program, found, max_steps=limits.steps, seconds=seconds)
            small, shown = shrunk.program, shrunk.found
        # In a loop that no step leaves the tape goes round a few times only, and ends there.
        token = encode(small, shown.tape, max_steps=shown.steps - 1 if livelock else limits.steps)
        report = report_failure(small, shown, token)
        if livelock:
            report = attrs.evolve(
                report, rule="livelock", verdict=found.failure.summary, known=known(found.failure)
            )
        reports.append((attrs.evolve(shown, failure=found.failure) if livelock else shown, report))
    return reports


def _decide(program: ScenarioProgram, result: CampaignResult, search: bool, seed: int) -> list[Decided]:
    """What comes of each cycle of the lock-order graph; a deadlock that was found already needs no search."""
    from ..explore.lock_graph import Decided, decide

    found = result.lock_graph.cycles()
    done = result.search
    if done.complete and not done.found:
        bound = f"{program.name}, all {done.states or done.schedules:,} {'states' if done.states else 'schedules'}"
        verdict: Literal["potential", "infeasible within the bound"] = "infeasible within the bound"
    else:
        bound, verdict = "", "potential"
    if not search or bound:
        return [
            Decided(cycle=cycle, verdict=verdict, found=None, schedules=0, bound=bound) for cycle in found
        ]
    return [decide(program, cycle, seed=seed, schedules=1_000) for cycle in found]


def _document(
    program: ScenarioProgram,
    result: CampaignResult,
    reports: list[tuple[Found, FailureReport]],
    decided: list[Decided],
) -> dict[str, Any]:
    from ..arch.registry import projection_note
    from ..explore.report.json import as_json

    done = result.search
    violation = None
    if reports:
        found, report = reports[0]
        violation = {
            "rule": found.failure.rule,
            "summary": found.failure.summary,
            "known": _ident(report),
            "replay": report.replay,
            "schedule_length": report.choices,
            "preemptions": report.preemptions,
            "found_at_schedule": found.schedule,
            "report": as_json(report),
        }
    coverage = result.coverage
    return {
        "verdict": "violation" if reports else "none",
        **scope_document(done),
        "scenario": program.scenario.name,
        "patch": program.patch,
        "arch": program.arch,
        **({"projection": note} if (note := projection_note(program.arch or "")) else {}),
        "strategy": done.strategy,
        "pruned": done.pruned,
        "unfair": done.dismissed,
        "seconds": done.seconds,
        "classes": None if coverage is None else coverage.distinct,
        "violation": violation,
        "others": [
            {
                "rule": found.failure.rule,
                "summary": found.failure.summary,
                "known": _ident(report),
                "replay": report.replay,
            }
            for found, report in reports[1:]
        ],
        "potential_cycles": [each.as_dict() for each in decided],
    }


def _ident(report: FailureReport) -> str | None:
    return None if report.known is None else report.known.ident


def _write(report: FailureReport, html: Path | None, trace: Path | None) -> None:
    import msgspec

    from ..explore.report.html import render_html
    from ..explore.report.trace_events import trace_events

    if html is not None:
        write_whole(html, render_html(report).encode())
    if trace is not None:
        write_whole(trace, msgspec.json.encode(trace_events(report)))


def _show(
    what: str, result: CampaignResult, reports: list[tuple[Found, FailureReport]], decided: list[Decided]
) -> None:
    from ..explore.report.text import render_text

    out = console()
    done = result.search
    rate = done.schedules / done.seconds if done.seconds else 0.0
    for _, report in reports:
        click.echo(render_text(report, out.width, color=colored(out)))
        click.echo("")
    lines = [f"{what}: strategy {done.strategy}, {scope(done)}"]
    pruned = f", {done.pruned:,} of them cut short" if done.pruned else ""
    lines.append(
        f"{done.schedules:,} runs{pruned} in {done.seconds:.1f} s ({rate:,.0f}/s), "
        f"up to {done.depth:,} choices each"
    )
    if done.dismissed:
        lines.append(
            f"{done.dismissed:,} runs met the step limit under unfair schedules, and end under fair ones"
        )
    if result.coverage is not None:
        lines.append(_coverage(result.coverage, done.complete))
    lines += [_cycle(each) for each in decided]
    if not reports:
        lines.insert(0, "No violation found.")
    for line in lines:
        click.echo(line)


def _coverage(coverage: Coverage, complete: bool) -> str:
    text = f"{coverage.distinct:,} classes of equivalent schedules"
    if complete or not coverage.runs:
        return text
    return (
        f"{text}; if runs were drawn at random: {coverage.seen_before:.0%} chance that the next run shows one seen "
        f"before, at least {coverage.at_least:,} classes in all"
    )


def _cycle(each: Decided) -> str:
    text = f"lock cycle {each.cycle.text()}: {each.verdict}"
    if each.found is not None:
        return f"{text} ({each.found.failure.summary})"
    return f"{text} ({each.bound})" if each.bound else f"{text} ({each.schedules:,} schedules looked for it)"
