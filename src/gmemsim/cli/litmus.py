"""`gmemsim litmus`: named questions about small workloads, answered for each patch version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .conditions import answers_document, show_answers, show_outcomes
from .errors import INTERRUPTED, UNDECIDED, VIOLATION, InputError
from .output import console, print_json
from .params import SECONDS
from .progress import counted, one_interrupt
from .scope import nothing_ran

if TYPE_CHECKING:
    from ..studies.litmus import Litmus

__all__ = ["command"]


@click.command("litmus")
@click.argument("tests", nargs=-1)
@click.option(
    "--patch",
    "patches",
    multiple=True,
    help="Only these; default: all that the test has answers for.",
)
@click.option("--arch", help="VM type; default: the first that the test is for.")
@click.option("--observe", multiple=True, metavar="NAME", help="Observe this, too; see docs/litmus.md.")
@click.option(
    "--max-states", type=click.IntRange(min=1), default=100_000, show_default=True, help="Of each search."
)
@click.option("--max-seconds", type=SECONDS, default=60, show_default=True, help="Wall-clock of each search.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    tests: tuple[str, ...],
    patches: tuple[str, ...],
    arch: str | None,
    observe: tuple[str, ...],
    max_states: int,
    max_seconds: float,
    as_json: bool,
) -> None:
    """Answer the conditions of TESTS: names of litmus tests, library scenarios or .toml files; default: all tests.

    A condition holds in all outcomes of a version (always), in some (sometimes) or in none (never). Always and never
    are said of a complete search only. Exit code 1 if an answer is not the expected one, or a run failed: a crash or a
    deadlock meets no condition; 2 if a search was not complete and an answer is open.
    """
    from ..engine.interrupts import deadline
    from ..explore.campaign import LATE
    from ..explore.observables import check_names
    from ..explore.search import Limits
    from ..patches.registry import PatchError
    from ..scenarios.catalogue import LITMUS, find, litmus_names
    from ..scenarios.errors import ScenarioError
    from ..studies.conditions import ConditionError
    from ..studies.litmus import run_litmus, versions_of
    from .running import patches_told

    wrong = check_names(frozenset(observe))
    if wrong:
        raise click.BadParameter(wrong, param_hint="--observe")
    limits = Limits(schedules=None, seconds=max_seconds, states=max_states)
    found: dict[str, dict[str, Litmus]] = {}
    interrupted = False
    ctx.with_resource(one_interrupt())
    try:
        with counted("litmus", len(tests or litmus_names())) as show:
            for done, name in enumerate(tests or litmus_names()):
                known = LITMUS + name in litmus_names()
                scenario = find(LITMUS + name if known else name)
                versions = patches or versions_of(scenario)
                if not versions:
                    raise InputError(f"{name}: has no answers of its own; give --patch")
                found[scenario.name] = {}
                for patch in versions:
                    show(done, f"{scenario.name}, {patch}")
                    with (
                        deadline(max_seconds + LATE),
                        patches_told([patch], scenario.name),
                    ):
                        found[scenario.name][patch] = run_litmus(
                            _program(scenario, patch, arch), limits, observe
                        )
                    if found[scenario.name][patch].search.stopped == "interrupted":
                        raise KeyboardInterrupt
    except KeyboardInterrupt:
        interrupted = True
    except (ConditionError, PatchError, ScenarioError) as error:
        raise InputError(str(error)) from None
    if as_json:
        print_json({name: {patch: _document(one) for patch, one in by.items()} for name, by in found.items()})
    else:
        for name, by in found.items():
            _show(name, by, bool(observe))
    every = [one for by in found.values() for one in by.values()]
    if any(one.search.found or any(answer.contradicts for answer in one.answers) for one in every):
        ctx.exit(VIOLATION)
    if interrupted:
        ctx.exit(INTERRUPTED)
    if any(nothing_ran(one.search) or not all(answer.as_expected for answer in one.answers) for one in every):
        ctx.exit(UNDECIDED)


def _program(scenario: Any, patch: str, arch: str | None) -> Any:
    from ..explore.program import ScenarioProgram

    return ScenarioProgram(scenario=scenario, patch=patch, arch=arch)


def _document(one: Litmus) -> dict[str, Any]:
    from .scope import scope_document

    return {
        **scope_document(one.search),
        "failures": [each.failure.summary for each in one.search.found],
        "conditions": answers_document(one.answers),
        "outcomes": [{"outcome": outcome, "token": token} for outcome, token in sorted(one.outcomes.items())],
    }


def _show(name: str, by: dict[str, Litmus], outcomes: bool) -> None:
    from .scope import scope

    out = console()
    show_answers(name, {patch: one.answers for patch, one in by.items()})
    for patch, one in by.items():
        if outcomes or not one.answers:
            show_outcomes(patch, one.outcomes)
        for each in one.search.found:
            out.print(
                f"{patch}: failed: {each.failure.summary}", highlight=False, markup=False, soft_wrap=True
            )
        if not one.search.complete:
            out.print(f"{patch}: {scope(one.search)}", highlight=False)
