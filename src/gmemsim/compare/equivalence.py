"""Whether two logs are equal but for the order of independent steps and the names of frames and messages.

Who takes a step says which step it is: the k-th of a task on the left can only be the k-th of that task on the right,
because the steps of one task never change places. So nothing has to be guessed or searched. Two logs are equal exactly
if

1. every task takes the same steps on both sides, frames and message numbers apart;
2. one bijection takes every frame of the left to the frame that the same step names on the right, over the whole log,
   and one every message number;
3. no two dependent steps (`footprint`) come in another order.

Where the steps of a task differ, the longest part that it has in common is compared; the rest is reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .align import align
from .footprint import Footprints
from .order import inversions
from .renaming import Renaming
from .runs import Run, Steps

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Comparison", "Inversion", "compare_runs"]


class Inversion(NamedTuple):
    """Two dependent steps in another order; positions on the left, where `first` comes first."""

    first: int
    second: int
    object: str


class Comparison:
    """How two runs differ; equal if every list is empty.

    Attributes:
        gone, new: positions of steps of the left or right only.
        frames: pairs of positions whose steps name frames that are not each other's.
        messages: pairs of positions whose messages are not each other's.
        inversions: dependent steps in another order.
        places: for each step of the left its place on the right, or -1.
    """

    def __init__(self) -> None:
        self.gone: list[int] = []
        self.new: list[int] = []
        self.frames: list[tuple[int, int]] = []
        self.messages: list[tuple[int, int]] = []
        self.inversions: list[Inversion] = []
        self.places: list[int] = []

    @property
    def equal(self) -> bool:
        """Only the order of independent steps, frames' names and message numbers differ."""
        return not (self.gone or self.new or self.frames or self.messages or self.inversions)


def compare_runs(
    steps: Steps, left: Run, right: Run, footprints: Footprints | None = None, *, most: int = 1 << 20
) -> Comparison:
    """Compare two runs whose steps `steps` has numbered; at most `most` inversions are kept."""
    found = Comparison()
    _match(steps, left, right, found)
    _rename(steps, left, right, found)
    if footprints is None:
        footprints = Footprints()
        for step in steps.known:
            footprints.learn(step.actor, step.event)
    if found.places != list(range(len(right.steps))):
        for first, second, obj in inversions(steps, footprints, left, found.places, len(right.steps)):
            found.inversions.append(Inversion(first, second, obj))
            if len(found.inversions) == most:
                break
    return found


def _match(steps: Steps, left: Run, right: Run, found: Comparison) -> None:
    """Which step of the right is which of the left."""
    found.places = places = [-1] * len(left.steps)
    for actor in dict.fromkeys((*left.by_actor, *right.by_actor)):
        lefts, rights = left.by_actor.get(actor, []), right.by_actor.get(actor, [])
        pairs: Sequence[tuple[int, int]]
        one, two = steps.shapes(left, actor), steps.shapes(right, actor)
        if one == two:
            for position, place in zip(lefts, rights, strict=True):
                places[position] = place
            continue
        pairs = align(one, two)
        for i, j in pairs:
            places[lefts[i]] = rights[j]
        kept_left = {i for i, _ in pairs}
        kept_right = {j for _, j in pairs}
        found.gone += (position for i, position in enumerate(lefts) if i not in kept_left)
        found.new += (place for j, place in enumerate(rights) if j not in kept_right)
    found.gone.sort()
    found.new.sort()


def _rename(steps: Steps, left: Run, right: Run, found: Comparison) -> None:
    """Frames and message numbers of the left under the names of the right."""
    known = steps.known
    frames = Renaming()
    messages = Renaming()
    done: set[tuple[int, int]] = set()
    for position, place in enumerate(found.places):
        if place < 0:
            continue
        number, other = left.steps[position], right.steps[place]
        step = known[number]
        if step.message and not messages.add(left.messages[position], right.messages[place]):
            found.messages.append((position, place))
        if (number, other) in done:
            continue
        counterpart = known[other]
        if step.frames is not None and counterpart.frames is not None:
            (one, pages), (two, _) = step.frames, counterpart.frames
            if not frames.add(one, two, pages):
                # Not kept as done: each step that names the wrong frame is reported.
                found.frames.append((position, place))
                continue
        if step.detail is not None and counterpart.detail is not None and step.detail != counterpart.detail:
            image = frames.right_of(step.detail)
            if image is None:
                frames.add(step.detail, counterpart.detail)
            elif image != counterpart.detail:
                found.frames.append((position, place))
                continue
        done.add((number, other))
