"""Functions of a user's patch that ran in no cell of a campaign."""

from __future__ import annotations

from typing import Any

from gmemsim.cli.stress import _never
from gmemsim.explore.stress import Cell


def test_what_ran_in_one_cell_has_run() -> None:
    results: dict[Cell, dict[str, Any]] = {
        Cell("same", "a.py:A", "snp", 0): {"never_ran": ["one", "two"]},
        Cell("hole", "a.py:A", "snp", 0): {"never_ran": ["two", "three"]},
        Cell("same", "b.py:B", "snp", 0): {"never_ran": ["one"]},
        Cell("hole", "b.py:B", "snp", 0): {},
    }
    assert _never(results) == {"a.py:A": ["two"]}
