"""`gmemsim zoo`: seeded real bugs, found or not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ..nearest import hint
from .errors import INTERRUPTED, VIOLATION, InputError
from .output import console, print_json, say
from .output_files import check_writable
from .params import SECONDS
from .program import input_errors
from .progress import counted
from .verdicts import Verdict, verdict_options, write_verdicts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..patches.zoo.entry import Bug
    from ..studies.zoo import Hunt, ZooRow

__all__ = ["command"]

_ORIGINS: Final = {
    "shipped-bug": "shipped: in a released or mainline kernel",
    "review-found": "found in review or testing of a posted series",
    "guard-mutant": "guard mutants: a documented guard taken away, no historical bug",
    "source-derived": "deduced from the sources, no public report found",
    "documented-benign": "called harmless by its authors: must give nothing",
}


@click.command("zoo")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--patch",
    "--base",
    "patch",
    default="",
    help="Seed the bugs into this patch, path/to/file.py:Class or a version; default: the versions of each.",
)
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    default=("portfolio",),
    show_default=True,
    help="See `gmemsim list strategies`; can be repeated.",
)
@click.option(
    "--repetitions",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Searches of a random strategy.",
)
@click.option(
    "--schedules", type=click.IntRange(min=1), default=2_000, show_default=True, help="Of a search."
)
@click.option("--seconds", type=SECONDS, default=60, show_default=True, help="Of a search.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@verdict_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    ids: tuple[str, ...],
    patch: str,
    strategies: tuple[str, ...],
    repetitions: int,
    schedules: int,
    seconds: float,
    jobs: int,
    ktap: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Seed each bug of the zoo (or those of the IDs given) into a version, and look for it in its scenario.

    The version without it is searched as well and must be clean. With --patch both are of that patch: would the bug be
    found in it, and is it clean where the bugs are looked for? Exit code 1 if something is not as expected; a bug that
    one of several strategies finds is found.
    """
    from ..engine.interrupts import deaf
    from ..explore.strategies import make_strategy
    from ..jobs.workers import WorkerKilled
    from ..patches.zoo.registry import BUGS
    from ..studies.zoo import Hunt, places, shortfall

    check_writable(ktap, junit, inputs=(patch,))
    unknown = [ident for ident in ids if ident not in BUGS]
    if unknown:
        raise InputError(
            f"no bug {unknown[0]!r} in the zoo; {hint(unknown[0], BUGS, 'see `gmemsim list bugs`')}"
        )
    plans = []
    for strategy in dict.fromkeys(strategies):
        try:
            make_strategy(strategy, 0)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--strategy") from None
        plans.append(Hunt(strategy=strategy, repetitions=repetitions, schedules=schedules, seconds=seconds))
    bugs = [BUGS[ident] for ident in ids] if ids else list(BUGS.values())
    rows: list[ZooRow] = []
    interrupted = False
    killed: WorkerKilled | None = None
    with input_errors():
        work = [(bug, *place, plan) for bug in bugs for place in places(bug, patch) for plan in plans]
        skipped = _skipped(bugs, patch)
    try:
        with input_errors():
            rows.extend(_hunts(work, jobs))  # keeps what came before an interruption
    except KeyboardInterrupt:
        interrupted = True
    except WorkerKilled as error:
        killed = error
    with deaf():
        verdicts = [
            *_verdicts(rows),
            *(Verdict(bug.id, "skipped", why) for bug, why in skipped),
        ]
        write_verdicts("zoo", verdicts, len(work) - len(rows), ktap=ktap, junit=junit)
        if as_json:
            print_json(_document(skipped, rows))
        else:
            _show(skipped, rows, [plan.strategy for plan in plans], patch)
    if interrupted:
        ctx.exit(INTERRUPTED)
    if killed is not None:
        raise InputError(f"{killed}; {len(rows)} of {len(work)} searches were done before that")
    if shortfall(rows):
        ctx.exit(VIOLATION)


def _hunts(work: list[tuple[Bug, str, str, Hunt]], jobs: int) -> Iterator[ZooRow]:
    """Rows in the order of `work`, whoever is done first."""
    from ..studies.zoo import hunt_at

    if jobs == 1:
        with counted("zoo", len(work)) as show:
            for done, item in enumerate(work):
                show(done, item[0].id)
                yield hunt_at(*item)
        return
    from ..jobs.workers import Workers

    with Workers(jobs) as workers, counted("zoo", len(work)) as show:
        waiting = [workers.submit(hunt_at, *item) for item in work]
        try:
            for done, item in enumerate(work):
                show(done, item[0].id)
                row = workers.result(waiting[0])
                del waiting[0]
                yield row
        except KeyboardInterrupt:
            yield from workers.stop(waiting)
            raise


def _verdicts(rows: list[ZooRow]) -> Iterator[Verdict]:
    from ..studies.zoo import shortfall

    short = {id(row) for row in shortfall(rows)}
    for row in rows:
        text = f"found in {row.found} of {row.searches} searches; others: {', '.join(row.others) or 'none'}; "
        text += f"without the bug: {', '.join(row.control) or 'clean'}"
        name = f"{row.bug.id}, {row.patch}, {row.arch}, {row.strategy}"
        yield Verdict(name, "failed" if id(row) in short else "passed", text)


def _skipped(bugs: list[Bug], patch: str) -> list[tuple[Bug, str]]:
    """Bugs that are not asked, and why."""
    from ..studies.zoo_base import not_seeded

    if not patch:
        return [(bug, bug.why_not) for bug in bugs if not bug.expressible]
    return [(bug, why) for bug in bugs if (why := not_seeded(bug, patch))]


def _document(skipped: list[tuple[Bug, str]], rows: list[ZooRow]) -> list[dict[str, Any]]:
    from ..studies.zoo import as_dict

    found: list[dict[str, Any]] = [as_dict(row) for row in rows]
    found += [
        {
            "id": bug.id,
            "origin": bug.origin,
            "expected": [],
            "found": None,
            "rule": None,
            "strategy": None,
            "schedules": None,
            "seconds": None,
            "why_not": why,
            "title": bug.title,
        }
        for bug, why in skipped
    ]
    return found


def _show(skipped: list[tuple[Bug, str]], rows: list[ZooRow], strategies: list[str], patch: str) -> None:
    from rich.table import Table

    from ..arch.registry import described

    out = console()
    for origin, says in _ORIGINS.items():
        here = [row for row in rows if row.bug.origin == origin]
        if not here:
            continue
        table = Table(title=says, title_justify="left")
        for name in (
            "bug",
            "version",
            "VM type",
            *(["strategy"] if len(strategies) > 1 else []),
            "found",
            "rule",
            "schedules",
            "p90",
            "seconds",
            "version clean",
        ):
            right = name in ("found", "schedules", "p90", "seconds")
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        for row in here:
            table.add_row(
                row.bug.id,
                row.patch,
                described(row.arch),
                *([row.strategy] if len(strategies) > 1 else []),
                f"{row.found} of {row.searches}"
                if row.bug.rules
                else "nothing"
                if not row.others
                else "something",
                row.rule or ", ".join(row.others),
                _number(row.schedules),
                _number(row.schedules_p90),
                "" if row.seconds is None else f"{row.seconds:.2f}",
                "yes"
                if not row.control
                else ", ".join(row.control) + (" (as its version)" * bool(row.inherited)),
            )
        out.print(table)
        wanted = {row.bug.id for row in here if row.bug.rules}
        hit = {row.bug.id for row in here if row.found}
        if wanted:
            out.print(f"{len(hit)} of {len(wanted)} bugs found.\n", highlight=False)
    hidden = {row.bug.id: row.bug.unfound for row in rows if row.bug.unfound}
    for ident, why in hidden.items():
        say(f"not found: {ident}: {why}")
    for bug, why in skipped:
        say(f"not {'asked' if bug.expressible else 'expressed'}: {bug.id} ({bug.origin}): {why}")
    _of_patch(rows, patch)
    say(
        f"Strategy {', '.join(strategies)}. Schedules: median and 90th percentile over the searches that found it. "
        "A version is clean if the same search finds nothing without the bug."
    )


def _of_patch(rows: list[ZooRow], patch: str) -> None:
    """What only a patch of a user's has."""
    from ..patches.entered import never_ran

    for row in rows:
        where = f"{row.bug.id}, {row.arch}"
        if row.says:
            say(f"{where}: {'without the bug' if row.control else 'besides'}: {row.says}")
        if row.inherited:
            say(f"  so has the version that {patch} derives from")
        if row.control and row.bug.scenario:
            say(f"  gmemsim explore {row.bug.scenario} --patch {row.patch} --arch {row.arch}")
        if row.replaced:
            say(f"{where}: with the bug, your {', '.join(row.replaced)} does not run")
        if not row.known:
            say(
                f"{where}: whether it is one in {patch} is not known: it was seeded into {', '.join(row.bug.parents)}"
            )
        elif not row.found and row.bug.rules and not row.bug.unfound and patch:
            say(f"{where}: not found: {patch} withstands it or hides it, or the search is too small")
    never = set.intersection(*(set(row.never) for row in rows)) if patch and rows else set()
    if never:
        say(never_ran(tuple(sorted(never)), "any of these searches"))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
