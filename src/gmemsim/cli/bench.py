"""`gmemsim bench`: figures in virtual time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import InputError, Interrupted
from .output import LIMITS, console, print_json
from .whole import check_writable, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..contention.point import Point
    from ..contention.result import Result
    from ..contention.sweep import Corner

__all__ = ["command", "contention"]


@click.group("bench", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context, /) -> None:
    """Figures in virtual time."""
    if ctx.invoked_subcommand is None:
        raise click.UsageError("no command; expected contention", ctx)


def _numbers(ctx: click.Context, param: click.Parameter, value: str) -> list[int]:
    try:
        return [int(item) for item in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected numbers separated by commas") from None


def _names(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
    return [item.strip() for item in value.split(",")]


_FILE = click.Path(dir_okay=False, path_type=Path)
_LIST = {"show_default": True, "callback": _names}


@command.command("contention")
@click.option("--vcpus", default="1,2,4,8,16,32,64", show_default=True, callback=_numbers, help="Counts.")
@click.option("--patch", "patches", default="baseline,v3,tracked,tracked-shared", help="Versions.", **_LIST)  # type: ignore[arg-type]
@click.option("--arch", "arches", default="snp", help="VM types.", **_LIST)  # type: ignore[arg-type]
@click.option("--storm", "storms", default="first-touch,refault", help="What threads do; see below.", **_LIST)  # type: ignore[arg-type]
@click.option("--background", "backgrounds", default="none", help="none, punch, convert.", **_LIST)  # type: ignore[arg-type]
@click.option("--folio", "folios", default="4K", help="Folio sizes: 4K, 2M, 1G.", **_LIST)  # type: ignore[arg-type]
@click.option(
    "--release", default="", help="The kernel around all versions.  [default: the newest that one belongs to]"
)
@click.option("--lock", "policies", default="rwsem", help="The invalidate lock's policies.", **_LIST)  # type: ignore[arg-type]
@click.option(
    "--pages", type=click.IntRange(min=1), default=512, show_default=True, help="Folios, over all vCPUs."
)
@click.option(
    "--interval", type=click.IntRange(min=1), default=20, show_default=True, help="Of the background, µs."
)
@click.option("--other-lines", is_flag=True, help="Charge the cache lines of f_count and mmu_lock too.")
@click.option("--sweep", is_flag=True, help="Repeat in every corner of the uncertain costs.")
@click.option("--csv", "csv_path", type=_FILE, help="Write all figures.")
@click.option("--plot", "plot_path", type=_FILE, help="Draw the picture (.svg, .png, .pdf).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
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
    other_lines: bool,
    sweep: bool,
    csv_path: Path | None,
    plot_path: Path | None,
    as_json: bool,
) -> None:
    """Storms of N threads on one guest_memfd: throughput, latency, and what each lock cost.

    Options that take several values take them separated by commas. Storms: first-touch, first-touch-same, refault,
    accept, prefault (vCPUs); convert, punch, populate (VMM threads, by the version's own calls).
    """
    from ..contention.plot import FORMATS
    from ..contention.point import Point, PointError
    from ..contention.sweep import points, run_all, sensitivity
    from ..patches.registry import PatchError
    from .running import patches_told, user_error

    _writable(csv_path, None)
    _writable(plot_path, FORMATS)
    check_writable(csv_path, plot_path, inputs=patches)
    if sweep and (csv_path or plot_path or other_lines):
        raise InputError("--sweep goes neither with --csv, --plot nor --other-lines")
    common = Point(pages=pages, release=release, interval_ns=interval * 1000, other_lines=other_lines)
    refused: list[str] = []
    try:
        wanted = points(
            patches=patches,
            arches=arches,
            storms=storms,
            backgrounds=backgrounds,
            vcpus=vcpus,
            folios=folios,
            policies=policies,
            common=common,
            refused=refused,
        )
    except (PointError, PatchError) as error:
        raise InputError(str(error)) from error
    for reason in refused:
        click.echo(f"gmemsim: left out: {reason}", err=True)
    found: list[tuple[Corner, list[Result]]] = []
    results: list[Result] = []
    ended: Interrupted | None = None
    try:
        with user_error(*patches), patches_told(patches, "these storms"):
            if sweep:
                sensitivity(wanted, _progress(), found.append)
            else:
                run_all(wanted, progress=_progress(), done=results.append)
    except KeyboardInterrupt:
        # What is through is shown; a file with a part of the figures would look like a whole one.
        ended = Interrupted()
    if ended is None and not sweep:
        _write(results, csv_path, plot_path)
    if as_json:
        print_json(
            [_corner(corner, results) for corner, results in found]
            if sweep
            else [result.document() for result in results]
        )
    elif found:
        _show_sweep(found)
    elif results:
        _show(results)
    if ended is not None:
        raise ended


def _write(results: Sequence[Result], csv_path: Path | None, plot_path: Path | None) -> None:
    """The files that were asked for: all of them, or none."""
    from ..contention.csv_file import to_csv
    from ..contention.plot import to_image

    outputs: list[tuple[Path, bytes]] = []
    if csv_path is not None:
        outputs.append((csv_path, to_csv(results).encode()))
    if plot_path is not None:
        try:
            outputs.append((plot_path, to_image(results, plot_path.suffix[1:])))
        except ImportError:
            raise InputError("--plot needs matplotlib: pip install 'gmemsim[plot]'") from None
    for path, data in outputs:
        write_whole(path, data)


def _writable(path: Path | None, suffixes: Sequence[str] | None) -> None:
    """Refuse a file name before anything is run."""
    if path is None:
        return
    if suffixes is not None and path.suffix[1:] not in suffixes:
        raise InputError(f"{path}: expected a name that ends in .{', .'.join(suffixes)}")
    check_writable(path)


def _progress() -> Callable[[int, Point], None] | None:
    """Say which point is run, if stderr is a terminal."""
    if not sys.stderr.isatty():
        return None

    def say(number: int, point: Point) -> None:
        text = f"{number}: {point.storm} {point.background} {point.vcpus} vCPUs {point.patch}"
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    return say


def _corner(corner: Corner, results: Sequence[Result]) -> dict[str, object]:
    return {
        "corner": corner.name,
        "changes": corner.changes,
        "other_lines": corner.other_lines,
        "results": [result.document() for result in results],
    }


def _groups(results: Sequence[Result]) -> Iterator[tuple[tuple[str, ...], list[Result]]]:
    for key in dict.fromkeys(r.point.setting for r in results):
        yield key, [r for r in results if r.point.setting == key]


def _show(results: Sequence[Result]) -> None:
    """A table a storm; the locks of its largest points, in full and as perf shows them."""
    from rich.table import Table

    from ..audit.lock_table import format_ns, lock_table
    from ..contention.contended import perf_report
    from ..contention.storms import STORMS

    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    out = console()
    for key, mine in _groups(results):
        table = Table(title=", ".join(key), title_justify="left")
        unit = STORMS[mine[0].point.storm].unit
        headings = ("vCPUs", "patch", f"{unit}/ms", "vs first", "p50", "p99", "max", "retries", "hook calls")
        for heading in (*headings, "waited for most"):
            left = heading in ("patch", "waited for most")
            table.add_column(heading, justify="left" if left else "right", overflow="fold")
        for result in mine:
            first = next(r for r in mine if r.point.vcpus == result.point.vcpus)
            ratio = result.faults_per_ms / first.faults_per_ms if first.faults_per_ms else 0.0
            times = map(format_ns, (result.p50, result.p99, result.longest))
            most_waited = result.bottleneck
            table.add_row(
                str(result.point.vcpus),
                result.point.label,
                f"{result.faults_per_ms:,.1f}",
                f"{ratio:.3f}",
                *times,
                str(result.retries),
                str(result.prepares),
                f"{most_waited.name} {most_waited.share:.0%}" if most_waited.name else "-",
            )
        out.print(table)
        most = max(r.point.vcpus for r in mine)
        for result in (r for r in mine if r.point.vcpus == most):
            out.print(lock_table(result.lock_rows(), title=f"locks: {result.point.label}, {most} vCPUs"))
            if result.perf:
                click.echo("as perf lock contention counts (no folio locks, no writers that spun):")
                click.echo(perf_report(result.perf))
    out.print(LIMITS, style="dim", highlight=False)


def _show_sweep(found: Sequence[tuple[Corner, list[Result]]]) -> None:
    """Throughput against the first patch, per corner, at the largest number of vCPUs."""
    from rich.table import Table

    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    out = console()
    first = found[0][1]
    patches = list(dict.fromkeys(r.point.label for r in first))
    most = max(r.point.vcpus for r in first)
    for key, _ in _groups(first):
        title = f"{', '.join(key)}, {most} vCPUs: throughput against {patches[0]}"
        table = Table(title=title, title_justify="left")
        for heading in ("corner", "other lines", "faults/ms", *patches[1:]):
            table.add_column(heading, justify="left" if heading == "corner" else "right")
        for corner, results in found:
            mine = next(group for name, group in _groups(results) if set(key) <= set(name))
            rates = [r.faults_per_ms for r in mine if r.point.vcpus == most]
            ratios = [f"{rate / rates[0]:.3f}" for rate in rates[1:]]
            table.add_row(corner.name, "yes" if corner.other_lines else "", f"{rates[0]:,.1f}", *ratios)
        out.print(table)
    out.print(LIMITS, style="dim", highlight=False)
