"""`gmemsim lab compare`: outcomes of a kernel held against the model's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .errors import INTERRUPTED, UNDECIDED, VIOLATION, InputError
from .lab_options import (
    about,
    accel_option,
    json_option,
    kernel_option,
    lab_errors,
    machine,
    say,
    seed_option,
)
from .output import console, print_json
from .params import SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..lab.compare import Comparison
    from ..lab.runs import KernelRuns
    from ..lab.translate import Program

__all__ = ["compare"]


@click.command("compare")
@click.argument("scenarios", nargs=-1)
@kernel_option
@click.option(
    "--patch", help="Version of the model; default: the one that a stock kernel of this release is."
)
@click.option("--drawn", type=click.IntRange(min=1), help="So many scenarios drawn at random.")
@click.option(
    "--first", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the first drawn."
)
@click.option("--rounds", type=click.IntRange(min=1), default=40, show_default=True, help="Of each scenario.")
@click.option(
    "--delay", type=click.IntRange(min=0), default=200, show_default=True, help="Longest drawn delay, in us."
)
@seed_option
@click.option("--max-seconds", type=SECONDS, help="Wall-clock for the kernel, boots and all.")
@click.option(
    "--model-seconds", type=SECONDS, default=60, show_default=True, help="For each scenario on the model."
)
@accel_option
@json_option
@click.pass_context
def compare(
    ctx: click.Context,
    scenarios: tuple[str, ...],
    kernel: str,
    patch: str | None,
    drawn: int | None,
    first: int,
    rounds: int,
    delay: int,
    seed: int,
    max_seconds: float | None,
    model_seconds: float,
    accel: str,
    as_json: bool,
) -> None:
    """Run SCENARIOS, or drawn ones, on a kernel and on the model: each outcome of the kernel has to be one of its.

    Exit code 1 if one is not, and the model's set is complete; 2 if the model's search was not complete and does not
    have it, or if nothing could be compared.
    """
    from ..lab.batch import compare_all
    from ..lab.compare import check_comparable
    from ..lab.drawn import drawn as draw
    from ..lab.kernels import find_kernel
    from ..lab.refusals import vm_type_of
    from ..lab.translate import Steering, translate
    from ..lab.versions import version_of
    from ..scenarios.catalogue import find

    if bool(scenarios) == bool(drawn):
        raise InputError("expected either scenarios or --drawn N")
    with lab_errors():
        booted = find_kernel(kernel)
        version = patch or version_of(booted)
        chosen = [draw(seed, number) for number in range(first, first + (drawn or 0))] + [
            find(name) for name in scenarios
        ]
        programs: list[Program] = []
        for scenario in chosen:
            workload = scenario.resolve(small=True)
            check_comparable(workload)
            programs.append(translate(workload, vm_type_of(scenario), seed=seed))
        steering = Steering(rounds=rounds, seed=seed, spread_ns=delay * 1000)
        runs, found = compare_all(
            booted, version, chosen, programs, steering,
            machine=machine(accel, max_seconds), model_seconds=model_seconds, say=say,
        )  # fmt: skip
    _report(runs, found, version, steering.text(), as_json)
    if runs.interrupted:
        ctx.exit(INTERRUPTED)
    verdicts = {one.verdict for one in found.values()}
    if "differ" in verdicts:
        ctx.exit(VIOLATION)
    if "undecided" in verdicts or not found or verdicts == {"refused"}:
        ctx.exit(UNDECIDED)


def _report(
    runs: KernelRuns, found: Mapping[str, Comparison], version: str, steered: str, as_json: bool
) -> None:
    from collections import Counter

    from ..lab.compare import document, shares

    verdicts = Counter(one.verdict for one in found.values())
    seen, every = shares(found)
    total = sum(one.rounds for one in found.values())
    distinct = sum(len(one.outcomes) for one in found.values())
    if as_json:
        print_json(
            {
                **about(runs, steered),
                "patch": version,
                "verdicts": dict(verdicts),
                "rounds": total,
                "distinct_outcomes": distinct,
                "seen": seen,
                "of": every,
                "scenarios": [document(name, one) for name, one in found.items()],
            }
        )
        return
    out = console()
    for name, one in found.items():
        if one.verdict == "agree":
            continue
        click.echo(f"{one.verdict}: {name}{f' ({one.note})' if one.note else ''}")
        for text, count in one.alien.items():
            click.echo(f"{count:>7}  {text}")
        if one.alien:
            for text in sorted(one.model.outcomes)[:6]:
                click.echo(f"  model  {text}")
    words = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    out.print(
        f"{runs.kernel.release} against {version}: {len(found)} scenarios ({words or 'none'}), {total:,} rounds, "
        f"{distinct} distinct outcomes, {len(runs.boots)} boots, {runs.seconds:.0f} s; {steered}",
        highlight=False,
    )
    if every:
        out.print(
            f"Of the {every} outcomes of the scenarios whose set is complete the kernel came to {seen}.",
            highlight=False,
        )
