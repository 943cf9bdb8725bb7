"""Wakeup trees: what is still to be tried from a state, as beginnings of runs rather than as tasks.

Abdulla, Aronis, Jonsson and Sagonas, "Optimal dynamic partial order reduction" (POPL 2014). To reverse a race it is not
enough to let the task of the second step go first: by its own later choices the run can come to where everybody sleeps,
because all that is left repeats explored runs. So the steps up to the reversed race are kept, and followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .dpor_order import conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ...engine.op import Footprint


class Coming(NamedTuple):
    """A step to be taken.

    Attributes:
        number: in the run that it was seen in.
        before: bit set of the steps of that run that happen before it.
        drew: what comes behind it depends on an answer that was drawn in it.
    """

    task: int
    footprint: Footprint
    number: int
    before: int
    drew: bool = False


class Branch:
    """A task that is to take a step, and what is to come after that; nothing: whatever comes.

    Attributes:
        footprint: what its step touches, if that is known.
    """

    __slots__ = ("footprint", "task", "then")

    def __init__(self, task: int, footprint: Footprint | None = None) -> None:
        self.task = task
        self.footprint = footprint
        self.then: list[Branch] = []


def _begins(task: int, footprint: Footprint | None, steps: Sequence[Coming]) -> int | None:
    """Where in `steps` the step of `task` is that could come first; `len(steps)`: it is none of them, and independent
    of all; None: it cannot come first (the weak initials of the paper)."""
    earlier = 0
    for position, step in enumerate(steps):
        if step.task == task:
            return None if step.before & earlier else position
        earlier |= 1 << step.number
    if footprint is None or any(conflict(footprint, step.footprint) for step in steps):
        return None
    return len(steps)


def covered(asleep: Mapping[int, Footprint], steps: Sequence[Coming]) -> bool:
    """Whether a run that begins with `steps` was tried: somebody who sleeps could go first in it."""
    return any(_begins(task, footprint, steps) is not None for task, footprint in asleep.items())


def insert(branches: list[Branch], steps: Iterable[Coming]) -> None:
    """See to it that a run is tried that `steps` begin, in this order or an equivalent one.

    It is followed up to the first answer that is drawn; from there on whatever comes is tried, under every answer.
    """
    left = list(steps)
    while left:
        for branch in branches:
            position = _begins(branch.task, branch.footprint, left)
            if position is not None:
                break
        else:
            for step in left:
                branch = Branch(step.task, step.footprint)
                branches.append(branch)
                branches = branch.then
                if step.drew:
                    break
            return
        if not branch.then:
            return
        del left[position : position + 1]
        branches = branch.then
