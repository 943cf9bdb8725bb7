"""`gmemsim outcomes`: what can come of a scenario, patch by patch, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..explore.scope import nothing_ran, scope, scope_document
from .conditions import show_answers, show_ends, show_outcomes
from .errors import INTERRUPTED, UNDECIDED, VIOLATION, Command, InputError
from .output import console, print_json, table
from .params import COUNT, SECONDS, json_option, known_strategy, max_states, schedule_limit, search_jobs
from .program import describe, input_errors, make_program, program_options
from .progress import budgets, one_interrupt, searching

if TYPE_CHECKING:
    from ..explore.campaign import CampaignResult
    from ..explore.search import SearchResult
    from ..studies.litmus import Answer


@click.command("outcomes", cls=Command)
@click.argument("scenario")
@click.option(
    "--patch",
    "patches",
    multiple=True,
    required=True,
    help="Patch version, or path/to/file.py:Class; repeat to compare.",
)
@click.option(
    "--strategy",
    default="auto",
    show_default=True,
    callback=known_strategy,
    help="See `gmemsim list strategies`.",
)
@max_states
@click.option(
    "--max-schedules",
    type=COUNT,
    default=20_000,
    show_default=True,
    help="With `auto`, of the second part; `stateful` has no limit unless it is given.",
)
@click.option("--max-seconds", type=SECONDS, help="Wall-clock, for each patch.")
@program_options
@click.option(
    "--observe",
    multiple=True,
    metavar="NAME",
    help="What an outcome is made of: results, cache, contents, frames, arch, errors, or the number of an event; see "
    "docs/litmus.md. Default: results and cache.",
)
@search_jobs
@click.option("--most", type=COUNT, default=40, show_default=True, help="Outcomes to show.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    scenario: str,
    patches: tuple[str, ...],
    strategy: str,
    max_states: int | None,
    max_schedules: int,
    max_seconds: float | None,
    observe: tuple[str, ...],
    jobs: int,
    most: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Collect the final outcomes of SCENARIO over its schedules: results of every operation, and what each file holds.

    `never` stands only where the search was complete. With strategies that enumerate schedules the count of an outcome
    is the number of those that were run for it, not of all that lead to it. Exit code 1 if some patch comes to what
    another never does, or if one raised an exception; 2 if an outcome was not seen on a patch whose search is not
    complete. Conditions of the scenario are answered as by `gmemsim litmus`, with its exit codes.
    """
    from ..engine.interrupts import deadline, deaf
    from ..explore.campaign import LATE, Campaign
    from ..explore.observables import check_names
    from ..explore.past_choices import run_past_choices
    from ..explore.search import Limits
    from ..explore.strategies import make_strategy
    from ..jobs.workers import WorkerKilled
    from ..studies.litmus import answers_of, asking, conditions_of, tokens_of

    if getattr(make_strategy(strategy, 0), "exchanges", False):
        message = (
            f"{strategy} leaves out outcomes in which tasks that do the same are exchanged; expected stateful"
        )
        raise click.BadParameter(message, param_hint="--strategy")
    ctx.with_resource(one_interrupt())
    wrong = check_names(frozenset(observe))
    if wrong:
        raise click.BadParameter(wrong, param_hint="--observe")
    results: dict[str, CampaignResult] = {}
    tokens: dict[str, dict[str, str]] = {}
    answers: dict[str, tuple[Answer, ...]] = {}
    count_to = 0
    for patch in dict.fromkeys(patches):
        with input_errors():
            program = make_program(scenario, patch, **options)
            conditions = conditions_of(program)
            program = asking(program, conditions, observe or ("results", "cache") * bool(conditions))
            count_to = program.count_to if program.observed else 0
            limits = Limits(
                schedules=schedule_limit(ctx, strategy, max_schedules), seconds=max_seconds, states=max_states
            )
            time = None if max_seconds is None else max_seconds + LATE
            with searching(describe(program), budgets(limits, strategy)) as progress, deadline(time):
                results[patch] = run_past_choices(
                    Campaign(
                        program=program,
                        strategy=strategy,
                        seed=options["seed"],
                        limits=limits,
                        jobs=jobs,
                        keep_going=True,
                        outcomes=True,
                        classes=False,
                    ),
                    progress,
                )
        tokens[patch] = tokens_of(program, results[patch].search)
        answers[patch] = answers_of(program, conditions, results[patch].search, tokens[patch])
        if results[patch].search.stopped in ("interrupted", "worker"):
            break
    left = [patch for patch in dict.fromkeys(patches) if patch not in results]
    with deaf():
        if as_json:
            print_json(_document(results, tokens, answers, count_to))
        else:
            _show(results, tokens, most, count_to)
            show_answers("conditions", answers)
            for patch in left:
                click.echo(f"{patch}: not looked at, interrupted before")
    if any(result.search.stopped == "worker" for result in results.values()):
        raise InputError(str(WorkerKilled()))
    code = _exit_code(results, [answer for one in answers.values() for answer in one])
    if code:
        ctx.exit(code)


def _exit_code(results: dict[str, CampaignResult], answers: list[Answer]) -> int:
    from ..explore.failure import CRASH

    searches = [result.search for result in results.values()]
    if any(done.stopped == "interrupted" for done in searches):
        return INTERRUPTED
    differ = _differ(results)
    crashed = any(found.failure.rule == CRASH for done in searches for found in done.found)
    if crashed or differ or any(answer.contradicts for answer in answers):
        return VIOLATION
    open_ = differ is None or not all(answer.as_expected for answer in answers)
    return UNDECIDED if open_ or any(map(nothing_ran, searches)) else 0


def _document(
    results: dict[str, CampaignResult],
    tokens: dict[str, dict[str, str]],
    answers: dict[str, tuple[Answer, ...]],
    count_to: int,
) -> dict[str, Any]:
    """Each outcome with the token of a run that comes to it, if there is one that can be replayed."""
    return {
        patch: {
            **scope_document(result.search),
            "never_ran": list(result.never_ran),
            "errnos": list(result.errnos),
            "crashes": [
                {
                    "summary": found.failure.summary,
                    "traceback": list(found.failure.details.get("traceback", ())),
                }
                for found in result.search.found
                if found.failure.rule == "crash"
            ],
            "known": _known(result),
            "count_to": count_to or None,
            "outcomes": [
                {
                    "outcome": outcome,
                    "count": count,
                    "token": tokens[patch].get(outcome),
                }
                for outcome, count in sorted(result.search.outcomes.items())
            ],
            "conditions": [answer.as_dict() for answer in answers[patch]],
        }
        for patch, result in results.items()
    }


def _known(result: CampaignResult) -> list[str]:
    """Ids of the known findings among the failures."""
    return sorted({ident for found in result.search.found if (ident := found.sort[2])})


def _show(
    results: dict[str, CampaignResult], tokens: dict[str, dict[str, str]], most: int, count_to: int
) -> None:
    from ..explore.failure import CRASH
    from ..explore.past_choices import in_words
    from ..patches.entered import never_ran

    out = console()
    shown = table("outcomes", ("outcome", *results), numbers=results)
    every = sorted({outcome for result in results.values() for outcome in result.search.outcomes})
    # What only some patches can come to is what the reader is after.
    every.sort(key=lambda outcome: all(outcome in result.search.outcomes for result in results.values()))
    for outcome in every[:most]:
        shown.add_row(outcome, *(_cell(result.search, outcome) for result in results.values()))
    out.print(shown)
    out.print(
        "TASK(CALL=RESULT …), then FILE[INDEX] of each page in the page cache, u: uptodate.", style="dim"
    )
    show_ends(every, count_to)
    if len(every) > most:
        out.print(f"… and {len(every) - most} more (--most).")
    for patch in results:
        show_outcomes(
            patch, {outcome: tokens[patch][outcome] for outcome in every[:most] if outcome in tokens[patch]}
        )
    for patch, result in results.items():
        done = result.search
        out.print(f"{patch}: {len(done.outcomes)} outcomes, {done.strategy}, {scope(done)}", highlight=False)
        for line in in_words(done):
            out.print(f"{patch}: {line}", highlight=False)
        if result.never_ran:
            out.print(never_ran(result.never_ran, f"{done.schedules:,} runs"), highlight=False)
        for line in result.errnos:
            out.print(f"{patch}: {line}", highlight=False)
        for found in done.found:
            if found.failure.rule == CRASH:
                out.print(f"{patch}: crash: {found.failure.summary}", highlight=False, soft_wrap=True)
                for line in found.failure.details.get("traceback", ()):
                    out.print(f"  {line}", highlight=False, soft_wrap=True)
        for ident in _known(result):
            click.echo(f"{patch}: among the failures is the known finding {ident} (gmemsim findings {ident})")
    if _differ(results) is None:
        out.print("not decided: an outcome was not seen where the search is not complete")


def _cell(done: SearchResult, outcome: str) -> str:
    """Whether a version can come to an outcome."""
    count = done.outcomes.get(outcome, 0)
    if count:
        # How often a search of states comes to an outcome says nothing.
        return "yes" if done.states else f"{count:,}"
    return "never" if done.complete else "not seen"


def _differ(results: dict[str, CampaignResult]) -> bool | None:
    """Whether some version comes to what another never does; None: that is not known."""
    every = {outcome for result in results.values() for outcome in result.search.outcomes}
    missing = [result.search for result in results.values() if every - set(result.search.outcomes)]
    if any(done.complete for done in missing):
        return True
    return None if missing else False
