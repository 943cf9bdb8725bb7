"""`gmemsim demo`: the patch series on recorded workloads, beside what two real kernels did."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .errors import Command
from .output import LIMITS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..follow.demo import DemoReport, Row, Workload

#: Positions of the two preparation laws in `laws.Tally.laws`.
PREPARE_A_ZEROING, PREPARE_A_PFN = 4, 5


@click.command("demo", cls=Command)
def command() -> None:
    """A deadlock, a patch that is wrong, what a lock costs; then the series beside two real kernels.

    The second part runs the model before and after the series on recorded workloads. All of it takes seconds.
    """
    from rich.console import Console

    from ..follow.demo import run_demo
    from .first_look import first_look
    from .tables import FittingConsole

    errors = Console(stderr=True)
    if sys.stderr.isatty():
        with errors.status("starting") as status:
            first_look(FittingConsole(), status.update)
            report = run_demo(status.update)
    else:
        first_look(FittingConsole(), lambda _text: None)
        report = run_demo()
    show(report, FittingConsole())
    if not all(row.followed.accepted for row in report.rows):
        raise SystemExit(1)


def show(report: DemoReport, out: Console) -> None:
    """Print the report so that it reads at a glance, in 80 columns."""
    out.print("[bold]guest_memfd before (baseline, Linux 6.18) and after the series (v3, Linux 7.2)[/]")
    for patch, order in report.order:
        out.print(f"  first fault   {patch:<9} {' < '.join(order)}")
    for patch, text in report.populate:
        out.print(f"  populate 2x   {patch:<9} {text}")
    out.print()
    out.print(_counts(report))
    out.print(_laws(report))
    accepted = sum(row.followed.accepted for row in report.rows)
    matched = sum(row.followed.matched for row in report.rows)
    out.print(
        f"{accepted} of {len(report.rows)} recordings are runs of the model: "
        f"{matched} kernel events matched one to one (gmemsim follow)."
    )
    for row in report.rows:
        at = row.followed.rejected_at
        if at is not None:
            out.print(
                f"[red]{row.release} {row.workload.recording} rejected at line {at.line}: {at.reason}[/]"
            )
    out.print(LIMITS, style="dim")


def _side(row: Row) -> str:
    return "before" if row.patch == "baseline" else "after"


def _workloads(report: DemoReport) -> list[Workload]:
    return list(dict.fromkeys(row.workload for row in report.rows))


def _counts(report: DemoReport) -> Table:
    from rich.table import Table

    table = Table(title="calls, model / kernel", title_justify="left", caption_justify="left")
    table.caption = (
        "A prepare for each zeroing by a vCPU before, for each get_pfn after. EEXIST: lost insertions. "
        "Counts of racing workloads differ from run to run, in kernels too; the laws below do not."
    )
    table.add_column("workload")
    table.add_column("side")
    for name in ("get_pfn", "zeroed", "prepare", "EEXIST"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.rows:
        cells = [
            f"{row.model.count(name)} / {row.kernel.count(name)}" for name in ("get_pfn", "clear", "prepare")
        ]
        cells[2] = f"[bold]{cells[2]}[/]"
        cells.append(f"{row.model.exists} / {row.kernel.exists}")
        text = row.workload.text if _side(row) == "before" else ""
        table.add_row(text, _side(row), *cells, end_section=_side(row) == "after")
    return table


def _laws(report: DemoReport) -> Table:
    from rich.table import Table

    table = Table(
        title="laws of real kernels, model and kernel, before | after; ·: nothing there that it speaks of",
        title_justify="left",
    )
    table.add_column("law")
    for workload in _workloads(report):
        table.add_column(workload.scenario, justify="center", no_wrap=True)
    for number, law in enumerate(report.rows[0].model.laws):
        if number == PREPARE_A_PFN:
            continue
        text = "one prepare a zeroing | one a get_pfn" if number == PREPARE_A_ZEROING else law.text
        cells = []
        for workload in _workloads(report):
            marks = []
            for row in report.rows:
                if row.workload is workload:
                    at = PREPARE_A_PFN if number == PREPARE_A_ZEROING and _side(row) == "after" else number
                    marks.append(_mark(row.model.laws[at].holds) + _mark(row.kernel.laws[at].holds))
            cells.append(" | ".join(marks))
        table.add_row(text, *cells)
    return table


def _mark(holds: bool | None) -> str:
    return "·" if holds is None else "[green]✓[/]" if holds else "[red]✗[/]"
