"""How two logs differ, or two versions over many runs: verdict, header, ranked rows, first divergence."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from .behaviour import RENAMED, Behaviours, behaviours
from .divergence import Divergence, Lane, around, first_divergence
from .equivalence import compare_runs
from .responsible import explained
from .rows import Row, ranked
from .runs import Steps
from .sides import compare_sides
from .steprows import step_rows
from .symmetric import exchange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..audit.base import Event
    from .runs import Run


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
        lanes: the steps near the first divergence, left and right.
    """

    equal: bool
    events: dict[str, tuple[int, int]]
    first_divergence: Divergence | None
    changes: tuple[Row, ...] = ()
    noise: int = 0
    exchanged: dict[str, str] = {}
    runs: int = 1
    lanes: tuple[tuple[Lane, ...], ...] = ()


def diff(
    left: Iterable[tuple[str, Event]], right: Iterable[tuple[str, Event]], *, symmetric: bool = False
) -> Diff:
    """Compare two logs, streams of `(actor, event)`.

    Args:
        symmetric: tasks that differ in their number only may be exchanged.
    """
    steps = Steps()
    with collector_paused():
        return diff_runs(steps, steps.run(left), steps.run(right), symmetric=symmetric)


def diff_begun(steps: Steps, left: Run, right: Run) -> Diff:
    """Only the first divergence and the counts: of a comparison that was not brought to its end."""
    left, right = steps.like_each_other(left, right)
    divergence = first_divergence(steps, left, right)
    events = _side_by_side(steps.counts(left), steps.counts(right))
    return Diff(divergence is None, events, divergence, lanes=_lanes(steps, left, right, divergence))


def diff_runs(steps: Steps, left: Run, right: Run, *, symmetric: bool = False) -> Diff:
    """Compare two logs that `steps` has numbered."""
    left, right = steps.like_each_other(left, right)
    events = _side_by_side(steps.counts(left), steps.counts(right))
    divergence = None if left is right else first_divergence(steps, left, right)
    if divergence is None:
        return Diff(True, events, None)
    found = compare_runs(steps, left, right)
    if symmetric and not found.equal:
        log = steps.events(right)
        names = exchange(steps.events(left), log)
        if names is not None:
            exchanged = {new: old for new, old in names.items() if new != old}
            return Diff(True, events, divergence, exchanged=exchanged)
    if found.equal:
        return Diff(True, events, divergence)
    sides = [behaviours(steps, left)], [behaviours(steps, right)]
    rows, noise = compare_sides(*sides, ("",))
    rows += step_rows(steps, left, right, found)
    rows += renames(*sides)
    changes = ranked(explained(rows, [*sides[0], *sides[1]], None))
    return Diff(False, events, divergence, changes, noise, lanes=_lanes(steps, left, right, divergence))


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
    steps = Steps()
    one, two = steps.run(first[0]), steps.run(first[1])
    events = _side_by_side(steps.counts(one), steps.counts(two))
    divergence = first_divergence(steps, one, two)
    rows, noise = compare_sides(left, right, names)
    rows += renames(left, right)
    changes = ranked(explained(rows, [*left, *right], versions))
    lanes = _lanes(steps, one, two, divergence)
    return Diff(not changes, events, divergence, changes, noise, runs=len(left), lanes=lanes)


def _lanes(steps: Steps, left: Run, right: Run, at: Divergence | None) -> tuple[tuple[Lane, ...], ...]:
    return () if at is None else tuple(around(steps, run, at.index) for run in (left, right))


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
