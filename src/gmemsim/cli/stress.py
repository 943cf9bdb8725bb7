"""`gmemsim stress`: a resumable campaign over many seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..nearest import hint
from .campaign import Ways, campaign_options, finish_cells
from .errors import INTERRUPTED, VIOLATION, Command, InputError, Interrupted
from .output import console, print_json, say, table
from .output_files import check_writable
from .params import COUNT, json_option, known_strategy, own_operations, own_oracles, without_option
from .program import input_errors, parse_rules
from .verdicts import Verdict, verdict_options, write_verdicts

if TYPE_CHECKING:
    from ..explore.stress import Cell, Plan
    from ..jobs.share import Place


@click.command("stress", cls=Command)
@click.argument("scenarios", nargs=-1)
@click.option("--patch", "patches", multiple=True, help="Patch version; can be repeated.  [default: v3]")
@click.option("--arch", "vm_types", multiple=True, help="VM type; can be repeated.  [default: all that fit]")
@click.option(
    "--seeds", type=click.IntRange(1, 1_000_000), default=10, show_default=True, help="Of each cell."
)
@click.option("--first-seed", type=int, default=0, show_default=True, help="Of each cell's seeds.")
@click.option("--schedules", type=COUNT, default=200, show_default=True, help="In a cell.")
@click.option(
    "--strategy",
    default="portfolio",
    show_default=True,
    callback=known_strategy,
    help="See `gmemsim list strategies`.",
)
@click.option("--full", is_flag=True, help="The scenarios' full size; default: their [small] values.")
@campaign_options
@without_option
@own_oracles
@own_operations
@verdict_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    scenarios: tuple[str, ...],
    patches: tuple[str, ...],
    vm_types: tuple[str, ...],
    seeds: int,
    first_seed: int,
    schedules: int,
    strategy: str,
    full: bool,
    jobs: int,
    cluster: str | None,
    state: Path | None,
    without: tuple[str, ...],
    oracles: tuple[str, ...],
    operations: tuple[str, ...],
    ktap: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Search SCENARIOS (default: the whole library) on every patch and VM type, with many seeds.

    With --state a campaign that was stopped goes on where it was; cells of a patch, scenario or model that has changed
    since are searched again. Exit code 1 if a violation was found, a known one too.
    """
    from ..engine.interrupts import deaf
    from ..explore.stress import CellInterrupted, Plan, open_state, run_cells, sources_of

    check_writable(ktap, junit, inputs=(*scenarios, *patches, str(state or "")))
    with input_errors():
        cells = _cells(
            scenarios,
            patches or ("v3",),
            vm_types,
            range(first_seed, first_seed + seeds),
            oracles,
            operations,
        )
    plan = Plan(
        strategy=strategy,
        schedules=schedules,
        small=not full,
        without=tuple(sorted(parse_rules(without))),
        oracles=oracles,
        operations=operations,
    )
    unfinished: list[dict[str, Any]] = []

    def work(missing: Sequence[Cell], where: Place) -> Iterator[dict[str, Any]]:
        try:
            yield from run_cells(missing, plan, where)
        except CellInterrupted as stop:
            unfinished.append(stop.result)
            raise

    with input_errors():
        results, ended = finish_cells(
            "stress",
            cells,
            Ways(state, jobs, cluster),
            open_state=lambda path: open_state(path, plan),
            work=work,
            cell_of=_cell,
            valid=lambda document: document.get("sources") == sources_of(_cell(document), plan),
            doing=lambda found: f"{sum(len(r['violations']) for r in found.values()):,} violations",
        )
    # No finished cells, so not in the state file; what they found is found all the same.
    results |= {_cell(result): result for result in unfinished if result["violations"]}
    interrupted = isinstance(ended, Interrupted)
    with deaf():
        write_verdicts(
            "stress", starmap(_verdict, _ordered(results)), len(cells) - len(results), ktap=ktap, junit=junit
        )
        if as_json:
            print_json({**_document(results, len(cells), interrupted), "without": list(plan.without)})
        else:
            _show(results, len(cells), interrupted, plan)
    if interrupted:
        ctx.exit(INTERRUPTED)
    if any(result["violations"] for result in results.values()):
        if ended is not None:
            click.echo(f"gmemsim: {ended.message}", err=True)
        ctx.exit(VIOLATION)
    if ended is not None:
        raise ended


def _cells(
    scenarios: tuple[str, ...],
    patches: tuple[str, ...],
    vm_types: tuple[str, ...],
    seeds: range,
    oracles: tuple[str, ...],
    operations: tuple[str, ...],
) -> list[Cell]:
    from ..arch.registry import ARCHES
    from ..explore.program import read_files
    from ..explore.stress import Cell
    from ..scenarios.catalogue import find, names

    for kind in vm_types:
        if kind not in ARCHES:
            raise InputError(f"--arch {kind}: {hint(kind, ARCHES)}")
    for patch in patches:
        read_files(patch, oracles, operations)
    cells = []
    for name in dict.fromkeys(scenarios or names()):
        scenario = find(name)
        own = scenario.resolve().tables.own_types
        kinds = own or [kind for kind in scenario.head.vm_types or ARCHES if kind in ARCHES]
        asked = [kind for kind in kinds if not vm_types or kind in vm_types]
        # Where each VM has a type of its own, the run is the same whichever of them it is called by.
        for kind in asked[:1] if own else asked:
            cells += [Cell(name, patch, kind, seed) for patch in dict.fromkeys(patches) for seed in seeds]
    if not cells:
        raise InputError("nothing to do: no scenario is for these VM types")
    return cells


def _verdict(cell: Cell, result: dict[str, Any]) -> Verdict:
    """A known finding fails as well, as in the exit code."""
    name = f"{cell.scenario}, {cell.patch}, {cell.arch}, seed {cell.seed}"
    said = [
        f"{each['rule']}: {each['summary']}" + (f" (known: {each['known']})" if each["known"] else "")
        for each in result["violations"]
    ]
    return Verdict(name, "failed" if said else "passed", "\n".join(said))


def _cell(result: dict[str, Any]) -> Cell:
    from ..explore.stress import Cell

    return Cell(result["scenario"], result["patch"], result["arch"], result["seed"])


def _document(results: dict[Cell, dict[str, Any]], total: int, interrupted: bool) -> dict[str, Any]:
    return {
        "cells": total,
        "finished": len(results),
        "interrupted": interrupted,
        "schedules": sum(result["schedules"] for result in results.values()),
        "violations": _violations(results),
        "never_ran": _never(results),
        "errnos": _errnos(results),
        "results": [{**result, "violations": len(result["violations"])} for _, result in _ordered(results)],
    }


def _ordered(results: dict[Cell, dict[str, Any]]) -> list[tuple[Cell, dict[str, Any]]]:
    return sorted(
        results.items(), key=lambda item: (item[0].scenario, item[0].patch, item[0].arch, item[0].seed)
    )


def _violations(results: dict[Cell, dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each scenario, version, VM type and kind of failure, with its first seed and how many had it."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for cell, result in _ordered(results):
        for violation in result["violations"]:
            key = (
                cell.scenario,
                cell.patch,
                cell.arch,
                violation["rule"],
                violation["kind"],
                violation["known"],
                # Not in a state file of before.
                violation.get("place", ""),
            )
            entry = found.setdefault(
                key,
                {
                    "scenario": cell.scenario,
                    "patch": cell.patch,
                    "arch": cell.arch,
                    "first_seed": cell.seed,
                    "seeds": 0,
                    **violation,
                },
            )
            entry["seeds"] += 1
    return list(found.values())


def _never(results: dict[Cell, dict[str, Any]]) -> dict[str, list[str]]:
    """Functions of a user's patch that ran in no cell, by patch."""
    found: dict[str, list[str]] = {}
    for cell, result in _ordered(results):
        never = result.get("never_ran", [])
        found[cell.patch] = [name for name in found.get(cell.patch, never) if name in never]
    return {patch: names for patch, names in found.items() if names}


def _errnos(results: dict[Cell, dict[str, Any]]) -> dict[str, list[str]]:
    """What functions of a user's patch returned that they return in no version, by patch."""
    found: dict[str, set[str]] = {}
    for cell, result in results.items():
        found.setdefault(cell.patch, set()).update(result.get("errnos", []))
    return {patch: sorted(lines) for patch, lines in sorted(found.items()) if lines}


def _show(results: dict[Cell, dict[str, Any]], total: int, interrupted: bool, plan: Plan) -> None:
    from shlex import quote

    from ..oracles.every_rule import is_choice
    from ..oracles.exact import in_short
    from ..patches.entered import never_ran
    from ..patches.registry import named

    violations = _violations(results)
    own = "".join(f" --oracle {quote(each)}" for each in plan.oracles)
    own += "".join(f" --operation {quote(each)}" for each in plan.operations)
    for each in violations:
        say(
            f"{each['rule']}: {each['scenario']} on {each['patch']}, {each['arch']}: {each['summary']} "
            f"({each['seeds']} seeds, first {each['first_seed']})"
        )
        if is_choice(each["rule"]):
            say("  restates a choice of lock or order: the search went on past it and looked for harm")
        if each["known"]:
            say(f"  known: gmemsim findings {each['known']}")
        with_patch = "" if named(each["patch"]) else f" --patch {quote(each['patch'])}"
        click.echo(f"  gmemsim replay {each['replay']}{with_patch}{own}")
    numbers = ("cells", "schedules", "classes", "with a violation")
    shown = table("stress", ("patch", "VM type", *numbers), numbers=numbers)
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell, result in _ordered(results):
        rows.setdefault((cell.patch, cell.arch), []).append(result)
    for (patch, arch), cells in rows.items():
        shown.add_row(
            patch,
            arch,
            f"{len(cells):,}",
            f"{sum(cell['schedules'] for cell in cells):,}",
            f"{sum(cell['classes'] for cell in cells):,}",
            f"{sum(bool(cell['violations']) for cell in cells):,}",
        )
    console().print(shown)
    for patch, names in _never(results).items():
        text = never_ran(
            tuple(names), f"{sum(r['schedules'] for c, r in results.items() if c.patch == patch):,} schedules"
        )
        say(f"{patch}: {text}")
    for patch, lines in _errnos(results).items():
        for line in lines:
            say(f"{patch}: {line}")
    if plan.without:
        say(f"Not looked after, as --without asks: {in_short(plan.without)}.")
    state = "interrupted" if interrupted else "finished"
    say(
        f"{state}: {len(results):,} of {total:,} cells. A class counts once in each cell. No violation found in a "
        "cell says nothing of the schedules that were not run."
    )
