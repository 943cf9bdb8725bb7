"""Is there an order of the operations, one that keeps to real time, in which a sequential object does the same?

The search of Wing and Gong ("Testing and verifying concurrent objects", JPDC 17, 1993) with the memory of Lowe
("Testing for linearizability", CCPE 29(4), 2017): an operation may come next if none that is left ended before it
began, and a set of operations done with the state they led to is tried once. The sequential object may leave a choice:
an operation leads to any of several states, or to none, if it cannot have had its result there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Interval", "linearizable"]

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
