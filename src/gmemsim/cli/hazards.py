"""`gmemsim hazards`: what was feared and debated, asked of every patch version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .asking import study_command
from .output import console, table

if TYPE_CHECKING:
    from ..patches.entry import Entry
    from ..patches.hazards.entry import Case
    from ..studies.survey import Survey


def _document(survey: Survey) -> list[dict[str, Any]]:
    from ..patches.hazards.registry import HAZARDS

    return [
        {
            "hazard": int(hazard.name),
            "title": hazard.title,
            "question": hazard.question,
            "answer": HAZARDS[hazard.name].answer or None,
            "why_not": hazard.why_not or None,
            "strategy": survey.plan.strategies[0],
            "schedules": survey.plan.schedules,
            "verdicts": [result.row for result in survey.of(hazard)],
        }
        for hazard in survey.entries
    ]


def _show_hazard(survey: Survey, hazard: Entry) -> None:
    """The question and what is known of it, then what was asked just now; tokens, which are long, at the end."""
    from ..patches.hazards.registry import HAZARDS

    out = console()
    out.print(f"{hazard.name}. {hazard.title}", style="bold", highlight=False)
    out.print(hazard.question, highlight=False)
    if hazard.why_not:
        out.print(f"Not expressed: {hazard.why_not}\n", highlight=False)
        return
    answer = HAZARDS[hazard.name].answer
    out.print(f"{'Of the versions' if survey.patches else 'Answer'}: {answer}", highlight=False)
    results = survey.of(hazard)
    for case in HAZARDS[hazard.name].cases:
        here = [result for result in results if result.asked.about is case]
        if not here:
            continue
        headings = ("version", "VM type", "verdict", "schedules", "what")
        shown = table(_title(case), headings, numbers=("schedules",))
        away: dict[str, list[str]] = {}
        for result in here:
            asked, row = result.asked, result.row
            if asked.why_not:
                away.setdefault(asked.why_not, []).append(asked.patch)
                continue
            verdict = result.verdict + ("" if result.as_expected else "; not what is known")
            shown.add_row(asked.patch, asked.arch, verdict, f"{row['schedules']:,}", result.says)
        out.print(shown)
        for why, patches in away.items():
            out.print(f"does not apply to {', '.join(patches)}: {why}", highlight=False)
    for row in (result.row for result in results):
        if row["replay"]:
            # Not through rich, which would wrap it.
            click.echo(f"{row['run_as']}, {row['arch']}: gmemsim replay {row['replay']}")
    click.echo("")


def _title(case: Case) -> str:
    seed = f" (VERSION+{case.seed})" if case.seed else ""
    return f"{case.says}{seed}, in {case.scenario}"


def _show(survey: Survey) -> None:
    click.echo(f"Strategy {survey.plan.strategies[0]}, at most {survey.plan.schedules:,} schedules a search.")


command = study_command(
    "hazards",
    """Hazards that were debated and are not (yet) bugs, as scenarios, with a verdict per patch version.

    Each is asked of the version as it is, and of the version with a change that somebody proposed or feared. A verdict
    `holds` is that of the search, not of all schedules. What is violated comes with a token for `gmemsim replay`. Exit
    code 1 if a verdict is not the one that is known.
    """,
    "[NUMBER]...",
    document=_document,
    show=_show,
    show_entry=_show_hazard,
    strategies="portfolio",
    schedules=500,
    seconds=60,
)
