"""Swim-lanes as text: a column a task, time downwards, a row a step. Too narrow for columns, it is a list."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Final

from .cells import MARKS, Line, lines_of, marks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .model import FailureReport, Step

#: Narrower columns than this are no columns.
_NARROW: Final = 22
_BETWEEN: Final = " │ "
_ASLEEP: Final = "┆"


def lanes(report: FailureReport, width: int, paint: Callable[[str, str], str]) -> Iterator[str]:
    """The lines of the figure with its legend.

    Args:
        width: columns to fill.
        paint: `paint(text, sort)` colours a text, or returns it as it is.
    """
    count = max(len(report.tasks), 1)
    digits = max(3, len(str(len(report.steps))))
    gutter = digits + 6
    column = (width - gutter - len(_BETWEEN) * (count - 1)) // count
    asleep: set[str] = set()
    rows = list(_rows(report))
    used: set[str] = set()
    if column >= _NARROW:
        names = _BETWEEN.join(f"{name[:column]:<{column}}" for name in report.tasks)
        yield paint(f"{'step':>{gutter - 3}}   {names}".rstrip(), "head")
    for row in rows:
        if isinstance(row, int):
            yield paint(f"{'…':>{gutter - 3}}   {row} step{'' if row == 1 else 's'} left out", "dim")
            continue
        step, lines, woken = row
        asleep -= woken
        marks = marks_of(report, step)
        used.update(marks)
        if column >= _NARROW:
            yield from _columns(report, step, lines, marks, (digits, column), asleep, paint)
        else:
            yield from _listed(step, lines, f"{marks:<3}{step.number:>{digits}}", width, paint)
        if step.waits_for:
            asleep.add(step.task)
    legend = [f"{mark} {says}" for mark, says in MARKS.items() if mark in used]
    if column >= _NARROW and any(step.waits_for for step in report.steps):
        legend.append(f"{_ASLEEP} asleep")
    for line in wrap("; ".join(legend), max(width - 2, 20)):
        yield paint(f"  {line}", "dim")


def _rows(report: FailureReport) -> Iterator[tuple[Step, list[Line], set[str]] | int]:
    """Steps that matter with their lines and who was woken since the row above; numbers for those left out."""
    left_out = 0
    functions: dict[str, str] = {}
    woken: set[str] = set()
    for step in report.steps:
        if step.woken_by:
            woken.add(step.task)
        if step.number not in report.shown:
            left_out += 1
            continue
        if left_out:
            yield left_out
        left_out = 0
        lines, functions[step.task] = lines_of(report, step, functions.get(step.task, ""))
        yield step, lines, woken
        woken = set()
    if left_out:
        yield left_out


def _columns(
    report: FailureReport,
    step: Step,
    lines: list[Line],
    marks: str,
    sizes: tuple[int, int],
    asleep: set[str],
    paint: Callable[[str, str], str],
) -> Iterator[str]:
    digits, column = sizes
    at = report.tasks.index(step.task)
    for number, (text, sort) in enumerate(_wrapped(lines, column)):
        gutter = f"{marks:<3}{step.number:>{digits}}   " if not number else " " * (digits + 6)
        cells = []
        for position, task in enumerate(report.tasks):
            if position == at:
                cells.append(paint(f"{text:<{column}}", sort))
            else:
                cells.append(paint(f"{_ASLEEP if task in asleep else '':<{column}}", "dim"))
        yield (paint(gutter, "mark") + paint(_BETWEEN, "dim").join(cells)).rstrip()


def _listed(
    step: Step, lines: list[Line], start: str, width: int, paint: Callable[[str, str], str]
) -> Iterator[str]:
    yield paint(f"{start} {step.task}", "mark")
    indent = " " * (len(start) + 1)
    for text, sort in _wrapped(lines, max(width - len(indent), 16)):
        yield f"{indent}{paint(text, sort)}"


def _wrapped(lines: list[Line], width: int) -> Iterator[tuple[str, str]]:
    for line in lines:
        first, rest = _INDENT[line.sort]
        for part in wrap(
            line.text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
        ) or [first]:
            yield part, line.sort


_INDENT: Final = {
    "call": ("▸ ", "  "),
    "end": ("■ ", "  "),
    "function": ("", "  "),
    "event": ("  ", "    "),
    "op": ("  ", "    "),
    "draw": ("  draws ", "    "),
    "sleep": ("  ", "    "),
}
