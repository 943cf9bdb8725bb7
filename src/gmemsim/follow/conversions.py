"""Ranges of conversions whose call no probe shows, read off what faults saw.

Linux 6.12 has no tracepoint with the range of a conversion: a trace shows that one happens (its zap, its end), not of
what. A range is then a choice, and the rest of the trace says which: a gfn is of one kind before and of the other
behind; a fault is retried inside the range and mapped outside; the zap asks for a flush if something was mapped there.
Conversions exclude each other (slots_lock), so they are one sequence, and the ranges are searched for along it (a beam
search). What comes out is a proposal: the model then takes the trace's steps with these ranges, or it does not.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from .evidence import Evidence, collect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .evidence import Clue, Conversion
    from .trace import Trace

#: States kept after each conversion, ranges tried from each of them, and proposals given back.
_BEAM: Final = 64
_RANGES: Final = 64
_PROPOSALS: Final = 3
#: How much a proposal must explain to be preferred: a gfn seen otherwise, a flush seen otherwise, an unusual size.
_WRONG: Final = 60
_FLUSH: Final = 30
_UNUSUAL: Final = 1

#: Sizes of ranges that are tried before any is known of the trace.
_WIDTHS: Final = (8, 16, 4, 32, 2, 1, 64, 512)

#: By thread: (start, end, private) of each conversion that shows, in order; gfns.
Ranges = dict[str, list[tuple[int, int, int]]]


class _State(NamedTuple):
    """After some conversions: bits are numbers in `Evidence.gfns`.

    Attributes:
        cost: what is not explained so far.
        private, mapped: gfns.
        inside: gfns of the last conversion's range.
        before: the state before it.
    """

    cost: int
    private: int
    mapped: int
    inside: int
    range: tuple[int, int, int]
    before: _State | None


def readings(trace: Trace, zap_filter: bool) -> list[Trace]:
    """The trace with the ranges of its conversions, in the likeliest ways; itself, if it shows them or has none."""
    visible = Counter(
        step.thread for steps in trace.threads.values() for step in steps if step.name == "set_attributes_pre"
    )
    given = all(len(trace.conversions_of(thread)) == count for thread, count in visible.items())
    if given or "set_attributes" in trace.probed:
        return [trace]
    return [attrs.evolve(trace, conversions=ranges) for ranges in infer(trace, zap_filter)]


def infer(trace: Trace, zap_filter: bool) -> list[Ranges]:
    """The likeliest ranges of the trace's conversions, best first; none if there is nothing to infer them from.

    Args:
        zap_filter: a conversion zaps only mappings of the kind that is left (`Release.zap_filter`).
    """
    evidence = collect(trace)
    if not evidence.conversions:
        return []
    states = _along(evidence, zap_filter, ())
    if states:
        # Again, with the size that was needed most.
        sizes = Counter(end - start for _, (start, end, _) in _steps(evidence, states[0]))
        states = _along(evidence, zap_filter, (sizes.most_common(1)[0][0],))
    found: list[Ranges] = []
    for state in states:
        ranges: Ranges = {}
        for conversion, chosen in _steps(evidence, state):
            ranges.setdefault(conversion.thread, []).append(chosen)
        if ranges not in found:
            found.append(ranges)
        if len(found) == _PROPOSALS:
            break
    return found


def _steps(evidence: Evidence, last: _State) -> list[tuple[Conversion, tuple[int, int, int]]]:
    chosen = []
    state: _State | None = last
    while state is not None and state.before is not None:
        chosen.append(state.range)
        state = state.before
    return list(zip(evidence.conversions, reversed(chosen), strict=True))


def _along(evidence: Evidence, zap_filter: bool, usual: tuple[int, ...]) -> list[_State]:
    """States after the last conversion, best first."""
    states = [_State(0, evidence.private_at_start, 0, 0, (0, 0, 0), None)]
    for number in range(len(evidence.conversions)):
        best: dict[tuple[int, int], _State] = {}
        for state in states:
            mapped, wrong = evidence.mapped_before(number, state.mapped)
            before = state._replace(cost=state.cost + _FLUSH * wrong)
            for first, last, private in _candidates(evidence, number, before, mapped, usual):
                new = _convert(evidence, number, before, mapped, first, last, private, zap_filter, usual)
                key = new.private, new.mapped
                if key not in best or new.cost < best[key].cost:
                    best[key] = new
        states = sorted(best.values(), key=lambda state: state.cost)[:_BEAM]

    def whole(state: _State) -> int:
        return state.cost + _FLUSH * evidence.mapped_before(len(evidence.conversions), state.mapped)[1]

    return sorted(states, key=whole)


def _candidates(
    evidence: Evidence, number: int, state: _State, mapped: int, usual: tuple[int, ...]
) -> Iterator[tuple[int, int, int]]:
    """(first, last, private) of ranges that could be conversion `number`, as numbers in `evidence.gfns`."""
    size = len(evidence.gfns)
    zaps = evidence.conversions[number].zaps
    for private in (0, 1):
        differs = (~state.private if private else state.private) & (1 << size) - 1
        if not differs:
            continue
        seen, against = evidence.seen(number, private)
        forbidden = evidence.outside[number] | against
        if zaps == 0:
            forbidden |= mapped & differs
        required = (evidence.inside[number] | (seen & differs)) & ~forbidden
        useful = evidence.next_seen(number, private) & differs & ~forbidden
        possible = (differs & mapped if zaps else differs) & ~forbidden
        tried: set[tuple[int, int]] = set()
        for first, last in _spans(required, useful, possible, forbidden, size, usual):
            if (first, last) not in tried:
                tried.add((first, last))
                yield first, last, private
            if len(tried) == _RANGES:
                break


def _spans(
    required: int, useful: int, possible: int, forbidden: int, size: int, usual: tuple[int, ...]
) -> Iterator[tuple[int, int]]:
    """Spans that hold all of `required` and nothing forbidden (if that can be), the likeliest first."""
    if required:
        seeds = [(_low(required), required.bit_length() - 1)]
    else:
        seeds = [*_runs(useful), *_runs(possible)]
    for first, last in seeds:
        left = forbidden & (1 << first) - 1
        left = left.bit_length()
        right = forbidden >> last + 1
        right = last + _low(right) if right else size - 1
        for width in (*usual, *_WIDTHS):
            # Of a seed that need not be in it whole, every part will do.
            for start in range(first // width * width, (first if required else last) + 1, width):
                if left <= start and (not required or last < start + width) and start + width <= right + 1:
                    yield start, start + width - 1
        low, high = first, last
        while low > left and useful >> low - 1 & 1:
            low -= 1
        while high < right and useful >> high + 1 & 1:
            high += 1
        yield low, high
        yield left, right
        for width in usual:
            for start in range(max(left, last + 1 - width), min(first, right + 1 - width) + 1):
                yield start, start + width - 1
        yield first, last
        yield low, right
        yield left, high


def _low(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _runs(bits: int) -> Iterator[tuple[int, int]]:
    """First and last of each run of neighbours, the longest first."""
    found = []
    while bits:
        first = _low(bits)
        length = _low(~(bits >> first))
        found.append((first, first + length - 1))
        bits &= ~((1 << length) - 1 << first)
    yield from sorted(found, key=lambda run: run[0] - run[1])


def _convert(
    evidence: Evidence,
    number: int,
    state: _State,
    mapped: int,
    first: int,
    last: int,
    private: int,
    zap_filter: bool,
    usual: tuple[int, ...],
) -> _State:
    inside = (1 << last - first + 1) - 1 << first
    differs = ~state.private if private else state.private
    after = state.private | inside if private else state.private & ~inside
    zapped = mapped & inside & (differs if zap_filter else -1)
    gfns = evidence.gfns
    chosen = (gfns[first], gfns[last] + 1, private)
    cost = state.cost
    width = last + 1 - first
    cost += _UNUSUAL * ((width not in usual) + (first % width > 0))
    zaps = evidence.conversions[number].zaps
    if zaps is not None and (bool(zapped) if zaps == 0 else zapped.bit_count() < zaps):
        cost += _FLUSH
    seen, against = evidence.seen(number, 1)
    wrong = (seen & ~after) | (against & after) | (evidence.inside[number] & ~inside)
    wrong |= evidence.outside[number] & inside
    cost += _WRONG * (wrong.bit_count() + (not inside & differs))
    new = _State(cost, after, mapped & ~zapped, inside, chosen, state)
    missing = sum(not _explains(clue, new, number) for clue in evidence.clues.get(number, ()))
    return new._replace(cost=cost + _WRONG * missing) if missing else new


def _explains(clue: Clue, last: _State, number: int) -> bool:
    """Whether the states up to the one after conversion `number` have what a fault must have met."""
    bit = 1 << clue.gfn
    states = [last]
    while len(states) <= number + 1 - clue.first and states[-1].before is not None:
        states.append(states[-1].before)
    if clue.kind is not None:
        return any(bool(state.private & bit) == bool(clue.kind) for state in states)
    if clue.flips:
        return any(
            state.before is not None and (state.private ^ state.before.private) & bit for state in states
        )
    shared = clue.or_shared and any(not state.private & bit for state in states)
    return shared or any(state.inside & bit for state in states)
