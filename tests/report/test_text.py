"""The report as text."""

from __future__ import annotations

import re

import pytest
from tests.report.cases import CASES
from tests.report.reports import TOKEN, report

from gmemsim.report.text import render_text

SECTIONS = (
    "Calls",
    "What happened",
    "Locks at the failure",
    "Why",
    "Nearest passing schedule",
    "What the model does not see",
)


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("width", [50, 80, 120])
def test_fits(name: str, width: int) -> None:
    """No line is wider than asked for; every section is there, in order; plain text has no escape codes."""
    text = render_text(report(name), width)
    lines = text.splitlines()
    # What is to be copied stays in one line.
    assert max(len(line) for line in lines if not line.startswith("replay: ")) <= width
    assert not any(line != line.rstrip() for line in lines)
    assert "\033" not in text
    at = [
        next(number for number, line in enumerate(lines) if line.startswith(section)) for section in SECTIONS
    ]
    assert at == sorted(at)
    assert any(line.startswith(f"replay: gmemsim replay {TOKEN}") for line in lines)
    assert report(name).rule in lines[0]


@pytest.mark.parametrize("name", sorted(CASES))
def test_nothing_gets_lost(name: str) -> None:
    """Steps shown and steps left out are all steps."""
    made = report(name)
    text = render_text(made, 120)
    shown = re.findall(r"^[!*?<]* *(\d+)   ", text, re.MULTILINE)
    left_out = re.findall(r"…   (\d+) steps? left out", text)
    assert list(map(int, shown)) == sorted(made.shown)
    assert len(shown) + sum(map(int, left_out)) == len(made.steps)
    assert "1" not in left_out


def test_lanes() -> None:
    """Each task has its column; the failing step is marked, and who sleeps is to be seen."""
    text = render_text(report("abba"), 120)
    (head,) = (line for line in text.splitlines() if line.lstrip().startswith("step "))
    column = head.index("punch")
    (line,) = (line for line in text.splitlines() if line.startswith("!"))
    assert line.startswith("!*  22   ┆")
    assert line.index("filemap_get_folio") == column
    assert any(
        line.index("must wait for gmem0.folio[0]") > column
        for line in text.splitlines()
        if "wait for gmem0.f" in line and "│" in line
    )
    assert "▸ memory_failure gmem0 page 0" in text
    assert "■ came to EAGAIN, expected ok" in render_text(report("unmet"), 120)


def test_too_narrow_for_lanes() -> None:
    """Four tasks in 80 columns: a list."""
    text = render_text(report("crowd"), 80)
    assert " │ " not in text
    assert re.search(r"^[!*?<]* *\d+ allocate0$", text, re.MULTILINE)
    assert "│" in render_text(report("crowd"), 120)


def test_colour() -> None:
    """Only on request, and it changes nothing else."""
    plain = render_text(report("abba"), 100)
    coloured = render_text(report("abba"), 100, color=True)
    assert "\033[1;31m" in coloured
    bare = re.sub(r"\033\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in bare.splitlines()] == plain.splitlines()


def test_says_why() -> None:
    """Functions, steps and locks of the cycle; the pair of a race."""
    text = render_text(report("abba"), 200)
    assert "mce took gmem0.folio[0] at step 9 in memory_failure: folio_lock(gmem0.folio[0])" in text
    assert "gmem0.invalidate_lock: held by punch (exclusive, since step 5 in kvm_gmem_punch_hole)" in text
    assert "1. in the queue: mce (shared, since step 14 in kvm_gmem_error_folio)" in text
    text = render_text(report("unmet"), 400)
    assert "first deleter in swap_active_memslots (step 7, store vm0.memslots), then vcpu0" in text
    assert "In the nearest passing schedule they come the other way round." in text


def test_calls_and_sleep() -> None:
    """What came of each call; a task that was woken is not drawn asleep any more."""
    text = render_text(report("alone"), 120)
    assert "  punch     2 fallocate PUNCH_HOLE gmem0 page 0: running\n" in text
    assert "  setup       fallocate gmem0 page 0\n" in render_text(report("abba"), 120)
    figure = text[text.index("What happened") : text.index("  ! the failure")]
    assert "┆" in figure
    woken = next(step.number for step in report("alone").steps if step.woken_by)
    assert "┆" not in figure[figure.index(f"\n    {woken} ") :]
