"""`gmemsim lab compare`: outcomes of a kernel held against the model's."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from ..lab.errors import LabError
from .errors import INTERRUPTED, UNDECIDED, VIOLATION, Command, InputError
from .lab_options import delay_option, kernel_option, machine, machine_options, say, seed_option
from .output import console, print_json
from .params import COUNT, SECONDS, json_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..lab.results import Head, Row
    from ..lab.translate import Program
    from ..scenarios.scenario import Scenario

_Command = TypeVar("_Command", bound="Callable[..., Any]")


def _model_states(default: int) -> Callable[[_Command], _Command]:
    return click.option(
        "--model-states", type=COUNT, default=default, show_default=True,
        help="States of the model to look at even if all that the kernel came to is known.",
    )  # fmt: skip


_model_seconds = click.option(
    "--model-seconds", type=SECONDS, default=60, show_default=True, help="For each scenario on the model."
)


@click.command("compare", cls=Command)
@click.argument("scenarios", nargs=-1)
@kernel_option
@click.option(
    "--patch", help="Version of the model; default: the one that a stock kernel of this release is."
)
@click.option("--drawn", type=COUNT, help="So many scenarios drawn at random.")
@click.option(
    "--first", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the first drawn."
)
@click.option("--wide", is_flag=True, help="Drawn ones have two of something: slots of a file, files, VMs.")
@click.option("--rounds", type=COUNT, default=40, show_default=True, help="Of each scenario.")
@delay_option
@seed_option
@click.option("--max-seconds", type=SECONDS, help="Wall-clock for the kernel, boots and all.")
@_model_states(2_000)
@_model_seconds
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep a line a scenario here; what is in it already is not run again.",
)
@click.option("--batch", type=COUNT, default=40, show_default=True, help="Scenarios of one boot.")
@machine_options
@json_option
@click.pass_context
def compare(
    ctx: click.Context,
    scenarios: tuple[str, ...],
    kernel: str,
    patch: str | None,
    drawn: int | None,
    first: int,
    wide: bool,
    rounds: int,
    delay: int,
    seed: int,
    max_seconds: float | None,
    model_states: int,
    model_seconds: float,
    results: Path | None,
    batch: int,
    accel: str,
    front: str,
    as_json: bool,
) -> None:
    """Run SCENARIOS, or drawn ones, on a kernel and on the model: each outcome of the kernel has to be one of its.

    With --results a campaign goes on where it ended. Exit code 1 if an outcome is not the model's, and the model's set
    is complete; 2 if the model's search was not complete and does not have it, or if nothing could be compared.
    """
    from ..lab.batch import Campaign, compare_all
    from ..lab.compare import check_comparable
    from ..lab.drawn import drawn as draw
    from ..lab.drawn_wide import wide as draw_wide
    from ..lab.kernels import find_kernel
    from ..lab.refusals import vm_type_of
    from ..lab.results import Head, keep_row
    from ..lab.translate import Steering, translate
    from ..lab.versions import version_of
    from ..scenarios.catalogue import find

    if bool(scenarios) == bool(drawn):
        raise InputError("expected either scenarios or --drawn N")
    booted = find_kernel(kernel)
    version = patch or version_of(booted)
    head = Head(kernel=booted.release, patch=version, seed=seed, rounds=rounds, delay=delay)
    rows = _kept(results, head)
    chosen = [
        (draw_wide if wide else draw)(seed, number) for number in range(first, first + (drawn or 0))
    ] + [find(name) for name in scenarios]
    wanted = [scenario.head.name for scenario in chosen]
    chosen = [scenario for scenario in chosen if not _is_known(rows, scenario)]
    programs: list[Program] = []
    for scenario in chosen:
        workload = scenario.resolve(small=True)
        check_comparable(workload)
        programs.append(translate(workload, vm_type_of(scenario), seed=seed))
    steering = Steering(rounds=rounds, seed=seed, spread_ns=delay * 1000, report_seconds=0)
    _begin(results, head)
    done = Campaign()
    if chosen:
        done = compare_all(
            booted, version, chosen, programs, steering,
            machine=machine(accel, front, max_seconds), batch=batch, say=say,
            model_states=model_states, model_seconds=model_seconds,
            keep=(lambda row: None) if results is None else partial(keep_row, results),
        )  # fmt: skip
    rows = {name: row for name, row in {**rows, **done.rows}.items() if name in wanted}
    _report(rows.values(), head, as_json, {
        "about": done.about, "front": done.front, "boots": done.boots, "boot_seconds": round(done.seconds, 1),
        "model_seconds": round(done.model_seconds, 1), "steered": steering.text(), "interrupted": done.interrupted,
        "missing": [name for name in wanted if name not in rows],
    })  # fmt: skip
    if done.interrupted:
        ctx.exit(INTERRUPTED)
    _exit(ctx, rows.values(), whole=len(rows) == len(set(wanted)))


def _is_known(rows: Mapping[str, Row], scenario: Scenario) -> bool:
    """Whether a file has the scenario, as it is now.

    Raises:
        LabError: it has another one by this name.
    """
    from ..lab.results import digest_of

    row = rows.get(scenario.head.name)
    if row is not None and row.digest != digest_of(scenario.source.text):
        raise LabError(
            f"{scenario.head.name} is another scenario than the one in the results; begin a new file"
        )
    return row is not None


def _exit(ctx: click.Context, rows: Iterable[Row], *, whole: bool) -> None:
    verdicts = {row.verdict for row in rows}
    if "differ" in verdicts:
        ctx.exit(VIOLATION)
    if "undecided" in verdicts or not verdicts or verdicts == {"refused"} or not whole:
        ctx.exit(UNDECIDED)


@click.command("again", cls=Command)
@click.argument("results", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--patch", help="Version of the model; default: the one in the file.")
@_model_states(20_000)
@_model_seconds
@click.option("--only", multiple=True, metavar="SCENARIO", help="Only this one; several may be given.")
@click.option("--differing", is_flag=True, help="Only those that do not agree in the file.")
@click.option(
    "--results",
    "kept",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep a line a scenario here as soon as it is asked; what is in it already is not asked again.",
)
@click.option(
    "--write", type=click.Path(path_type=Path), metavar="FILE", help="Write all results here (.gz: small)."
)
@click.option("--max-seconds", type=SECONDS, help="Wall-clock for all of it.")
@json_option
@click.pass_context
def again(
    ctx: click.Context,
    results: Path,
    patch: str | None,
    model_states: int,
    model_seconds: float,
    only: tuple[str, ...],
    differing: bool,
    kept: Path | None,
    write: Path | None,
    max_seconds: float | None,
    as_json: bool,
) -> None:
    """Hold what kernels came to earlier (RESULTS of `lab compare`) against the model as it is now; no kernel is needed.

    Ctrl-C and --max-seconds keep what was asked: --write then has the other lines as they were, and with --results the
    same command goes on. Exit codes as `lab compare`.
    """
    from ..lab.batch import ask_again
    from ..lab.results import keep_row, read_results, write_results

    began = monotonic()
    interrupted = False
    head, rows = read_results(results, whole=True)
    if patch is None and ".py:" in head.patch:
        # As with tokens: a file is not run because another one names it.
        raise InputError(f"{results} is of {head.patch}, whose code is only run if --patch names it")
    version = patch or head.patch
    now = msgspec.structs.replace(head, patch=version)
    asked = _kept(kept, now)
    for name in only:
        if name not in rows:
            raise LabError(f"{results} has no scenario {name}")
    wanted = {
        name: row
        for name, row in rows.items()
        if (not only or name in only) and not (differing and row.verdict in ("agree", "refused"))
    }
    _begin(kept, now)
    for name, row in wanted.items():
        if name in asked:
            continue
        if max_seconds is not None and monotonic() - began > max_seconds:
            break
        scenario = scenario_of(name)
        _is_known(rows, scenario)
        try:
            asked[name] = ask_again(head, row, scenario, version, model_states, model_seconds)
        except KeyboardInterrupt:
            interrupted = True
            break
        if kept is not None:
            keep_row(kept, asked[name])
    asked = {name: asked[name] for name in wanted if name in asked}
    missing = [name for name in wanted if name not in asked]
    if write is not None:
        # Lines of another version have no place beside those that were asked.
        others = rows if version == head.patch else {}
        write_results(write, now, {**others, **asked}.values())
    _report(asked.values(), now, as_json, {"interrupted": interrupted, "missing": missing})
    if interrupted:
        ctx.exit(INTERRUPTED)
    _exit(ctx, asked.values(), whole=not missing)


def _kept(path: Path | None, head: Head) -> dict[str, Row]:
    """Lines of a file that is added to, which begins with `head`.

    Raises:
        LabError: it is compressed, or has other results.
    """
    from ..lab.results import read_results

    if path is not None and path.suffix == ".gz":
        raise LabError(f"{path}: expected a plain file to add to; gmemsim lab again writes compressed ones")
    if path is None or not path.exists():
        return {}
    return read_results(path, head)[1]


def _begin(path: Path | None, head: Head) -> None:
    """A file that is not there gets its first line."""
    from ..lab.results import write_results

    if path is not None and not path.exists():
        write_results(path, head, ())


def scenario_of(name: str) -> Scenario:
    """A drawn scenario by the name that it has in results, or one of the library; never a file, whatever it says."""
    from ..lab.drawn import drawn
    from ..lab.drawn_wide import wide
    from ..scenarios.catalogue import load_named

    families = {"drawn": drawn, "wide": wide}
    parts = name.split("-")
    if len(parts) == 3 and parts[0] in families and all(part.isdecimal() for part in parts[1:]):
        return families[parts[0]](int(parts[1]), int(parts[2]))
    return load_named(name)


def _report(rows: Iterable[Row], head: Head, as_json: bool, more: Mapping[str, Any]) -> None:
    from ..lab.results import totals

    rows = list(rows)
    sums = totals(rows)
    if as_json:
        print_json({
            **msgspec.to_builtins(head), **more, **msgspec.to_builtins(sums),
            "results": [msgspec.to_builtins(row) for row in rows],
        })  # fmt: skip
        return
    out = console()
    for row in rows:
        if row.verdict == "agree":
            continue
        why = ", ".join(word for word in (row.note, row.died, "hung" if row.hung else "") if word)
        click.echo(f"{row.verdict}: {row.scenario}{f' ({why})' if why else ''}")
        for text, count in row.not_of_the_model.items():
            click.echo(f"{count:>7}  {text}")
        for text in row.model_has:
            click.echo(f"  model  {text}")
    words = ", ".join(f"{count} {verdict}" for verdict, count in sums.verdicts.items())
    steered = f"; {more['steered']}" if "steered" in more else ""
    boots = f", {len(more['boots'])} boots with {more['front']}" if more.get("boots") else ""
    hung = f" ({sums.hung} hung, as the model may)" if sums.hung and "differ" not in sums.verdicts else ""
    out.print(
        f"{head.kernel} against {head.patch}: {sums.scenarios} scenarios ({words or 'none'}){hung}, "
        f"{sums.rounds:,} rounds, {sums.distinct} distinct outcomes{boots}{steered}",
        highlight=False,
    )
    if sums.outcomes:
        out.print(
            f"Of the {sums.outcomes} outcomes of {sums.complete} scenarios whose set is complete the kernel came to "
            f"{sums.seen}.",
            highlight=False,
        )
    if more.get("missing"):
        out.print(f"Not run: {len(more['missing'])} scenarios.", highlight=False)
