"""Is there an order of the operations, one that keeps to real time, in which a sequential object does the same?

The search of Wing and Gong ("Testing and verifying concurrent objects", JPDC 17, 1993) with the memory of Lowe
("Testing for linearizability", CCPE 29(4), 2017): an operation may come next if none that is left ended before it
began, and a set of operations done with the state they led to is tried once. The sequential object may leave a choice:
an operation leads to any of several states, or to none, if it cannot have had its result there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import attrs

S = TypeVar("S", bound=Hashable)


@attrs.frozen
class Interval(Generic[S]):
    """An operation.

    Attributes:
        name: for reports.
        began, ended: A came before B exactly if `A.ended < B.began`.
        step: states that it may lead to from a state; empty: its result is impossible there.
    """

    name: str
    began: int
    ended: int
    step: Callable[[S], Iterable[S]] = attrs.field(repr=False)


def linearizable(
    history: Sequence[Interval[S]], initial: S, limit: int = 100_000
) -> tuple[tuple[str, ...], bool] | None:
    """None if an order exists; else the longest order that worked, by names, and whether everything was tried.

    Args:
        limit: of states looked at; beyond it nothing is claimed, and the second part is False.
    """
    whole = (1 << len(history)) - 1
    seen: set[tuple[int, S]] = set()
    # What is done, the state, and how it was reached; depth first, the operation that ended first before others.
    order = sorted(range(len(history)), key=lambda index: history[index].ended)
    stack: list[tuple[int, S, tuple[int, ...]]] = [(0, initial, ())]
    best: tuple[int, ...] = ()
    while stack:
        done, state, path = stack.pop()
        if done == whole:
            return None
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if len(seen) > limit:
            return tuple(history[index].name for index in best), False
        if len(path) > len(best):
            best = path
        left = [index for index in order if not done >> index & 1]
        first_end = history[left[0]].ended
        for index in reversed(left):
            if history[index].began <= first_end:
                stack += [(done | 1 << index, after, (*path, index)) for after in history[index].step(state)]
    return tuple(history[index].name for index in best), True


class _Span(Protocol):
    @property
    def began(self) -> int: ...

    @property
    def ended(self) -> int: ...


def overlap(one: _Span, other: tuple[int, int]) -> bool:
    """Whether neither came before the other."""
    return other[0] <= one.ended and one.began <= other[1]


def frontier(
    history: Sequence[tuple[Hashable, Interval[S]]],
    under_way: Mapping[str, int],
    initial: S,
    limit: int = 10_000,
) -> Hashable:
    """What a history that goes on leaves open: two with equal frontiers can be completed in the same ways.

    An operation that ended before all that are under way began has its place: it comes before them and whatever
    follows. Any other may still be preceded by one that is under way, with a result that nobody knows yet. So what
    counts is every state that an order of some of the operations leads to, if those that have their place are among
    them, with the operations that it leaves over; of these, which came before which, and which of those under way can
    still precede them.

    Args:
        history: operations that ended, by a name that is the same in every run.
        under_way: when those that did not began, by task.
        limit: of states looked at; beyond it the history itself is returned, and which came before which.
    """
    whole = len(history)
    names = [name for name, _ in history]
    spans = [interval for _, interval in history]
    may_precede = [
        frozenset(task for task, began in under_way.items() if began < span.ended) for span in spans
    ]
    before = [
        sum(1 << first for first in range(whole) if spans[first].ended < spans[last].began)
        for last in range(whole)
    ]
    placed = sum(1 << index for index in range(whole) if not may_precede[index])
    seen: set[tuple[int, S]] = {(0, initial)}
    stack = [(0, initial)]
    while stack:
        done, state = stack.pop()
        for index in range(whole):
            if not done >> index & 1 and not before[index] & ~done:
                for after in spans[index].step(state):
                    following = (done | 1 << index, after)
                    if following not in seen:
                        seen.add(following)
                        stack.append(following)
        if len(seen) > limit:
            stamps = [stamp for span in spans for stamp in (span.began, span.ended)]
            rank = {stamp: place for place, stamp in enumerate(sorted({*stamps, *under_way.values()}))}
            return (
                tuple((names[i], rank[spans[i].began], rank[spans[i].ended]) for i in range(whole)),
                frozenset((task, rank[began]) for task, began in under_way.items()),
            )
    configurations = [(done, state) for done, state in seen if not placed & ~done]
    open_ones = [index for index in range(whole) if any(not done >> index & 1 for done, _ in configurations)]
    left = {
        done: frozenset(str(names[i]) for i in open_ones if not done >> i & 1) for done, _ in configurations
    }
    return (
        frozenset((left[done], repr(state)) for done, state in configurations),
        frozenset(
            (
                str(names[index]),
                may_precede[index],
                frozenset(str(names[i]) for i in open_ones if before[index] >> i & 1),
            )
            for index in open_ones
        ),
    )
