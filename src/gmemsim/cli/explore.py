"""`gmemsim explore`: search the schedules of a scenario."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ..explore.scope import nothing_ran, scope, scope_document
from .errors import INTERRUPTED, UNDECIDED, VIOLATION, Command, InputError
from .output import print_json, say
from .output_files import check_writable
from .params import COUNT, FILE, SECONDS, json_option, known_strategy, max_states, schedule_limit, search_jobs
from .program import describe, input_errors, make_program, program_options
from .progress import budgets, one_interrupt, searching

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..explore.campaign import CampaignResult
    from ..explore.classes import Coverage
    from ..explore.lock_graph import Decided
    from ..explore.program import ScenarioProgram
    from ..report import FailureReport
    from .reporting import Budget, Reported


@click.command("explore", cls=Command)
@click.argument("scenario")
@click.option("--patch", default="v3", show_default=True, help="Patch version, or path/to/file.py:Class.")
@click.option(
    "--strategy",
    default="auto",
    show_default=True,
    callback=known_strategy,
    help="See `gmemsim list strategies`; `auto` looks at every state first, then samples.",
)
@max_states
@click.option(
    "--max-schedules",
    type=COUNT,
    default=10_000,
    show_default=True,
    help="With `auto`, of the second part; `stateful` has no limit unless it is given.",
)
@click.option("--max-seconds", type=SECONDS, help="Wall-clock.")
@click.option(
    "--max-steps", type=click.IntRange(1, 1 << 22), default=20_000, show_default=True, help="In one run."
)
@program_options
@search_jobs
@click.option(
    "--keep-going", is_flag=True, help="Do not stop at the first violation; each kind is reported once."
)
@click.option("--shrink/--no-shrink", default=True, help="Make what was found small.  [default: shrink]")
@click.option(
    "--cycles/--no-cycles",
    default=True,
    help="Search for the deadlock of each lock cycle.  [default: cycles]",
)
@click.option("--html", type=FILE, help="The first report as a page.")
@click.option("--trace", type=FILE, help="Its failing run for Perfetto (.json).")
@click.option(
    "--against",
    metavar="PATCH",
    help="Search this version too; report only failures that it does not have, and those that --patch mends.",
)
@json_option
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
    against: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Search the schedules of SCENARIO, a name of the library or a .toml file.

    Stops at the first violation and reports it, shrunk, with a token that `gmemsim replay` plays again. Exit code 1
    if there is one, 2 if not one run came to its end. Ctrl-C and limits end the search with what it has. With --against
    both searches go on to the end, no lock cycles are looked for, and the exit code is 1 only if --patch has a failure
    of its own.
    """
    from ..engine.interrupts import deadline, deaf
    from ..explore.campaign import LATE, Campaign
    from ..explore.past_choices import run_past_choices
    from ..explore.search import Limits
    from ..jobs.workers import WorkerKilled
    from .against import explore_against
    from .reporting import Budget, report_all

    check_writable(html, trace, inputs=(scenario, patch, against or patch))
    ctx.with_resource(one_interrupt())
    limits = Limits(
        schedules=schedule_limit(ctx, strategy, max_schedules),
        seconds=max_seconds,
        steps=max_steps,
        states=max_states,
    )
    with input_errors():
        program = make_program(scenario, patch, **options)
        campaign = Campaign(
            program=program,
            strategy=strategy,
            seed=options["seed"],
            limits=limits,
            jobs=jobs,
            keep_going=keep_going,
        )
        if against is not None:
            base = make_program(scenario, against, **options)
            reports, code = explore_against(
                campaign, base, shrink=shrink, max_steps=max_steps, as_json=as_json
            )
            with deaf():
                _write(reports, html, trace)
            ctx.exit(code)
        budget = Budget(max_seconds)
        with searching(describe(program), budgets(limits, strategy)) as watcher:
            with deadline(None if max_seconds is None else max_seconds + LATE):
                result = run_past_choices(campaign, watcher)
            if result.search.stopped == "interrupted":
                budget.stopped = "interrupted"
            report = partial(
                report_all, program, shrink=shrink, max_steps=max_steps, budget=budget, say=watcher.say
            )
            reports = report(result.search.found)
            decided = _decide(program, result, cycles, options["seed"], budget, watcher.say)
            # Deadlocks that only those who looked for them came to are violations like the others.
            reports += report(
                tuple(each.found for each in decided if each.found and not _known(each, result))
            )
    with deaf():
        _write(reports, html, trace)
        if as_json:
            print_json(_document(program, result, reports, decided))
        else:
            _show(describe(program), result, reports, decided)
    if reports:
        ctx.exit(VIOLATION)
    if budget.stopped == "interrupted":
        ctx.exit(INTERRUPTED)
    if result.search.stopped == "worker":
        raise InputError(f"{WorkerKilled()}; {result.search.schedules:,} schedules were run before that")
    if nothing_ran(result.search):
        ctx.exit(UNDECIDED)


def _known(decided: Decided, result: CampaignResult) -> bool:
    """Whether the deadlock of a cycle is one that the search found by itself."""
    return any(decided.found is one for one in result.search.found)


def _decide(
    program: ScenarioProgram,
    result: CampaignResult,
    search: bool,
    seed: int,
    budget: Budget,
    say: Callable[[str], object],
) -> list[Decided]:
    """What comes of each cycle of the lock-order graph; a deadlock that was found already needs no search."""
    from ..engine.interrupts import deadline
    from ..explore.lock_graph import Decided, decide, is_it

    cycles = result.lock_graph.cycles()
    done = result.search
    # Within a bound on schedules the deadlock may lie behind it, and those who look for it are not bound.
    if done.complete and not done.found and not done.bound:
        bound = f"{program.name}, all {done.states or done.schedules:,} {'states' if done.states else 'schedules'}"
        return [
            Decided(cycle=cycle, verdict="infeasible within the bound", found=None, schedules=0, bound=bound)
            for cycle in cycles
        ]
    decided = []
    for number, cycle in enumerate(cycles, 1):
        one = next(
            (
                Decided(cycle=cycle, verdict="witnessed", found=found, schedules=found.schedule, bound="")
                for found in done.found
                if is_it(found.failure, cycle)
            ),
            None,
        )
        if one is None and search and not budget.over:
            say(f"looking for the deadlock of lock cycle {number} of {len(cycles)}")
            try:
                with deadline(budget.left, again=False):
                    one = decide(program, cycle, seed=seed, schedules=1_000)
            except KeyboardInterrupt as error:
                budget.stop(error)
            if one is not None and one.interrupted:
                budget.stopped = budget.stopped or one.interrupted
        # Nobody looked, or somebody had begun to: that is said, since "potential" alone would claim a search.
        decided.append(
            one
            or Decided(
                cycle=cycle,
                verdict="potential",
                found=None,
                schedules=0,
                bound="",
                interrupted=budget.stopped,
            )
        )
    return decided


def _document(
    program: ScenarioProgram,
    result: CampaignResult,
    reports: list[Reported],
    decided: list[Decided],
) -> dict[str, Any]:
    from ..arch.registry import projection_note
    from ..oracles.every_rule import EVERY_RULE
    from ..report.json import as_json

    done = result.search
    violation = None
    if reports:
        found, report = reports[0].found, reports[0].report
        violation = {
            "rule": found.failure.rule,
            "kind": EVERY_RULE[found.failure.rule].kind,
            "summary": found.failure.summary,
            "known": _ident(report),
            "replay": report.replay,
            "schedule_length": report.choices,
            "preemptions": report.preemptions,
            "found_at_schedule": found.schedule,
            "notes": list(reports[0].notes),
            "report": as_json(report),
        }
    coverage = result.coverage
    return {
        "verdict": "violation" if reports else "undecided" if nothing_ran(done) else "none",
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
                "rule": each.found.failure.rule,
                "kind": EVERY_RULE[each.found.failure.rule].kind,
                "summary": each.found.failure.summary,
                "known": _ident(each.report),
                "replay": each.report.replay,
                "notes": list(each.notes),
            }
            for each in reports[1:]
        ],
        "never_ran": list(result.never_ran),
        "errnos": list(result.errnos),
        "potential_cycles": [each.as_dict() for each in decided],
    }


def _ident(report: FailureReport) -> str | None:
    return None if report.known is None else report.known.ident


def _write(reports: list[Reported], html: Path | None, trace: Path | None) -> None:
    """The first of them as files."""
    from .reporting import not_written, write_report

    if reports:
        write_report(reports[0].report, html, trace)
    else:
        not_written(html, trace)


def _show(what: str, result: CampaignResult, reports: list[Reported], decided: list[Decided]) -> None:
    from ..explore.past_choices import in_words
    from ..patches.entered import never_ran
    from .reporting import show_reports

    done = result.search
    rate = done.schedules / done.seconds if done.seconds else 0.0
    show_reports(reports)
    lines = in_words(done)
    lines += [f"{what}: strategy {done.strategy}, {scope(done)}"]
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
    if result.never_ran:
        lines.append(never_ran(result.never_ran, f"{done.schedules:,} runs"))
    lines += result.errnos
    if not reports:
        undecided = "Undecided: no run came to its end."
        lines.insert(0, undecided if nothing_ran(done) else "No violation found.")
    if done.cut_in:
        lines.append(f"when the time was up, your patch had not come back: {done.cut_in}")
    for line in lines:
        say(line)


#: Estimates from fewer runs say nothing.
_ENOUGH: Final = 50


def _coverage(coverage: Coverage, complete: bool) -> str:
    text = f"{coverage.distinct:,} classes of equivalent schedules"
    if complete or coverage.runs < _ENOUGH:
        return text
    return (
        f"{text}; if runs were drawn at random: {coverage.seen_before:.0%} chance that the next run shows one seen "
        f"before, at least {coverage.at_least:,} classes in all"
    )


def _cycle(each: Decided) -> str:
    text = f"lock cycle {each.cycle.text()}: {each.verdict}"
    if each.found is not None:
        return f"{text} ({each.found.failure.summary})"
    if each.bound:
        return f"{text} ({each.bound})"
    early = f", {each.interrupted}" if each.interrupted else ""
    return f"{text} ({each.schedules:,} schedules looked for it{early})"
