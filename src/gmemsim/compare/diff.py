"""How two logs differ, or two versions over many runs: verdict, header, ranked rows, first divergence."""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from ..audit.vocabulary import name_of
from .behaviour import RENAMED, Behaviours, behaviours
from .divergence import Divergence, first_divergence
from .equivalence import compare_runs
from .responsible import explained
from .rows import Row, ranked
from .runs import Steps
from .sides import compare_sides
from .steprows import step_rows
from .symmetric import exchange, renamed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..audit.base import Event

__all__ = ["Diff", "Divergence", "diff", "diff_sets"]


class Diff(msgspec.Struct, frozen=True):
    """How two sides differ; `msgspec.json.encode` makes JSON of it.

    Attributes:
        equal: they differ in nothing but the order of independent steps and the names of frames and messages (two
            logs), or in no behaviour that does not differ between the runs of one side as well (two sets of runs).
        events: how often the left and the right have each event, in alphabetical order.
        first_divergence: None if they are the same step by step, under one renaming; of sets, of the first runs.
        changes: the differences, the most telling first; see `Row`.
        noise: how many more behaviours differ, and as much between two halves of one side.
        exchanged: with symmetry, the left's name of each task of the right that has another.
        runs: how many runs a side has.
    """

    equal: bool
    events: dict[str, tuple[int, int]]
    first_divergence: Divergence | None
    changes: tuple[Row, ...] = ()
    noise: int = 0
    exchanged: dict[str, str] = {}
    runs: int = 1


def diff(
    left: Iterable[tuple[str, Event]], right: Iterable[tuple[str, Event]], *, symmetric: bool = False
) -> Diff:
    """Compare two logs, streams of `(actor, event)`.

    Args:
        symmetric: tasks that differ in their number only may be exchanged.
    """
    lefts, rights = list(left), list(right)
    events = _side_by_side(_counts(lefts), _counts(rights))
    exchanged: dict[str, str] = {}
    with collector_paused():
        steps = Steps()
        one, two = steps.run(lefts), steps.run(rights)
        divergence = first_divergence(steps, one, two)
        if divergence is None:
            return Diff(True, events, None)
        found = compare_runs(steps, one, two)
        if symmetric and not found.equal:
            names = exchange(lefts, rights)
            if names is not None:
                exchanged = {new: old for new, old in names.items() if new != old}
                two = steps.run(renamed(rights, names))
                found = compare_runs(steps, one, two)
        if found.equal:
            return Diff(True, events, divergence, exchanged=exchanged)
        rows = step_rows(steps, one, two, found)
        sides = [behaviours(lefts)], [behaviours(rights)]
        more, noise = compare_sides(*sides, ("",))
    rows += renames(*sides)
    changes = ranked(explained([*more, *rows], [*sides[0], *sides[1]], None))
    return Diff(False, events, divergence, changes, noise)


def diff_sets(
    left: Sequence[Behaviours],
    right: Sequence[Behaviours],
    names: Sequence[str],
    first: tuple[list[tuple[str, Event]], list[tuple[str, Event]]],
    versions: tuple[type, type] | None = None,
) -> Diff:
    """Compare two sets of runs.

    Args:
        names: of the runs of a side, in order.
        first: the logs of the first run of each side, for event counts and first divergence.
        versions: the patch versions, to name the methods responsible.
    """
    events = _side_by_side(_counts(first[0]), _counts(first[1]))
    with collector_paused():
        steps = Steps()
        divergence = first_divergence(steps, steps.run(first[0]), steps.run(first[1]))
    rows, noise = compare_sides(left, right, names)
    rows += renames(left, right)
    changes = ranked(explained(rows, [*left, *right], versions))
    return Diff(not changes, events, divergence, changes, noise, runs=len(left))


def renames(left: Sequence[Behaviours], right: Sequence[Behaviours]) -> list[Row]:
    """Hooks that have one name on the left and another one on the right."""
    old, new = ({name for run in side for name in run.renamed} for side in (left, right))
    found: list[Row] = []
    for name in sorted(old ^ new):
        if name.endswith("_ret"):
            continue
        sides = (name, RENAMED[name]) if name in old else (RENAMED[name], name)
        found.append(Row("rename", sides[1], f"{sides[0]} is called {sides[1]}", *sides, sides[1]))
    return found


def _counts(events: list[tuple[str, Event]]) -> dict[str, int]:
    classes = Counter(event.__class__ for _, event in events)
    return {name_of(cls): count for cls, count in classes.items()}


def _side_by_side(left: dict[str, int], right: dict[str, int]) -> dict[str, tuple[int, int]]:
    return {name: (left.get(name, 0), right.get(name, 0)) for name in sorted({*left, *right})}


@contextmanager
def collector_paused() -> Iterator[None]:
    """Millions of tuples arise here, none in a cycle; looking for cycles takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def document(found: Diff) -> dict[str, Any]:
    """As builtins."""
    result: dict[str, Any] = msgspec.to_builtins(found)
    result["events"] = {name: {"left": a, "right": b} for name, (a, b) in found.events.items()}
    return result
