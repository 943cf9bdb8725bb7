"""Is a trace a run of a patch version? Attempts, until one fits or none is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .attempt import Attempt
from .calls import calls_of
from .probes import GUEST_MEMFD
from .search import Bounds, search

if TYPE_CHECKING:
    from ..actors.kernel import Kernel
    from .result import FollowResult
    from .trace import Trace

__all__ = ["follow"]

#: How many faults may have their look-up placed the other way before the trace is rejected.
_TURNS = 24


def follow(
    trace: Trace, kernel_class: type[Kernel], release: str | None = None, bounds: Bounds | None = None
) -> FollowResult:
    """Is `trace` a run of `kernel_class`?

    A trace in which no function of guest_memfd and no page of its file shows is neither accepted nor rejected: every
    version could do the rest of it.

    Unobserved steps are placed by rules; where these do not fit, other placements are searched for within `bounds`.
    """
    bounds = bounds or Bounds()
    result, turned, place = _follow(trace, kernel_class, release, True)
    begin_conversions = True
    if not result.accepted and trace.sw_protected:
        other = _follow(trace, kernel_class, release, False)
        if other[0].accepted or other[0].matched > result.matched:
            result, turned, place = other
            begin_conversions = False
    if not any(_observed(trace, thread) for thread in trace.threads):
        return attrs.evolve(
            result, accepted=False, rejected_at=None, undecided="nothing of guest_memfd was observed in it"
        )
    if not result.accepted:
        found = search(trace, kernel_class, release, turned, begin_conversions, bounds, place, result)
        return attrs.evolve(found, seconds=result.seconds + found.seconds)
    return result


def _observed(trace: Trace, thread: str) -> bool:
    """Whether a thread shows something of guest_memfd within a call: what comes before its first is passed over."""
    _, passed_over = calls_of(trace, thread)
    return any(step.name in GUEST_MEMFD for step in trace.threads[thread][passed_over:])


def _follow(
    trace: Trace, kernel_class: type[Kernel], release: str | None, begin_conversions: bool
) -> tuple[FollowResult, dict[tuple[str, int], int], int]:
    """By rules alone, with a few faults' look-ups of the kind turned; what was turned, and where it was refused."""
    turned: dict[tuple[str, int], int] = {}
    while True:
        attempt = Attempt(trace, kernel_class, release, turned, begin_conversions)
        result = attempt.run()
        suspect = attempt.suspect
        if result.accepted or suspect is None or turned.get(suspect, 0) >= 2 or len(turned) >= _TURNS:
            return result, turned, attempt.place
        turned[suspect] = turned.get(suspect, 0) + 1
