"""The searches of the matrix: known findings show and are told apart; the scope is said."""

from __future__ import annotations

import pytest

from gmemsim.explore.token import decode
from gmemsim.studies.matrix import cells, explore_cell
from gmemsim.studies.operations import Cell


def pages(cell: Cell, *, schedules: int, sampled: int = 0) -> set[str]:
    """Findings that a search meets; an empty one for what is not known."""
    row = explore_cell(cell, schedules=schedules, sampled=sampled)
    return {found["known"] for found in row["violations"]}


def test_which_cells_there_are() -> None:
    assert {cell.arch for cell in cells("hugepage-mutex")} == {
        "sw-protected",
        "snp",
        "tdx",
    }
    assert not any("pin" in cell.names for cell in cells("inplace", 3))
    assert not any(len(set(cell.names)) == 1 for cell in cells("inplace", 3))
    assert not any({"touch", "populate"} <= set(cell.names) for cell in cells("v3", 3))


@pytest.mark.parametrize(
    ("names", "patch", "arch", "setup", "budget", "page"),
    [
        (
            ("punch", "memory failure"),
            "v3",
            "sw-protected",
            "untouched",
            (60, 0),
            "memory-failure-against-punch",
        ),
        (
            ("memory failure", "populate"),
            "v3",
            "tdx",
            "untouched",
            (20, 150),
            "memory-failure-against-populate",
        ),
        (
            ("host write", "memory failure"),
            "inplace",
            "default",
            "used",
            (20, 150),
            "host-fault-on-poisoned-page",
        ),
        (
            ("touch", "to shared", "memory failure"),
            "inplace",
            "snp",
            "shared",
            (20, 300),
            "memory-failure-fault-conversion",
        ),
        (
            ("split", "memory failure"),
            "hugepage-mutex",
            "snp",
            "untouched",
            (10, 0),
            "hugepage-split-waits-for-memory-failure",
        ),
    ],
)
def test_known_findings_show(
    names: tuple[str, ...], patch: str, arch: str, setup: str, budget: tuple[int, int], page: str
) -> None:
    cell = Cell(names, patch, arch, setup, patch.startswith("hugepage"))
    assert pages(cell, schedules=budget[0], sampled=budget[1]) == {page}


@pytest.mark.parametrize(
    ("names", "patch", "arch", "setup"),
    [
        (("host write", "to private", "to shared"), "inplace", "snp", "shared"),
        # A large leaf stands for gfns that had leaves of folios that are gone.
        (("touch", "touch neighbour", "punch"), "hugepage", "sw-protected", "used"),
        # The folio is merged into another after get_pfn has let go of it.
        (("touch", "punch", "split"), "hugepage", "tdx", "untouched"),
    ],
)
def test_these_are_clean(names: tuple[str, ...], patch: str, arch: str, setup: str) -> None:
    cell = Cell(names, patch, arch, setup, patch == "hugepage")
    assert not pages(cell, schedules=25, sampled=25)


def test_a_memory_failure_follows_its_page_into_the_merged_folio() -> None:
    """The page's piece of a split folio is a tail page once the hole has merged it: no lock of its own any more."""
    cell = Cell(("punch", "memory failure"), "hugepage", "snp", "shared", huge=True)
    found = pages(cell, schedules=50, sampled=50)
    assert found
    assert found <= {"hugepage-split-waits-for-memory-failure", "memory-failure-against-punch"}


def test_a_memory_failure_follows_its_page_through_split_and_merge() -> None:
    """It came with the huge folio in hand; split, merged again and removed, the frame is another folio's."""
    cell = Cell(("punch", "split", "memory failure"), "hugepage", "snp", huge=True)
    found = pages(cell, schedules=25, sampled=100)
    assert found
    assert "" not in found


def test_a_long_hole_is_no_livelock() -> None:
    """It takes more steps on an SNP guest's huge page than a fair continuation has at least."""
    cell = Cell(("touch neighbour", "punch"), "hugepage", "snp", "used", huge=True)
    assert not pages(cell, schedules=2, sampled=10)


def test_what_is_not_known_comes_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gmemsim.explore.findings.table.FINDINGS", {})
    row = explore_cell(Cell(("punch", "memory failure"), "v3", "sw-protected"), schedules=60)
    assert [decode(found["replay"]).failure for found in row["violations"]] == [
        (found["rule"], found["kind"]) for found in row["violations"]
    ]
    assert row["violations"]


def test_what_was_covered_is_said() -> None:
    small = explore_cell(Cell(("close", "close"), "v3", "sw-protected"), schedules=200)
    assert small["scope"].startswith("complete")
    assert not small["violations"]
    capped = explore_cell(Cell(("touch", "punch"), "v3", "sw-protected"), schedules=3)
    assert not capped["scope"].startswith("complete:")
    assert capped["schedules"] == 3
