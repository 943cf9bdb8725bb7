"""Comparing two runs: what happened more often, elsewhere, in another order or with another result.

The sides are streams of `(actor, event)`, from two logs or from a log and a kernel trace that somebody mapped
to the same vocabulary. Numbers in the log, virtual times, message numbers and frame numbers play no part.
Neither does the order of independent steps: a step that passed steps of other tasks on other pages is where
it was.
"""

from __future__ import annotations

import gc
import hashlib
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from .changes import Change, sort_changes
from .divergence import Divergence, first_divergence
from .findings import Findings
from .identity import Coder
from .logfile import blocks
from .ordering import interleavings, sequences
from .projection import Projector
from .reader import read_log
from .vocabulary import name_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from .base import Event

__all__ = ["Diff", "Divergence", "diff", "diff_logs"]


class Diff(msgspec.Struct, frozen=True):
    """How two streams of events differ; `msgspec.json.encode` makes JSON of it.

    Attributes:
        events: how often the left and the right have each event, in alphabetical order.
        first_divergence: None if the streams are the same step by step, frame numbers apart.
        changes: what is not explained by the order of independent steps; see `Change`. Empty with a
            divergence: the runs are the same but for that order.
    """

    events: dict[str, tuple[int, int]]
    first_divergence: Divergence | None
    changes: tuple[Change, ...]


def diff(left: Iterable[tuple[str, Event]], right: Iterable[tuple[str, Event]]) -> Diff:
    """Compare two streams of `(actor, event)`."""
    lefts, rights = list(left), list(right)
    events = _side_by_side(_counts(lefts), _counts(rights))
    with _collector_paused():
        coder = Coder()
        divergence = first_divergence(lefts, rights, coder)
        if divergence is None:
            return Diff(events, None, ())
        projector = Projector(coder, (lefts, rights))
        one, two = projector.project(lefts), projector.project(rights)
        changes = [
            *Findings(projector, one, two).changes(),
            *sequences(projector, one, two),
            *interleavings(projector, one, two),
        ]
    return Diff(events, divergence, sort_changes(changes))


def diff_logs(left: str | os.PathLike[str], right: str | os.PathLike[str]) -> Diff:
    """Compare two log files. Logs that are equal to the last byte after their headers are read once.

    Raises:
        LogError: one of them cannot be read; see `read_log`.
    """
    one, two = read_log(left), read_log(right)
    with _collector_paused():
        lefts = [(actor, event) for _, _, actor, event in one]
        if _digest(left) == _digest(right):
            counts = _counts(lefts)
            return Diff(_side_by_side(counts, counts), None, ())
        rights = [(actor, event) for _, _, actor, event in two]
        return diff(lefts, rights)


def _digest(path: str | os.PathLike[str]) -> bytes:
    """Of everything after the header."""
    found = hashlib.blake2b()
    first = True
    for block in blocks(path):
        found.update(block.partition(b"\n")[2] if first else block)
        first = False
    return found.digest()


def _counts(events: list[tuple[str, Event]]) -> dict[str, int]:
    classes = Counter(event.__class__ for _, event in events)
    return {name_of(cls): count for cls, count in classes.items()}


def _side_by_side(left: dict[str, int], right: dict[str, int]) -> dict[str, tuple[int, int]]:
    return {name: (left.get(name, 0), right.get(name, 0)) for name in sorted({*left, *right})}


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Millions of tuples arise here, none in a cycle; looking for cycles takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
