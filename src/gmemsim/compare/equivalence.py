"""Whether two logs are equal but for the order of independent steps and the names of frames and messages.

Who takes a step says which step it is: the k-th of a task on the left can only be the k-th of that task on the right,
because the steps of one task never change places. So nothing has to be guessed or searched. Two logs are equal exactly
if

1. every task takes the same steps on both sides, frames and message numbers apart;
2. one bijection takes every frame of the left to the frame that the same step names on the right, over the whole log,
   and one every message number;
3. no two dependent steps (`footprint`) come in another order.

Where the steps of a task differ in few places, the longest part that it has in common is compared and the rest is
reported. Where they differ in many, the two runs are not the same run any more: only what one side has more often is.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from .align import align
from .footprint import Footprints
from .order import inversions
from .renaming import Renaming
from .runs import Run, Step, Steps

#: Runs that differ in more steps than this are not compared step by step.
_FEW: Final = 1000


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
        aligned: the runs have enough in common to compare them step by step.
    """

    def __init__(self) -> None:
        self.gone: list[int] = []
        self.new: list[int] = []
        self.frames: list[tuple[int, int]] = []
        self.messages: list[tuple[int, int]] = []
        self.inversions: list[Inversion] = []
        self.places: list[int] = []
        self.aligned = True

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
    if not found.aligned:
        return found
    _rename(steps, left, right, found)
    if footprints is None:
        footprints = Footprints()
        for number in dict.fromkeys((*left.steps, *right.steps)):
            footprints.learn(steps.known[number].actor, steps.known[number].event)
    matched = [place for place in found.places if place >= 0]
    if matched != sorted(matched):
        for first, second, obj in inversions(steps, footprints, left, found.places, len(right.steps)):
            found.inversions.append(Inversion(first, second, obj))
            if len(found.inversions) == most:
                break
    return found


def _match(steps: Steps, left: Run, right: Run, found: Comparison) -> None:
    """Which step of the right is which of the left."""
    shape = [step.shape for step in steps.known]
    ours, theirs = steps.by_actor(left), steps.by_actor(right)
    places = [-1] * len(left.steps)
    sides = []
    for actor in dict.fromkeys((*ours, *theirs)):
        lefts, rights = ours.get(actor, []), theirs.get(actor, [])
        sides.append(
            (
                lefts,
                rights,
                [shape[left.steps[at]] for at in lefts],
                [shape[right.steps[at]] for at in rights],
            )
        )
    apart = sum(
        (Counter(a) - Counter(b)).total()
        for _, _, one, two in sides
        if one != two
        for a, b in ((one, two), (two, one))
    )
    found.aligned = apart <= _FEW
    for lefts, rights, one, two in sides:
        if one == two:
            for position, place in zip(lefts, rights, strict=True):
                places[position] = place
            continue
        if not found.aligned:
            found.gone += _surplus(lefts, one, two)
            found.new += _surplus(rights, two, one)
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
    found.places = places


def _surplus(positions: list[int], shapes: list[int], others: list[int]) -> list[int]:
    """Positions of steps that the other side has less often."""
    left_over = Counter(others)
    found: list[int] = []
    for position, shape in zip(positions, shapes, strict=True):
        if left_over[shape]:
            left_over[shape] -= 1
        else:
            found.append(position)
    return found


def _rename(steps: Steps, left: Run, right: Run, found: Comparison) -> None:
    """Frames and message numbers of the left under the names of the right."""
    known = steps.known
    matched = [(position, place) for position, place in enumerate(found.places) if place >= 0]
    numbers = [(left.steps[position], right.steps[place]) for position, place in matched]
    frames = Renaming()
    # Each pair of steps once, in the order in which they first come.
    wrong = {pair for pair in dict.fromkeys(numbers) if not fits(frames, known[pair[0]], known[pair[1]])}
    if wrong:
        found.frames = [where for where, pair in zip(matched, numbers, strict=True) if pair in wrong]
    places = found.places
    messages = [(position, places[position]) for position in left.messages if places[position] >= 0]
    pairs = {(left.messages[position], right.messages[place]) for position, place in messages}
    if len(pairs) != len({one for one, _ in pairs}) or len(pairs) != len({two for _, two in pairs}):
        names = Renaming()
        found.messages = [
            (position, place)
            for position, place in messages
            if not names.add(left.messages[position], right.messages[place])
        ]


def fits(frames: Renaming, step: Step, counterpart: Step) -> bool:
    """Whether two steps name each other's frames."""
    if step.frames is not None and counterpart.frames is not None:
        (one, pages), (two, _) = step.frames, counterpart.frames
        if not frames.add(one, two, pages):
            return False
    if step.detail is None or counterpart.detail is None:
        return True
    return frames.add(step.detail, counterpart.detail)
