"""Side-by-side timing: cases run in turn, round after round, in one process; medians and ratios of medians."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

__all__ = ["measure", "rows"]


def measure(cases: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Median seconds per unit of each case; a case returns how many units it did.

    The first round is a warm-up and is not counted. The collector is off while a case runs.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, case in cases.items():
            gc.collect()
            gc.disable()
            began = time.perf_counter()
            units = case()
            seconds = time.perf_counter() - began
            gc.enable()
            if number:
                times[name].append(seconds / units)
    return {name: statistics.median(values) for name, values in times.items()}


def rows(title: str, found: dict[str, float], reference: str, goals: dict[str, str]) -> list[str]:
    """A Markdown table: time per unit, units a second, ratio to the reference, goal."""
    lines = [f"| {title} | ns | per second | x {reference} | goal |", "|---|--:|--:|--:|---|"]
    for name, seconds in found.items():
        ratio = seconds / found[reference]
        lines.append(
            f"| {name} | {seconds * 1e9:,.0f} | {1 / seconds:,.0f} | {ratio:.2f} | {goals.get(name, '')} |"
        )
    return lines
