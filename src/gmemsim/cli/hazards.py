"""`gmemsim hazards`: what was feared and debated, asked of every patch version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .errors import INTERRUPTED, VIOLATION, InputError
from .output import console, print_json
from .params import SECONDS
from .progress import counted

if TYPE_CHECKING:
    from ..patches.hazards.entry import Case, Hazard
    from ..studies.hazards import Asked

__all__ = ["command"]


@click.command("hazards")
@click.argument("numbers", nargs=-1, metavar="[NUMBER]...", type=int)
@click.option(
    "--patch", default="", help="Ask of this patch, path/to/file.py:Class; default: of every version."
)
@click.option(
    "--strategy", default="portfolio", show_default=True, help="See `gmemsim list strategies`; `pct:3`."
)
@click.option("--schedules", type=click.IntRange(min=1), default=500, show_default=True, help="Of a search.")
@click.option("--seconds", type=SECONDS, default=60, show_default=True, help="Of a search.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    numbers: tuple[int, ...],
    patch: str,
    strategy: str,
    schedules: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Hazards that were debated and are not (yet) bugs, as scenarios, with a verdict per patch version.

    Each is asked of the version as it is, and of the version with a change that somebody proposed or feared. A verdict
    `holds` is that of the search, not of all schedules. What is violated comes with a token for `gmemsim replay`. Exit
    code 1 if a verdict is not the one that is known.
    """
    from ..explore.strategies import make_strategy
    from ..patches.hazards.registry import HAZARDS
    from ..patches.registry import PatchError
    from ..studies.hazards import version_of, versions
    from .running import user_error

    for number in numbers:
        if number not in HAZARDS:
            raise InputError(f"no hazard {number}; there are 1 to {max(HAZARDS)} (gmemsim list hazards)")
    try:
        make_strategy(strategy, 0)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--strategy") from None
    hazards = [HAZARDS[number] for number in dict.fromkeys(numbers)] if numbers else list(HAZARDS.values())
    if patch:
        try:
            version = version_of(patch)
        except PatchError as error:
            raise InputError(str(error)) from None
        if version not in versions():
            raise InputError(f"{patch}: hazards are asked of what derives from {', '.join(versions())}")
    with user_error(*([patch] if patch else [])):
        asked, interrupted = _ask(hazards, strategy, schedules, seconds, quiet=as_json, base=patch)
    if as_json:
        print_json(_document(hazards, asked, strategy, schedules))
    else:
        click.echo(f"Strategy {strategy}, at most {schedules:,} schedules a search.")
    if interrupted:
        ctx.exit(INTERRUPTED)
    if not all(each.as_expected for each in asked):
        ctx.exit(VIOLATION)


def _ask(
    hazards: list[Hazard], strategy: str, schedules: int, seconds: float, *, quiet: bool, base: str = ""
) -> tuple[list[Asked], bool]:
    """All answers; each hazard is shown when it is through. Ctrl-C keeps what there is."""
    from ..studies.hazards import survey

    asked: list[Asked] = []
    with counted("hazards", len(hazards)) as progress:
        for number, hazard in enumerate(hazards):
            here: list[Asked] = []
            progress(number, f"hazard {hazard.number}")
            try:
                for each in survey(
                    hazard, strategy=strategy, schedules=schedules, seconds=seconds, base=base
                ):
                    here.append(each)
                    progress(number, f"hazard {hazard.number}, after {each.patch}")
            except KeyboardInterrupt:
                return asked + here, True
            finally:
                if not quiet:
                    with progress.aside():
                        _show(hazard, here, base)
            asked += here
    return asked, False


def _document(
    hazards: list[Hazard], asked: list[Asked], strategy: str, schedules: int
) -> list[dict[str, Any]]:
    from ..studies.hazards import as_dict

    return [
        {
            "hazard": hazard.number,
            "title": hazard.title,
            "question": hazard.question,
            "answer": hazard.answer or None,
            "why_not": hazard.why_not or None,
            "strategy": strategy,
            "schedules": schedules,
            "verdicts": [as_dict(each) for each in asked if each.hazard is hazard],
        }
        for hazard in hazards
    ]


def _show(hazard: Hazard, asked: list[Asked], base: str = "") -> None:
    """The question and what is known of it, then what was asked just now; tokens, which are long, at the end."""
    from rich.table import Table

    out = console()
    out.print(f"{hazard.number}. {hazard.title}", style="bold", highlight=False)
    out.print(hazard.question, highlight=False)
    if hazard.why_not:
        out.print(f"Not expressed: {hazard.why_not}\n", highlight=False)
        return
    out.print(f"{'Of the versions' if base else 'Answer'}: {hazard.answer}", highlight=False)
    for case in hazard.cases:
        here = [each for each in asked if each.case is case]
        if not here:
            continue
        table = Table(title=_title(case), title_justify="left")
        for name in ("version", "VM type", "verdict", "schedules", "what"):
            table.add_column(name, justify="right" if name == "schedules" else "left", overflow="fold")
        for each in here:
            if each.arch:
                table.add_row(each.patch, each.arch, _verdict(each), f"{each.schedules:,}", _what(each))
        out.print(table)
        for why in dict.fromkeys(each.summary for each in here if not each.arch):
            names = ", ".join(each.patch for each in here if not each.arch and each.summary == why)
            out.print(f"does not apply to {names}: {why}", highlight=False)
    for each in asked:
        if each.replay:
            # Not through rich, which would wrap it.
            click.echo(f"{each.case.patch(each.patch)}, {each.arch}: gmemsim replay {each.replay}")
    click.echo("")


def _title(case: Case) -> str:
    seed = f" (VERSION+{case.seed})" if case.seed else ""
    return f"{case.says}{seed}, in {case.scenario}"


def _verdict(each: Asked) -> str:
    known = "" if each.as_expected else "; not what is known"
    return f"{each.verdict}{': ' + each.rule if each.rule else ''}{known}"


def _what(each: Asked) -> str:
    counts = ", ".join(f"{label} {count:,}" for label, count in each.counts.items())
    return each.summary or counts
