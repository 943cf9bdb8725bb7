"""`gmemsim outcomes`: what can come of a scenario, patch by patch, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .errors import INTERRUPTED, VIOLATION
from .output import console, print_json
from .params import SECONDS
from .program import describe, input_errors, make_program, program_options
from .watching import watching

if TYPE_CHECKING:
    from ..explore.campaign import CampaignResult

__all__ = ["command"]


@click.command("outcomes")
@click.argument("scenario")
@click.option(
    "--patch",
    "patches",
    multiple=True,
    required=True,
    help="Patch version, or path/to/file.py:Class; repeat to compare.",
)
@click.option("--strategy", default="dpor", show_default=True, help="See `gmemsim list strategies`.")
@click.option("--max-schedules", type=click.IntRange(min=1), default=20_000, show_default=True)
@click.option("--max-seconds", type=SECONDS, help="Wall-clock, for each patch.")
@program_options
@click.option("--most", type=click.IntRange(min=1), default=40, show_default=True, help="Outcomes to show.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    scenario: str,
    patches: tuple[str, ...],
    strategy: str,
    max_schedules: int,
    max_seconds: float | None,
    most: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Collect the final outcomes of SCENARIO over its schedules: results of every operation, and what each file holds.

    With a partial-order strategy the count of an outcome is the number of schedules that were run for it, not of all
    that lead to it. Exit code 1 if the patches differ, or if one raised an exception.
    """
    from ..explore.campaign import Campaign, run_campaign
    from ..explore.failure import CRASH
    from ..explore.search import Limits
    from ..explore.strategies import make_strategy

    try:
        make_strategy(strategy, 0)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--strategy") from None
    results: dict[str, CampaignResult] = {}
    for patch in dict.fromkeys(patches):
        with input_errors():
            program = make_program(scenario, patch, **options)
            with watching(describe(program)) as progress:
                results[patch] = run_campaign(
                    Campaign(
                        program=program,
                        strategy=strategy,
                        seed=options["seed"],
                        limits=Limits(schedules=max_schedules, seconds=max_seconds),
                        keep_going=True,
                        outcomes=True,
                        classes=False,
                    ),
                    progress,
                )
        if results[patch].search.stopped == "interrupted":
            break
    if as_json:
        print_json(_document(results))
    else:
        _show(results, most)
    if any(result.search.stopped == "interrupted" for result in results.values()):
        ctx.exit(INTERRUPTED)
    crashed = any(found.failure.rule == CRASH for result in results.values() for found in result.search.found)
    if crashed or len({frozenset(result.search.outcomes) for result in results.values()}) > 1:
        ctx.exit(VIOLATION)


def _document(results: dict[str, CampaignResult]) -> dict[str, Any]:
    return {
        patch: {
            "complete": result.search.complete,
            "bound": result.search.bound or None,
            "stopped": result.search.stopped,
            "schedules": result.search.schedules,
            "crashes": [
                {
                    "summary": found.failure.summary,
                    "traceback": list(found.failure.details.get("traceback", ())),
                }
                for found in result.search.found
                if found.failure.rule == "crash"
            ],
            "outcomes": [
                {"outcome": outcome, "count": count}
                for outcome, count in sorted(result.search.outcomes.items())
            ],
        }
        for patch, result in results.items()
    }


def _show(results: dict[str, CampaignResult], most: int) -> None:
    from rich.table import Table

    from ..explore.failure import CRASH

    out = console()
    table = Table(title="outcomes, by schedules run", title_justify="left")
    table.add_column("outcome", overflow="fold")
    for patch in results:
        table.add_column(patch, justify="right")
    every = sorted({outcome for result in results.values() for outcome in result.search.outcomes})
    # What only some patches can come to is what the reader is after.
    every.sort(key=lambda outcome: all(outcome in result.search.outcomes for result in results.values()))
    for outcome in every[:most]:
        counts = [result.search.outcomes.get(outcome, 0) for result in results.values()]
        table.add_row(outcome, *(f"{count:,}" if count else "-" for count in counts))
    out.print(table)
    if len(every) > most:
        out.print(f"… and {len(every) - most} more (--most).")
    for patch, result in results.items():
        done = result.search
        bound = f" within its bound ({done.bound})" if done.bound else ""
        scope = f"complete{bound}" if done.complete else f"not complete ({done.stopped})"
        out.print(
            f"{patch}: {len(done.outcomes)} outcomes in {done.schedules:,} schedules, {done.strategy}, {scope}",
            highlight=False,
        )
        for found in done.found:
            if found.failure.rule == CRASH:
                out.print(f"{patch}: crash: {found.failure.summary}", highlight=False, soft_wrap=True)
                for line in found.failure.details.get("traceback", ()):
                    out.print(f"  {line}", highlight=False, soft_wrap=True)
