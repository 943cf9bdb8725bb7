"""What `gmemsim bench contention` prints: tables of at most 80 columns; those of the field in their own width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from .output import LIMITS, console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console, JustifyMethod
    from rich.table import Table

    from ..contention.result import Result
    from ..contention.sweep import Corner

#: What can be asked for.
REPORTS: Final = {
    "summary": "throughput, latency, what is waited for most, work for nothing",
    "locks": "waits and holds by lock and mode; longest queue, longest convoy, most readers that overtook one writer",
    "sites": "waits and holds by lock, mode and calling function",
    "perf": "as perf lock contention counts",
    "lock_stat": "in the format of /proc/lock_stat",
}
_WIDTH: Final = 80
_LATENCIES: Final[tuple[Callable[[Result], int], ...]] = (
    lambda r: r.p50,
    lambda r: r.p90,
    lambda r: r.p99,
    lambda r: r.longest,
)
_UNITS: Final = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"))
#: Columns that are not folded: the others give way.
_WHOLE: Final = ("lock", "vCPUs", "version")


def show(results: Sequence[Result], reports: Sequence[str]) -> None:
    """The reports that were asked for, a group of comparable points after another."""
    out = console()
    out.width = min(out.width, _WIDTH)
    for key, mine in groups(results):
        if "summary" in reports:
            _summary(out, ", ".join(key), mine)
        most = max(r.point.vcpus for r in mine)
        seed = min(r.point.seed for r in mine)
        for result in (r for r in mine if (r.point.vcpus, r.point.seed) == (most, seed)):
            _point(out, result, reports)
    _limits(out, results)


def groups(results: Sequence[Result]) -> Iterator[tuple[tuple[str, ...], list[Result]]]:
    """Points that are compared, with what they have in common."""
    for key in dict.fromkeys(r.point.setting for r in results):
        yield key, [r for r in results if r.point.setting == key]


def table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] | None = None
) -> Table:
    """A table of text; without `left`, columns that hold no numbers stand left."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    listed = [tuple(row) for row in rows]
    if left is None:
        left = [
            head for at, head in enumerate(headings) if not all(map(_number, (row[at] for row in listed)))
        ]
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        justify: JustifyMethod = "left" if heading in left else "right"
        made.add_column(heading, justify=justify, overflow="fold", no_wrap=heading in _WHOLE)
    for row in listed:
        made.add_row(*map(Text, row))
    return made


def _number(cell: str) -> bool:
    return not cell.strip("-±x0123456789,.% ")


def _short(ns: int) -> str:
    """A time in at most seven characters: three digits and the unit."""
    value, unit = next(((ns / base, unit) for base, unit in _UNITS if ns >= base), (float(ns), "ns"))
    digits = 0 if unit == "ns" or value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def _mean(values: Iterable[int]) -> str:
    listed = list(values)
    return f"{sum(listed) / len(listed):,.0f}"


def _summary(out: Console, title: str, mine: Sequence[Result]) -> None:
    from ..contention.intervals import by_point, interval, ratio
    from ..contention.result import STEADY, Bottleneck
    from ..contention.storms import STORMS

    unit = STORMS[mine[0].point.storm].unit
    rates, times, named = [], [], []
    points = by_point(mine)
    for point, runs in points.items():
        first = next(others for other, others in points.items() if other.vcpus == point.vcpus)
        most = Bottleneck.of(runs)
        named.append(most.name)
        who = (str(point.vcpus), point.label)
        rates.append(
            (
                *who,
                f"{interval([r.faults_per_ms for r in runs]):,.1f}",
                f"{ratio(runs, first, lambda r: r.faults_per_ms):.3f}",
                f"{most.name} {most.share:.0%}" if most.name else "-",
            )
        )
        times.append(
            (
                *who,
                *(_short(round(interval([value(r) for r in runs]).mean)) for value in _LATENCIES),
                f"{_mean(r.waste.all_retries for r in runs)} ({_mean(r.waste.false_retries for r in runs)})",
                f"{_mean(r.waste.prepares for r in runs)} ({_mean(r.waste.no_ops for r in runs)})",
            )
        )
    means = {name: Bottleneck.MEANINGS.get(name) for name in named}
    unsteady = [r for r in mine if r.point.warmup and not r.steady]
    left = ("version", "waited for most")
    seeds = max(map(len, points.values()))
    if seeds > 1:
        title += f"; means of {seeds} seeds with 95% intervals"
    out.print(table(title, ("vCPUs", "version", f"{unit}/ms", "vs first", "waited for most"), rates, left))
    for name, meaning in means.items():
        if meaning is not None:
            out.print(f"{name}: {meaning}.", highlight=False)
    if unsteady:
        out.print(
            f"Not steady: in {len(unsteady)} of {len(mine)} runs the second half of the window has over "
            f"{STEADY:.0%} more or fewer {unit} than the first.",
            highlight=False,
        )
    out.print(
        table(
            f"virtual time of one of the {unit}; work for nothing",
            ("vCPUs", "version", "p50", "p90", "p99", "max", "retries (false)", "hook (no-op)"),
            times,
            left,
        )
    )


def _point(out: Console, result: Result, reports: Sequence[str]) -> None:
    from ..contention.contended import perf_report
    from ..contention.lock_stat import lock_stat

    title = f"{result.point.label}, {result.point.vcpus} vCPUs"
    if "locks" in reports:
        _locks(out, title, result)
    if "sites" in reports:
        _sites(out, title, result)
    if "perf" in reports:
        click.echo(f"{title}, as perf lock contention counts (no folio locks, no writers that spun):")
        click.echo(perf_report(result.perf) if result.perf else "nothing was contended\n")
    if "lock_stat" in reports:
        click.echo(f"{title}, as /proc/lock_stat shows it:")
        click.echo(lock_stat(result))


def _locks(out: Console, title: str, result: Result) -> None:
    ordered = sorted(result.locks.items(), key=lambda item: (-item[1].wait_total, item[0]))
    waits = (
        (
            name,
            f"{found.acquisitions:,}",
            f"{found.contentions:,}",
            *map(_short, (found.wait_total, found.wait_p50, found.wait_p99, found.wait_max)),
        )
        for name, found in ordered
    )
    headings = ("lock", "taken", "waited", "wait total", "p50", "p99", "max")
    out.print(table(f"waits: {title}", headings, waits, ("lock",)))
    holds = (
        (
            name,
            *map(_short, (found.hold_total, found.hold_p50, found.hold_p99, found.hold_max)),
            *map(str, (found.queue_max, found.convoy, found.overtaken)),
        )
        for name, found in ordered
    )
    held = ("lock", "held total", "p50", "p99", "max", "queue", "convoy", "passed by")
    out.print(table(f"holds, queues: {title}", held, holds, ("lock",)))


def _sites(out: Console, title: str, result: Result) -> None:
    rows = (
        (
            f"{site.lock}:{site.mode}",
            site.caller,
            f"{site.waits:,}",
            *map(_short, (site.wait_total, site.wait_max, site.hold_total, site.hold_max)),
        )
        for site in result.sites
    )
    headings = ("lock", "function", "waits", "total", "max", "held total", "max")
    out.print(table(f"who waits, who holds: {title}", headings, rows, ("lock", "function")))


def show_sweep(found: Sequence[tuple[Corner, list[Result]]]) -> None:
    """Throughput against the first patch, per corner, at the largest number of vCPUs."""
    from ..contention.intervals import interval, ratio
    from ..contention.storms import STORMS

    out = console()
    out.width = min(out.width, _WIDTH)
    first = found[0][1]
    most = max(r.point.vcpus for r in first)
    for key, group in groups(first):
        labels = list(dict.fromkeys(r.point.label for r in group))
        rows: list[Any] = []
        for corner, results in found:
            runs: dict[str, list[Result]] = {label: [] for label in labels}
            for r in results:
                # The corner's own lines are no part of what its points have in common with those of others.
                if attrs.evolve(r.point, other_lines=False).setting == key and r.point.vcpus == most:
                    runs[r.point.label].append(r)
            base = runs[labels[0]]
            rate = f"{interval([r.faults_per_ms for r in base]):,.1f}"
            ratios = [f"{ratio(runs[label], base, lambda r: r.faults_per_ms):.3f}" for label in labels[1:]]
            rows.append((corner.name, "yes" if corner.other_lines else "", rate, *ratios))
        title = f"{', '.join(key)}, {most} vCPUs: throughput against {labels[0]}"
        seeds = len({r.point.seed for r in group})
        if seeds > 1:
            title += f"; means of {seeds} seeds with 95% intervals"
        unit = STORMS[group[0].point.storm].unit
        out.print(table(title, ("corner", "other lines", f"{unit}/ms", *labels[1:]), rows, ("corner",)))
    _limits(out, first)


def _limits(out: Console, results: Sequence[Result]) -> None:
    """Which costs the figures are made of, and what none of them charges."""
    from ..arch.cost_file import load_costs
    from ..arch.platform_costs import uncharged

    for name in dict.fromkeys(r.point.costs for r in results):
        table = load_costs(name)
        text = f"costs {name} ({table.title}); not charged: {'; '.join(uncharged(table.table('default')))}."
        if not table.full:
            text += " `--costs milan` and other full tables charge more; `gmemsim bench costs` shows a table."
        out.print(text, style="dim", highlight=False)
    # A version that forgets something is only faster here.
    out.print(f"No rule looks on in a storm: ask `gmemsim stress`. {LIMITS}", style="dim", highlight=False)
