"""Which units of work of a storm count: all of them, or those of its steady state.

Without a warm-up all count, until the last thread is through: the figures of a fixed amount of work. With one, the
window begins when that share of the common time is over and ends when the first thread is through, so that neither
the common start nor the stragglers count; a unit is in the window if it ends there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Unit", "Window", "window"]


@attrs.frozen
class Unit:
    """One unit of work: virtual ns of its begin and end, and the attempts that it took."""

    begin: int
    end: int
    attempts: int


@attrs.frozen
class Window:
    """The units that count, and the time that they are counted over.

    Attributes:
        ns: virtual ns of the window.
        first_half: units that end in its first half: in a steady state about as many as in the second.
    """

    units: tuple[Unit, ...]
    ns: int
    first_half: int


def window(units: Sequence[Unit], start: int, first_done: int, end: int, warmup: int) -> Window:
    """The window of a storm from `start` to `end` in which the first thread was through at `first_done`.

    Args:
        warmup: percent of the time up to `first_done` that is cut; 0: everything counts.
    """
    low, high = start, end
    if warmup:
        low, high = start + (first_done - start) * warmup // 100, first_done
        units = [unit for unit in units if low < unit.end <= high]
    middle = low + (high - low) // 2
    return Window(tuple(units), high - low, sum(unit.end <= middle for unit in units))
