"""Lock tables."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gmemsim.audit.lock_table import LockRow, format_ns, lock_table

ROWS = [
    LockRow("slots_lock", "w", 3, 0, 0, 0, 900, 400),
    LockRow("invalidate_lock", "w", 60, 7, 12_345_678, 5_000_000, 60_000_000, 1_500_000),
    LockRow("mmu_lock", "r", 1_234_567, 172, 15_530, 243, 99, 9),
    LockRow("gmem0[red]", "w", 4, 2, 15_530, 10_000, 99, 9),
]


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1.00 us"),
        (15_530, "15.53 us"),
        (2_500_000, "2.50 ms"),
        (1_000_000_000, "1.00 s "),
        (90_000_000_000, "1.50 m "),
        (5_400_000_000_000, "1.50 h "),
    ],
)
def test_times(ns: int, text: str) -> None:
    assert format_ns(ns) == text


def test_averages() -> None:
    assert [row.wait_avg for row in ROWS] == [0, 1_763_668, 90, 7765]
    assert [row.hold_avg for row in ROWS] == [300, 1_000_000, 0, 24]
    assert LockRow("x", "r", 0, 0, 0, 0, 0, 0).hold_avg == 0


def test_the_table_has_every_row() -> None:
    console = Console(file=io.StringIO(), width=140, color_system=None)
    console.print(lock_table(ROWS, title="baseline"))
    out = console.file
    assert isinstance(out, io.StringIO)
    lines = out.getvalue().splitlines()
    assert lines[0].strip() == "baseline"
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert cells == [
        [
            "invalidate_lock",
            "w",
            "60",
            "7",
            "12.35 ms",
            "5.00 ms",
            "1.76 ms",
            "60.00 ms",
            "1.50 ms",
            "1.00 ms",
        ],
        ["gmem0[red]", "w", "4", "2", "15.53 us", "10.00 us", "7.76 us", "99 ns", "9 ns", "24 ns"],
        ["mmu_lock", "r", "1,234,567", "172", "15.53 us", "243 ns", "90 ns", "99 ns", "9 ns", "0 ns"],
        ["slots_lock", "w", "3", "0", "0 ns", "0 ns", "0 ns", "900 ns", "400 ns", "300 ns"],
    ]
