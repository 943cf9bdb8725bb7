"""Is a trace a run of a patch version? Attempts, until one fits or none is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .attempt import Attempt

if TYPE_CHECKING:
    from ..actors.kernel import Kernel
    from .result import FollowResult
    from .trace import Trace

__all__ = ["follow"]

#: How many faults may have their look-up placed the other way before the trace is rejected.
_TURNS = 24


def follow(trace: Trace, kernel_class: type[Kernel], release: str | None = None) -> FollowResult:
    """Is `trace` a run of `kernel_class`?

    Where the trace does not show which kind of memory a fault saw first, one placement of that look-up is assumed; if
    the same fault then does not fit, the trace is followed again with another one.
    """
    result = _follow(trace, kernel_class, release, True)
    if result.accepted or not trace.sw_protected:
        return result
    other = _follow(trace, kernel_class, release, False)
    return other if other.accepted or other.matched > result.matched else result


def _follow(
    trace: Trace, kernel_class: type[Kernel], release: str | None, begin_conversions: bool
) -> FollowResult:
    turned: dict[tuple[str, int], int] = {}
    while True:
        attempt = Attempt(trace, kernel_class, release, turned, begin_conversions)
        result = attempt.run()
        suspect = attempt.suspect
        if result.accepted or suspect is None or turned.get(suspect, 0) >= 2 or len(turned) >= _TURNS:
            return result
        turned[suspect] = turned.get(suspect, 0) + 1
