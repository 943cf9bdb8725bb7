"""What `gmemsim run` shows to people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..audit.lock_table import LockRow, format_ns, lock_table
from .output import LIMITS, console, table

if TYPE_CHECKING:
    from rich.table import Table

    from ..scenarios.session import Session
    from ..scenarios.summary import Summary


def lock_rows(summary: Summary) -> list[LockRow]:
    """One row a lock class and mode that was taken."""
    rows: list[LockRow] = []
    for lock in summary.locks:
        for mode, found in (("r", lock.read), ("w", lock.write)):
            if found.acquisitions:
                times = (found.wait_total, found.wait_max, found.hold_total, found.hold_max)
                rows.append(LockRow(lock.name, mode, found.acquisitions, found.contentions, *times))
    return rows


def report(session: Session) -> None:
    """Everything at a glance."""
    from rich.table import Table
    from rich.text import Text

    from ..arch.registry import described

    out = console()
    summary = session.summary()
    events = sum(summary.events.values())
    parameters = " ".join(f"{name}={value}" for name, value in summary.parameters.items())
    out.print(
        Text.assemble(
            (summary.scenario, "bold"), " on ", (summary.patch, "bold"), f": {session.workload.head.summary}"
        )
    )
    out.print(
        f"{described(summary.arch)}, release {summary.release}, seed {summary.seed}; {parameters}\n"
        f"{format_ns(summary.virtual_ns).strip()} virtual, {events:,} events, {summary.steps:,} steps\n",
        highlight=False,
    )
    pairs: list[Table] = []
    if summary.outcomes:
        pairs.append(_pairs("faults", summary.outcomes))
    rows = (
        "get_pfn",
        "prepare",
        "make_private",
        "clear",
        "page_cache_add",
        "page_cache_delete",
        "zap",
        "tlb_flush",
    )
    counts = {name: summary.events[name] for name in rows if name in summary.events}
    if counts:
        pairs.append(_pairs("events", counts))
    if pairs:
        side_by_side = Table.grid(padding=(0, 3))
        side_by_side.add_row(*pairs)
        out.print(side_by_side)
    out.print(_tasks(session))
    if summary.locks:
        out.print(lock_table(lock_rows(summary), title="locks"))
    for violation in summary.violations:
        out.print(Text.assemble((violation.rule, "bold red"), f": {violation.text}"), soft_wrap=True)
    out.print(LIMITS, style="dim", highlight=False)


def _pairs(title: str, counts: dict[str, int]) -> Table:
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    return table


def _tasks(session: Session) -> Table:
    """Instances of one [[task]] in one row."""
    shown = table("tasks", ("task", "rounds", "operations", "exits", "stopped"))
    groups: dict[tuple[str, str], list[str]] = {}
    for actor in session.workload.actors:
        groups.setdefault((actor.vm, actor.table), []).append(actor.name)
    for names in groups.values():
        results = [session.results[name] for name in names]
        outcomes: Counter[str] = Counter()
        exits: Counter[str] = Counter()
        for result in results:
            exits.update(result.exits)
            for op, counts in result.outcomes.items():
                outcomes.update({f"{op} {outcome}": count for outcome, count in counts.items()})
        label = names[0] if len(names) == 1 else f"{names[0]}…{names[-1]}"
        stopped = ", ".join(sorted({result.stopped for result in results if result.stopped}))
        rounds = f"{sum(result.rounds for result in results):,}"
        shown.add_row(label, rounds, _list(outcomes), _list(exits), stopped)
    return shown


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
