"""Lock statistics as a table for a terminal.

Times are virtual nanoseconds under the run's cost model: good for orderings, ratios and scaling, not for
reading absolute times off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table


class LockRow(msgspec.Struct, frozen=True):
    """One mode of one lock or lock class.

    Attributes:
        name: the lock or its class, `invalidate_lock`.
        mode: `r` shared, `w` exclusive.
        acquisitions, contentions: how often it was taken, and how often that meant waiting.
        wait_total, wait_max, hold_total, hold_max: virtual ns.
    """

    name: str
    mode: str
    acquisitions: int
    contentions: int
    wait_total: int
    wait_max: int
    hold_total: int
    hold_max: int

    @property
    def wait_avg(self) -> int:
        """Mean wait of the acquisitions that waited, in whole ns; 0 if none did."""
        return self.wait_total // self.contentions if self.contentions else 0

    @property
    def hold_avg(self) -> int:
        """Mean time held, in whole ns; 0 if the lock was never taken."""
        return self.hold_total // self.acquisitions if self.acquisitions else 0


_UNITS = (
    (3_600_000_000_000, "h "),
    (60_000_000_000, "m "),
    (1_000_000_000, "s "),
    (1_000_000, "ms"),
    (1_000, "us"),
)


def format_ns(ns: int) -> str:
    """A time as perf writes it: two decimals in the largest unit that leaves a whole number before them."""
    for base, unit in _UNITS:
        if ns >= base:
            return f"{ns / base:.2f} {unit}"
    return f"{ns} ns"


def by_wait(rows: Iterable[LockRow]) -> list[LockRow]:
    """Longest total wait first, ties by name and mode."""
    return sorted(rows, key=lambda row: (-row.wait_total, row.name, row.mode))


def lock_table(rows: Iterable[LockRow], title: str | None = None) -> Table:
    """Every row and column, longest total wait first."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title)
    table.add_column("lock")
    table.add_column("mode")
    headings = (
        "acquired",
        "contended",
        "wait total",
        "wait max",
        "wait avg",
        "hold total",
        "hold max",
        "hold avg",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in by_wait(rows):
        waits = (row.wait_total, row.wait_max, row.wait_avg, row.hold_total, row.hold_max, row.hold_avg)
        # As Text, because `gmem0[a]` in a plain string would be markup.
        counts = (f"{row.acquisitions:,}", f"{row.contentions:,}")
        table.add_row(Text(row.name), row.mode, *counts, *map(format_ns, waits))
    return table
