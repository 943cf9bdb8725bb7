"""`gmemsim bench`: figures in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ..nearest import hint
from .bench_files import Files
from .bench_run import run_cells
from .bench_show import REPORTS, show, show_sweep
from .bench_study import study
from .campaign import Ways, campaign_options
from .costs import TABLES, costs
from .errors import Group, InputError
from .output import print_json
from .params import COUNT, FILE, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..contention.result import Result
    from ..contention.sweep import Corner


@click.group("bench", cls=Group, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context, /) -> None:
    """Figures in virtual time."""
    if ctx.invoked_subcommand is None:
        raise click.UsageError("no command; expected contention, study or costs", ctx)


command.add_command(costs)
command.add_command(study)


def _numbers(ctx: click.Context, param: click.Parameter, value: str) -> list[int]:
    try:
        return [int(item) for item in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected numbers separated by commas") from None


def _names(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
    return [item.strip() for item in value.split(",")]


_LIST = {"show_default": True, "callback": _names}


@command.command("contention")
@click.option("--vcpus", default="1,2,4,8,16,32,64", show_default=True, callback=_numbers, help="Counts.")
@click.option("--patch", "patches", default="baseline,v3,tracked,tracked-shared", help="Versions.", **_LIST)  # type: ignore[arg-type]
@click.option("--arch", "arches", default="snp", help="VM types.", **_LIST)  # type: ignore[arg-type]
@click.option("--storm", "storms", default="first-touch,refault", help="What threads do; see above.", **_LIST)  # type: ignore[arg-type]
@click.option("--background", "backgrounds", default="none", help="none, punch, convert.", **_LIST)  # type: ignore[arg-type]
@click.option("--folio", "folios", default="4K", help="Folio sizes: 4K, 2M, 1G.", **_LIST)  # type: ignore[arg-type]
@click.option(
    "--release", default="", help="The kernel around all versions.  [default: the newest that one belongs to]"
)
@click.option("--lock", "policies", default="rwsem", help="The invalidate lock's policies.", **_LIST)  # type: ignore[arg-type]
@click.option(
    "--pages",
    type=COUNT,
    default=512,
    show_default=True,
    help="Folios, over all vCPUs; as many for each, so up to a multiple of them.",
)
@click.option("--interval", type=COUNT, default=20, show_default=True, help="Of the background, µs.")
@click.option(
    "--think", type=click.IntRange(min=0), default=0, help="Guest time between two units of work, ns."
)
@click.option(
    "--load",
    type=click.IntRange(min=0),
    default=0,
    help="Units offered per ms over all threads: evenly, all threads at once, or with --seeds at random. 0: closed.",
)
@click.option(
    "--tdx-module", default="1.5", show_default=True, help="1.0 or 1.5: who shares the S-EPT tree lock."
)
@click.option("--costs", "tables", default="generic", help=f"Cost tables: {TABLES}.", **_LIST)  # type: ignore[arg-type]
@click.option(
    "--sockets", default="1", show_default=True, callback=_numbers, help="That the CPUs are spread over."
)
@click.option("--other-lines", is_flag=True, help="Charge the cache lines of f_count and mmu_lock too.")
@click.option(
    "--seeds",
    type=click.IntRange(min=1, max=1000),
    help="Repeat each point with so many seeds: 95% intervals.  [default: once, in lock-step]",
)
@click.option(
    "--warmup",
    type=click.IntRange(0, 90),
    default=0,
    show_default=True,
    help="Percent of the time that is cut, see above.",
)
@click.option("--sweep", is_flag=True, help="Repeat in every corner of the uncertain costs.")
@click.option(
    "--report",
    "reports",
    default="summary,locks,perf",
    help=f"What is printed: {', '.join(REPORTS)}.",
    **_LIST,  # type: ignore[arg-type]
)
@click.option(
    "--csv", "csv_path", type=FILE, help="Write the figures as one table, without those of sites and perf."
)
@click.option("--parquet", "parquet_path", type=FILE, help="The same table as Parquet (needs duckdb).")
@click.option("--plot", "plot_path", type=FILE, help="Draw the picture (.svg, .png, .pdf).")
@click.option("--html", "html_path", type=FILE, help="One page with pictures and tables.")
@click.option("--trace", "trace_path", type=FILE, help="Waits and holds of one point for ui.perfetto.dev.")
@campaign_options
@json_option
def contention(
    vcpus: list[int],
    patches: list[str],
    arches: list[str],
    storms: list[str],
    backgrounds: list[str],
    folios: list[str],
    release: str,
    policies: list[str],
    pages: int,
    interval: int,
    think: int,
    load: int,
    tdx_module: str,
    tables: list[str],
    sockets: list[int],
    other_lines: bool,
    seeds: int | None,
    warmup: int,
    sweep: bool,
    reports: list[str],
    csv_path: Path | None,
    parquet_path: Path | None,
    plot_path: Path | None,
    html_path: Path | None,
    trace_path: Path | None,
    state: Path | None,
    jobs: int,
    cluster: str | None,
    as_json: bool,
) -> None:
    """Storms of N threads on one guest_memfd: throughput, latency, and what each lock cost.

    Options that take several values take them separated by commas. Storms: first-touch, first-touch-same, refault,
    accept, accept-serial, prefault (vCPUs); convert, punch, populate, memory-failure (VMM threads, by the version's own
    calls).

    With --seeds the threads begin and pause at moments of their own. With --warmup throughput and latency are those of
    the time between the cut and the end of the first thread. A sweep that was stopped goes on with --state.
    """
    from ..arch.cost_file import load_costs
    from ..contention.point import Point
    from ..contention.sweep import Corner, corners, points

    files = Files(csv_path, parquet_path, plot_path, html_path, trace_path)
    files.check([*patches, *tables, str(state or "")])
    for name in reports:
        if name not in REPORTS:
            raise InputError(f"--report {name}: {hint(name, REPORTS)}")
    if sweep and (files.wanted or other_lines):
        raise InputError("--sweep goes neither with an output file nor with --other-lines")
    _unused(sweep, arches, backgrounds)
    common = Point(
        pages=pages,
        release=release,
        interval_ns=interval * 1000,
        other_lines=other_lines,
        warmup=warmup,
        think_ns=think,
        load=load,
        tdx_module=tdx_module,
    )
    refused: list[str] = []
    wanted = points(
        patches=patches,
        arches=arches,
        storms=storms,
        backgrounds=backgrounds,
        vcpus=vcpus,
        folios=folios,
        policies=policies,
        tables=tables,
        sockets=sockets,
        seeds=range(1, seeds + 1) if seeds else (0,),
        common=common,
        refused=refused,
    )
    if sweep and len(tables) > 1:
        raise InputError("--sweep goes with one cost table")
    if trace_path is not None and len(wanted) != 1:
        raise InputError(f"--trace shows one point, and these are {len(wanted)}: give one value of each")
    for reason in refused:
        click.echo(f"gmemsim: left out: {reason}", err=True)
    if trace_path is not None and (state or cluster or jobs > 1):
        raise InputError("--trace is written where the point runs: not with --state, --jobs or --cluster")
    around = corners(load_costs(tables[0])) if sweep else [Corner("", {}, other_lines)]
    cells = [cell for corner in around for cell in corner.cells(wanted)]
    done, ended = run_cells(cells, Ways(state, jobs, cluster), files.trace)
    if ended is None and not sweep:
        # After a stop, what is through is shown; a file with a part of the figures would look like a whole one.
        files.write([each.result for each in done])
    by_cell = {each.cell: each.result for each in done}
    found = [(corner, [by_cell[c] for c in corner.cells(wanted) if c in by_cell]) for corner in around]
    if sweep:
        whole = [(corner, results) for corner, results in found if len(results) == len(wanted)]
        if as_json:
            print_json([_corner(corner, results) for corner, results in whole])
        elif whole:
            show_sweep(whole)
    elif as_json:
        print_json([result.document() for result in found[0][1]])
    elif found[0][1]:
        show(found[0][1], reports)
    if ended is not None:
        raise ended


def _unused(sweep: bool, arches: list[str], backgrounds: list[str]) -> None:
    """Refuse what was asked for and could change nothing.

    Raises:
        InputError: with the reason.
    """
    given = click.get_current_context().get_parameter_source
    for name, idle, why in (
        ("reports", sweep, "--sweep prints ratios alone: no --report"),
        ("tdx_module", "tdx" not in arches, "--tdx-module: none of these VM types is tdx"),
        ("interval", not {*backgrounds} - {"none"}, "--interval is the background's, and there is none"),
    ):
        if idle and given(name) == ParameterSource.COMMANDLINE:
            raise InputError(why)


def _corner(corner: Corner, results: Sequence[Result]) -> dict[str, object]:
    return {
        "corner": corner.name,
        "changes": corner.changes,
        "other_lines": corner.other_lines,
        "results": [result.document() for result in results],
    }
