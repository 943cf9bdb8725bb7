"""Is a trace a run of a patch version? Attempts, until one fits or none is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import attrs

from ..actors.release import RELEASES
from ..patches.stock import stock_version
from .attempt import Attempt, How
from .calls import calls_of
from .conversions import readings
from .ftrace import TraceError
from .initial import mapped_before
from .probes import GUEST_MEMFD
from .search import Bounds, search
from .trace import order_note
from .unseen import DISORDER, LATE, not_shown
from .window import shortest_window
from .world import chosen_release

if TYPE_CHECKING:
    from ..actors.kernel import Kernel
    from .result import FollowResult
    from .trace import Trace

#: How many faults may have their look-up placed the other way before the trace is rejected.
_TURNS = 24


def stock_version_of(trace: Trace, release: str | None = None) -> str:
    """The version that the recording's kernel has; v3 where nothing says which kernel it was.

    Raises:
        TraceError: nobody has looked which version that kernel has.
    """
    known = release or trace.release
    name = stock_version(known or "0")
    if known and not name:
        raise TraceError(f"{trace.path}: a kernel {known}, whose version nobody has looked at: give --patch")
    return name or "v3"


def follow(
    trace: Trace,
    kernel_class: type[Kernel],
    release: str | None = None,
    bounds: Bounds | None = None,
    *,
    explain: bool = True,
) -> FollowResult:
    """Is `trace` a run of `kernel_class`?

    A trace in which no function of guest_memfd and no page of its file shows is neither accepted nor rejected: every
    version could do the rest of it.

    Unobserved steps are placed by rules; where these do not fit, other placements are searched for within `bounds`.
    A rejection is explained by its shortest window unless told otherwise.
    """
    bounds = bounds or Bounds()
    result = _follow_one(trace, kernel_class, release, bounds, explain)
    if result.verdict == "rejected" and trace.back:
        # Each CPU's text behind the other's, or what a clock that differs between them makes of it.
        return attrs.evolve(result, undecided=f"{DISORDER}, as times go back at line {trace.back}")
    if (
        result.verdict == "rejected"
        and result.rejected_at is not trace.flaw
        and (why := not_shown(trace, result))
    ):
        return attrs.evolve(result, undecided=why)
    unnamed = trace.releases.unnamed
    if result.accepted or not unnamed:
        return result
    rest = trace.with_steps(step for step in trace.steps if step.position not in unnamed)
    other = _follow_one(
        attrs.evolve(rest, releases=trace.releases.named()), kernel_class, release, bounds, explain
    )
    if other.verdict == "rejected":
        return result
    note = "a release that does not say of which file it is was taken to be of another one"
    return attrs.evolve(other, notes=(*other.notes, note))


def _follow_one(
    trace: Trace, kernel_class: type[Kernel], release: str | None, bounds: Bounds, explain: bool
) -> FollowResult:
    """As `follow`, where every release in the trace is of the file."""
    known = RELEASES[chosen_release(trace, kernel_class, release)]
    best: _Followed | None = None
    ways = (
        (reading, begin_conversions, mapped)
        for reading in readings(trace, known.zap_filter)
        for begin_conversions in ((True, False) if trace.sw_protected else (True,))
        for mapped in mapped_before(reading)
    )
    for reading, begin_conversions, mapped in ways:
        followed = _follow(reading, kernel_class, release, begin_conversions, mapped)
        if best is None or followed.result.accepted or followed.result.matched > best.result.matched:
            best = followed
        if best.result.accepted:
            break
    assert best is not None
    result = best.result
    if not any(_observed(trace, thread) for thread in trace.threads):
        return attrs.evolve(
            result, accepted=False, rejected_at=None, undecided="nothing of guest_memfd was observed in it"
        )
    if trace.flaw is not None and (result.accepted or trace.flaw.index <= result.rejected_at.index):  # type: ignore[union-attr]
        result = attrs.evolve(result, accepted=False, rejected_at=trace.flaw)
    elif not result.accepted:
        found = search(best.how, bounds, best.place, result)
        result = attrs.evolve(found, seconds=result.seconds + found.seconds)
        if (explain or not trace.begins) and result.verdict == "rejected":
            result = _with_window(result, best.how, bounds)
    if best.how.trace is not trace:
        note = "ranges of conversions are not in the trace; they were inferred from what faults saw"
        result = attrs.evolve(result, notes=(*result.notes, note))
    return attrs.evolve(result, notes=(*result.notes, *order_note(trace)))


def _with_window(result: FollowResult, how: How, bounds: Bounds) -> FollowResult:
    """The rejection with the shortest end of the trace that shows it."""
    at = result.rejected_at
    assert at is not None

    def again(trace: Trace, mapped: frozenset[int] | None, bounds: Bounds) -> FollowResult:
        followed = _follow(trace, how.kernel_class, how.release, how.begin_conversions, mapped)
        if followed.result.accepted:
            return followed.result
        return search(followed.how, bounds, followed.place, followed.result)

    window = shortest_window(how.trace, at, again, bounds)
    if window is None:
        return attrs.evolve(result, undecided=LATE)
    return attrs.evolve(result, rejected_at=attrs.evolve(at, window=window))


class _Followed(NamedTuple):
    """What following by rules came to, and where it was refused."""

    result: FollowResult
    how: How
    place: int


def _observed(trace: Trace, thread: str) -> bool:
    """Whether a thread shows something of guest_memfd within a call: what comes before its first is passed over."""
    _, passed_over = calls_of(trace, thread)
    return any(step.name in GUEST_MEMFD for step in trace.threads[thread][passed_over:])


def _follow(
    trace: Trace,
    kernel_class: type[Kernel],
    release: str | None,
    begin_conversions: bool,
    mapped: frozenset[int] | None = frozenset(),
) -> _Followed:
    """By rules alone, with a few faults' look-ups of the kind turned."""
    turned: dict[tuple[str, int], int] = {}
    while True:
        how = How(trace, kernel_class, release, dict(turned), begin_conversions, mapped)
        attempt = Attempt(how)
        result = attempt.run()
        suspect = attempt.suspect
        if result.accepted or suspect is None or turned.get(suspect, 0) >= 2 or len(turned) >= _TURNS:
            return _Followed(result, how, attempt.place)
        turned[suspect] = turned.get(suspect, 0) + 1
