"""The shortest end of a trace that the model cannot take at the refused event: what a reader has to look at.

The trace is cut to the calls that were not over when the window begins, up to the refused event, and followed as a
recording of its own. What came before is not known then, so that it has to be refused whatever of its pages the guest
had mapped: those that the calls in front had (at the same event for the same reason), none, and all (there or earlier).
Pages that it finds, and the kinds that earlier conversions gave, are as in the whole. The shortest such end is found by
doubling and bisection, each try within the bounds of the search for placements; then threads are left out without which
it is refused all the same.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import attrs

from ..engine.errors import ModelError
from .calls import calls_of
from .result import Window
from .search import Bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from .calls import Call
    from .result import FollowResult, Rejection
    from .trace import Trace

    #: Follows a trace, from a state in which these indices are mapped (None: all that can be), within bounds.
    Follow = Callable[[Trace, frozenset[int] | None, Bounds], FollowResult]

#: Calls that change what no later event tells: a window begins behind none of them.
_LASTING = frozenset({"release", "set_region"})
#: Searches whose placements are spent on one window.
_TRIES = 8
#: What `kvm_tdp_mmu_map` returns where the guest has the page then: RET_PF_FIXED, RET_PF_SPURIOUS.
_MAPPED = (5, 6)


class _Over(NamedTuple):
    """A call that was over before the refused event."""

    ended: int
    thread: str
    call: Call


def shortest_window(trace: Trace, at: Rejection, follow: Follow, bounds: Bounds) -> Window | None:
    """The window of the rejection `at`; the whole trace up to there, where no shorter one is refused in time.

    None if the recording began in the middle, and not even all of it is refused in each state that can have been there.
    """
    over: list[_Over] = []
    for thread, steps in trace.threads.items():
        for call in calls_of(trace, thread)[0]:
            ended = steps[call.last].position
            if ended < at.index:
                over.append(_Over(ended, thread, call))
    over.sort(reverse=True)
    least = max((n for n, done in enumerate(over, 1) if done.call.kind in _LASTING), default=0)
    left = _Left(bounds)

    def refused(count: int, until: int, without: frozenset[str] = frozenset()) -> bool:
        cut = _cut(trace, over, count, until, without)
        mapped = _mapped(trace, over[count:])
        found = left.follow(follow, cut, mapped)
        if found is None or (found.index, found.reason) != (at.index, at.reason):
            return False
        if count == len(over) and trace.begins:
            # Of a whole recording that began before the memory was touched it is known that nothing was mapped.
            return True
        # A state from which an earlier event is refused was not the one before the window.
        states: tuple[frozenset[int] | None, ...] = (frozenset(), None)
        others = (
            left.follow(follow, before, state)
            for before in _kinds(trace, cut)
            for state in states
            if state != mapped or before is not cut
        )
        return all(found is not None and found.index <= at.index for found in others)

    until, most = at.index, len(over)
    count = _least(least, most, lambda count: refused(count, until))
    behind = [step.position for step in trace.steps if step.position > at.index]
    if behind and (count is None or count == most > 0):
        # What shows that the event cannot be there can come behind it.
        more = _least(0, len(behind) - 1, lambda number: refused(most, behind[number]))
        if more is not None:
            shorter = _least(least, most, lambda count: refused(count, behind[more]))
            if count is None or (shorter is not None and shorter < count):
                until, count = behind[more], shorter
    if count is None:
        return _window(_cut(trace, over, most, until), whole=True) if trace.begins else None
    without: frozenset[str] = frozenset()
    for thread in sorted(trace.threads.keys() - {at.thread}):
        if refused(count, until, without | {thread}):
            without |= {thread}
    return _window(_cut(trace, over, count, until, without), count == most > 0)


def _least(first: int, last: int, holds: Callable[[int], bool]) -> int | None:
    """The least number of `first` to `last` that `holds`, if all above it do; None: not even `last` does."""
    bad, good, step = first - 1, first, 1
    while good <= last and not holds(good):
        if good == last:
            return None
        bad, good = good, min(last, good + step)
        step *= 2
    if good > last:
        return None
    while good - bad > 1:
        middle = (bad + good) // 2
        if holds(middle):
            good = middle
        else:
            bad = middle
    return good


class _Left:
    """What is left of the bounds: those of one search for each try, of `_TRIES` in all, and the time of one in all."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._states = _TRIES * bounds.states
        self._ends = None if bounds.seconds is None else time.monotonic() + bounds.seconds

    def follow(self, follow: Follow, trace: Trace, mapped: frozenset[int] | None) -> Rejection | None:
        """Where the trace is refused; None: it is not, or there is no time left to know."""
        seconds = None if self._ends is None else self._ends - time.monotonic()
        if self._states <= 0 or (seconds is not None and seconds <= 0) or not trace.steps:
            return None
        bounds = attrs.evolve(self._bounds, states=min(self._states, self._bounds.states), seconds=seconds)
        try:
            result = follow(trace, mapped, bounds)
        except ModelError:
            # What is left of a call that was cut off at its beginning is none of the model's.
            return None
        self._states -= max(1, result.states)
        return result.rejected_at if result.verdict == "rejected" else None


def _cut(
    trace: Trace, over: list[_Over], count: int, until: int, without: frozenset[str] = frozenset()
) -> Trace:
    """The trace up to `until`, of the calls that were over by then only the last `count`."""
    dropped = over[count:]
    since = over[count - 1].ended if count else until
    if not dropped:
        since = -1
    gone: dict[str, set[int]] = {}
    for done in dropped:
        gone.setdefault(done.thread, set()).update(range(done.call.first, done.call.last + 1))
    in_calls = {
        thread: {n for call in calls_of(trace, thread)[0] for n in range(call.first, call.last + 1)}
        for thread in trace.threads
    }
    kept = (
        step
        for step in trace.steps
        if step.position <= until
        and step.thread not in without
        and step.number not in gone.get(step.thread, ())
        and (step.position >= since or step.number in in_calls[step.thread])
    )
    conversions = {thread: trace.conversions_of(thread) for thread in trace.threads}
    converted = []
    for done in reversed(dropped):
        if done.call.kind == "set_attributes":
            converted.append(done.call.args)
            if trace.threads[done.thread][done.call.first].name == "set_attributes_pre":
                conversions[done.thread] = conversions[done.thread][1:]
    return attrs.evolve(
        trace.with_steps(kept), conversions=conversions, converted=tuple(converted), flaw=None
    )


def _kinds(trace: Trace, cut: Trace) -> tuple[Trace, ...]:
    """A window with what is known of the kinds of memory before it; where that is nothing with all shared, too."""
    if trace.begins or not trace.sw_protected:
        return (cut,)
    shared = (trace.data_gfn, trace.data_gfn + trace.pages, 0)
    return cut, attrs.evolve(cut, converted=(shared, *cut.converted))


def _mapped(trace: Trace, dropped: list[_Over]) -> frozenset[int]:
    """Indices that these calls left mapped for the guest."""
    mapped: dict[int, None] = {}
    of_file: set[str] = set()
    steps = sorted(
        (trace.threads[done.thread][number].position, number, done)
        for done in dropped
        for number in range(done.call.first, done.call.last + 1)
    )
    for _, number, done in steps:
        step, call = trace.threads[done.thread][number], done.call
        if step.name == "get_pfn":
            of_file.add(step.thread)
        elif step.name == "tdp_fault_ret":
            of_file.discard(step.thread)
        elif step.name == "map_ret" and step.observation.a in _MAPPED and step.thread in of_file:
            mapped[call.args[0] - trace.data_gfn] = None
        elif step.name == "zap" and call.kind in ("fallocate", "set_attributes"):
            base = trace.data_gfn if call.kind == "set_attributes" else 0
            start, end = call.args[-2:] if call.kind == "fallocate" else call.args[:2]
            mapped = {index: None for index in mapped if not start - base <= index < end - base}
    return frozenset(mapped)


def _window(cut: Trace, whole: bool) -> Window:
    calls = sum(len(calls_of(cut, thread)[0]) for thread in cut.threads)
    return Window(
        first=cut.steps[0].line,
        last=cut.steps[-1].line,
        calls=calls,
        threads=tuple(sorted(cut.threads)),
        events=tuple((s.line, s.thread, f"{s.kernel_name}: {s.observation}") for s in cut.steps),
        whole=whole,
    )
