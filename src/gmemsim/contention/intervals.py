"""Means over seeds with 95 % confidence intervals (Student's t, two-sided)."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .point import Point
    from .result import Result

#: 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom, then 40, 60, 120 and the normal distribution.
_T: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_BEYOND: Final = ((40, 2.042), (60, 2.021), (120, 2.000))
_NORMAL: Final = 1.980


@attrs.frozen
class Interval:
    """A mean, and half the width of its interval: None with one value, from which none follows."""

    mean: float
    half: float | None

    def __format__(self, spec: str) -> str:
        mean = format(self.mean, spec)
        return mean if self.half is None else f"{mean} ±{format(self.half, spec)}"


def interval(values: Sequence[float]) -> Interval:
    """Of independent values. Between the rows of the table the larger quantile is taken."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, None)
    freedom = len(values) - 1
    t = _T[freedom - 1] if freedom <= 30 else next((t for most, t in _BEYOND if freedom < most), _NORMAL)
    return Interval(mean, t * statistics.stdev(values) / len(values) ** 0.5)


def by_point(results: Iterable[Result]) -> dict[Point, list[Result]]:
    """Results that differ in their seed alone, under the point without one, in order."""
    found: dict[Point, list[Result]] = {}
    for result in results:
        found.setdefault(attrs.evolve(result.point, seed=0), []).append(result)
    return found


def ratio(mine: Sequence[Result], others: Sequence[Result], value: Callable[[Result], float]) -> Interval:
    """Of `mine` to `others`, seed by seed: what a seed does to both falls out."""
    by_seed = {result.point.seed: value(result) for result in others}
    ratios = [value(result) / by_seed[result.point.seed] for result in mine if by_seed.get(result.point.seed)]
    return interval(ratios) if ratios else Interval(0.0, None)
