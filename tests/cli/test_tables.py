"""Tables at any width: no name is cut or broken in two, nothing is left out."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from gmemsim.cli.tables import FittingConsole

ROWS = (
    (
        "folio_lock",
        "w",
        "1,234",
        "310.25 us",
        "mce waits for gmem0.invalidate_lock (r), which punch holds (w)",
    ),
    ("invalidate_lock", "r", "17", "3 ns", ""),
    ("kvm_gmem_error_folio", "", "0", "12.00 ms", "first\n  second_line_of_the_cell"),
)


def shown(width: int, rows: tuple[tuple[str, ...], ...] = ROWS) -> str:
    table = Table(title="locks", caption="what it says")
    for name in ("lock", "mode", "acquired", "hold total", "what"):
        table.add_column(name, justify="right" if name in ("acquired", "hold total") else "left")
    for row in rows:
        # As the commands do: both are cells.
        table.add_row(Text(row[0]), *row[1:])
    out = FittingConsole(file=io.StringIO(), width=width, markup=False)
    out.print(table)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_every_word_is_whole_and_no_line_too_long(width: int) -> None:
    text = shown(width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for row in ROWS:
        for cell in row:
            for word in cell.split():
                assert word in text
    assert "locks" in text
    assert "what it says" in text


def test_a_wide_screen_has_borders_a_narrower_one_none_and_a_small_one_lines() -> None:
    assert "┏" in shown(120)
    assert "┏" not in shown(78)
    assert "acquired: " not in shown(78)
    assert "acquired: 1,234" in shown(50)


def test_numbers_keep_their_units() -> None:
    assert "310.25 us" in shown(78)
    assert "12.00 ms" in shown(78)


def test_empty_cells_are_left_out_of_lines() -> None:
    lines = shown(40).splitlines()
    at = lines.index("kvm_gmem_error_folio")
    assert "mode" not in lines[at + 1]
    # Lines of a cell stay lines.
    assert [line.strip() for line in lines[at + 2 :]][:2] == ["what: first", "second_line_of_the_cell"]


def test_a_row_that_would_be_a_column_of_scraps_is_shown_as_lines() -> None:
    prose = "a sentence of many words, " * 8
    rows = tuple((f"name_{number}", "w", "1", "2 ns", prose) for number in range(2))
    assert "what: a sentence" in shown(60, rows)
    assert "what: a sentence" not in shown(140, rows)
