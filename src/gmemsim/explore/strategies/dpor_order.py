"""Which steps of a run had to come in that order: footprints, happens-before and races.

The *footprint* of a step is the op that it announced and what it touched on its way to the next trap (`Task.touch`).
Two steps of different tasks are dependent if any two ops of theirs are. *Happens-before* is the least order that has
the steps of one task, dependent steps, and a step that wakes or creates a task before the task's next step. It is kept
as one bit set per step, which for runs of some hundred steps is quicker than vector clocks and says the same.

A *race* is a pair of dependent steps of different tasks with nothing between them in that order, of which the first did
not enable the second: those two could have come the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ...engine.op import Footprint, Op, dependent

#: Footprint of a step that ends the run: whatever the others had still to do, it came before that.
EVERYTHING: Final[Footprint] = (Op("step", "*"),)


def conflict(a: Footprint, b: Footprint) -> bool:
    """Whether the order of two steps with these footprints can matter."""
    if a is EVERYTHING or b is EVERYTHING:
        return True
    return any(dependent(one, other) for one in a for other in b)


class _Step:
    """One step of the run.

    Attributes:
        before: bit set of the steps that happen before it, itself included.
        previous: number of the task's step before, or -1.
        enables: tasks that it woke or created.
    """

    __slots__ = ("before", "enables", "footprint", "previous", "task")

    def __init__(self, task: int, footprint: Footprint, previous: int, enables: frozenset[int]) -> None:
        self.task = task
        self.footprint = footprint
        self.previous = previous
        self.enables = enables
        self.before = 0


class Order:
    """The order of the steps of the present run, numbered from 0; `cut` takes the last ones off again."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._last: dict[int, int] = {}
        self._by_object: dict[str, list[tuple[int, Op]]] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def step(self, number: int) -> _Step:
        """One step: its task, footprint and what happens before it."""
        return self._steps[number]

    def apart(self, first: int) -> list[int]:
        """Steps behind `first` that do not happen after it."""
        return [n for n in range(first + 1, len(self._steps)) if not self._steps[n].before >> first & 1]

    def footprint(self, step: int) -> Footprint:
        """What the step touched."""
        return self._steps[step].footprint

    def cut(self, length: int) -> None:
        """Forget every step from number `length` on."""
        steps = self._steps
        while len(steps) > length:
            step = steps.pop()
            if step.previous < 0:
                del self._last[step.task]
            else:
                self._last[step.task] = step.previous
            for op in step.footprint:
                self._by_object[op.obj].pop()

    def add(self, task: int, footprint: Footprint, enables: Iterable[int]) -> list[int]:
        """Append a step; the numbers of the steps that it races with, latest first."""
        steps = self._steps
        number = len(steps)
        previous = self._last.get(task, -1)
        step = _Step(task, footprint, previous, frozenset(enables))
        covered = steps[previous].before if previous >= 0 else 0
        for position in range(number - 1, previous, -1):
            if task in steps[position].enables:
                covered |= steps[position].before
                break
        races: list[int] = []
        for position in sorted(self._touching(footprint, covered), reverse=True):
            if not covered >> position & 1:
                races.append(position)
                covered |= steps[position].before
        step.before = covered | 1 << number
        steps.append(step)
        self._last[task] = number
        for op in footprint:
            self._by_object.setdefault(op.obj, []).append((number, op))
        return races

    def _touching(self, footprint: Footprint, covered: int) -> set[int]:
        """Steps that touched what `footprint` touches, apart from most of those that are `covered`."""
        found: set[int] = set()
        for op in footprint:
            for position, other in reversed(self._by_object.get(op.obj, ())):
                if not dependent(other, op):
                    continue
                if not covered >> position & 1:
                    found.add(position)
                elif other.mode == "w" and other.lo <= op.lo and op.hi <= other.hi:
                    # Whatever touched this before in a way that matters came before that step, too.
                    break
        return found

    def initials(self, first: int, second: int) -> set[int]:
        """Tasks that could begin, at the state before step `first`, a run in which `second` comes before it.

        The weak initials of the steps in between that do not depend on `first`, and `second` behind them (Abdulla et
        al., definition of source sets).
        """
        steps = self._steps
        without = [n for n in range(first + 1, second) if not steps[n].before >> first & 1]
        without.append(second)
        earlier = 0
        found: set[int] = set()
        for number in without:
            if not steps[number].before & earlier:
                found.add(steps[number].task)
            earlier |= 1 << number
        return found
