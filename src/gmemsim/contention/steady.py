"""Which units of work of a storm count: all of them, or those of its steady state.

Without a warm-up all count, until the last thread is through: the figures of a fixed amount of work. With one, the
window begins when that share of the common time is over and ends when the first thread is through, so that neither
the common start nor the stragglers count; a unit is in the window if it ends there.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import attrs


class Units:
    """Units of work, in columns, as there can be millions.

    Attributes:
        begins, ends: virtual ns of each.
        attempts: that each took.
    """

    __slots__ = ("attempts", "begins", "ends")

    def __init__(self) -> None:
        self.begins = array("q")
        self.ends = array("q")
        self.attempts = array("q")

    def add(self, begin: int, end: int, attempts: int) -> None:
        """One more."""
        self.begins.append(begin)
        self.ends.append(end)
        self.attempts.append(attempts)


@attrs.frozen
class Window:
    """The units that count, and the time that they are counted over.

    Attributes:
        latencies: virtual ns of each.
        attempts: of all of them.
        ns: virtual ns of the window.
        first_half: units that end in its first half: in a steady state about as many as in the second.
    """

    latencies: Sequence[int]
    attempts: int
    ns: int
    first_half: int


def window(units: Units, start: int, first_done: int, end: int, warmup: int) -> Window:
    """The window of a storm from `start` to `end` in which the first thread was through at `first_done`.

    Args:
        warmup: percent of the time up to `first_done` that is cut; 0: everything counts.
    """
    low, high = start, end
    if warmup:
        low, high = start + (first_done - start) * warmup // 100, first_done
    middle = low + (high - low) // 2
    latencies, attempts, first_half = array("q"), 0, 0
    for begin, end_, tries in zip(units.begins, units.ends, units.attempts, strict=True):
        if warmup and not low < end_ <= high:
            continue
        latencies.append(end_ - begin)
        attempts += tries
        first_half += end_ <= middle
    return Window(latencies, attempts, high - low, first_half)
