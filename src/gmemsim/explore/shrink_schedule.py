"""Make a schedule simple: fewest preemptions first, then fewest steps.

Three moves, repeated until none helps. *Merging*: a task that was preempted goes on at once, what ran in between comes
after its next turn, or its turn before comes after them (Jalbert and Sen, FSE 2010, move switches in the same way).
*Zeroing*: blocks of choices get the default answer, halves first (Zeller's delta debugging), faults too.
*Searching*: short random runs with fewer preemptions than the best so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.tape import Tape
from .lenient import LenientReplay
from .shrink_strategies import FewPreemptions, InOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .measure import Attempt
    from .runs import Program
    from .shrink_try import Judge

#: Random runs per number of preemptions.
_TRIES = 12


def shrink_schedule(program: Program, best: Attempt, judge: Judge) -> Attempt:
    """The simplest failing run that the moves lead to from `best`, which fails."""
    plain = judge.run(program, LenientReplay(Tape()))
    if plain is not None and plain.measure < best.measure:
        best = plain
    while not judge.spent:
        was = best.measure
        best = _merge(program, best, judge)
        best = _zero(program, best, judge)
        if best.measure == was:
            best = _search(program, best, judge)
        if best.measure == was:
            break
    return best


def _merge(program: Program, best: Attempt, judge: Judge) -> Attempt:
    """Let preempted tasks go on, from the last to the first, and start again whenever that made it simpler."""
    improved = True
    while improved and not judge.spent:
        improved = False
        for position in reversed(best.preempted):
            for order in _merged(best.order, position):
                done = judge.run(program, InOrder(order, best.tape))
                if done is not None and done.measure < best.measure:
                    best = done
                    improved = True
                    break
            if improved:
                break
    return best


def _merged(order: tuple[str, ...], position: int) -> Iterator[tuple[str, ...]]:
    """Orders without the switch at `position`."""
    task = order[position - 1]
    begin = position - 1
    while begin and order[begin - 1] == task:
        begin -= 1
    following = next((place for place in range(position, len(order)) if order[place] == task), len(order))
    end = following
    while end < len(order) and order[end] == task:
        end += 1
    between = order[position:following]
    # Its next turn first; its turn before later; no turn before; a shorter turn before.
    yield (*order[:position], *order[following:end], *between, *order[end:])
    yield (*order[:begin], *between, *order[begin:position], *order[following:])
    if begin:
        yield (*order[:begin], *order[position:])
    length = (position - begin) // 2
    while length:
        yield (*order[:begin], *order[position - length : position], *order[position:])
        length //= 2


def _zero(program: Program, best: Attempt, judge: Judge) -> Attempt:
    """Give blocks of choices the default answer."""
    size = best.measure.deviations
    while size and not judge.spent:
        raw = best.tape.raw
        set_ = [position for position, choice in enumerate(raw) if choice[3]]
        for start in range(0, len(set_), size):
            default = set(set_[start : start + size])
            tape = Tape(
                (*choice[:3], 0, choice[4]) if position in default else choice
                for position, choice in enumerate(raw)
            )
            done = judge.run(program, LenientReplay(tape))
            if done is not None and done.measure < best.measure:
                best = done
                break
        else:
            size //= 2
            continue
        size = min(size, best.measure.deviations)
    return best


def _search(program: Program, best: Attempt, judge: Judge) -> Attempt:
    """Random runs with fewer preemptions."""
    for count in range(best.measure.preemptions):
        for seed in range(_TRIES * (count + 1)):
            done = judge.run(program, FewPreemptions(seed, count, best.measure.steps, best.tape))
            if done is not None and done.measure < best.measure:
                return done
            if judge.spent:
                return best
    return best
