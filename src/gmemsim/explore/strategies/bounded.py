"""What the bounded searches share: schedules by rising cost, each of them once.

A run follows a prefix of answers and answers 0 from there on, which costs nothing. Every other answer that it could
have given behind its prefix makes the prefix of another run, which waits with those of the same cost (the queue of
Musuvathi and Qadeer, "Iterative context bounding", PLDI 2007). The cheapest goes first, and within a cost the one that
leaves the youngest run latest. So every schedule within the bound is run exactly once, and when the search is stopped,
all of a lower cost than the present one have been.

Other draws (faults and the like) cost nothing: all their answers are tried, at every cost.

A task in a retry loop (`retry`) is not kept running: there the choice is among the others, the next younger one in
place of answer 0, and without those that came to the same end before, until each had its turn. Without that rule two
spinning tasks could hand over to each other for ever. A schedule that goes on with a loop is not in any bound.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, ClassVar, Final

from ...engine.answers import candidate
from ...engine.errors import TapeMismatch
from .retry import MAX_RETRIES, RetryWatch

if TYPE_CHECKING:
    from random import Random

    from ...engine.engine import Engine
    from ...engine.task import Task

#: What an answer other than 0 costs: nothing, one, or as much as its number.
FREE: Final = 0
UNIT: Final = 1
PER_ANSWER: Final = 2


class _Run:
    """One run as later ones need it: `values[given:]` are zeros, of which each could have been something else."""

    __slots__ = ("bounds", "cost", "given", "tariffs", "values")

    def __init__(self, prefix: array[int], cost: int) -> None:
        self.values = prefix
        self.given = len(prefix)
        self.cost = cost
        self.bounds = array("L")
        self.tariffs = bytearray()

    def branches(self, extra: int) -> array[int]:
        """Answers that cost `extra` more, as position and answer in turn; the latest come last."""
        found = array("L")
        for position in range(self.given, len(self.values)):
            tariff, bound = self.tariffs[position], self.bounds[position]
            if tariff == PER_ANSWER:
                if 0 < extra < bound:
                    found.extend((position, extra))
            elif tariff == extra:
                for value in range(bound - 1, 0, -1):
                    found.extend((position, value))
        return found


class _Waiting:
    """The branches of a run at one cost, worked out when the first one is wanted."""

    __slots__ = ("branches", "run")

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.branches: array[int] | None = None


class Bounded:
    """Enumerates the schedules that cost at most `limit`.

    Args:
        limit: the most that a schedule may cost.
        order: draws which schedule of a cost goes first, instead of the latest branch.

    Attributes:
        schedules: runs begun so far.
        cost: of the present run; every cheaper schedule has been run.
        left: schedules of the present cost that are known to wait: at least so many are left.
        complete: nothing within the bound is left.

    Raises:
        ValueError: the limit is negative.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    systematic: ClassVar[bool] = True

    #: What one unit of cost is called, for `bound`.
    unit: ClassVar[str]

    def __init__(self, limit: int, order: Random | None = None) -> None:
        if limit < 0:
            raise ValueError(f"{self.name} needs a bound of at least 0, not {limit}")
        self.limit = limit
        self.schedules = 0
        self.cost = 0
        self.left = 0
        self.complete = False
        self._order = order
        self._levels: list[list[_Waiting]] = [[] for _ in range(limit + 1)]
        self._counts = [0] * (limit + 1)
        self._run = _Run(array("L"), 0)
        self._known = array("L")
        self._position = 0
        self._watch = RetryWatch()
        #: Tasks that were taken out of a retry loop since all had a turn.
        self._had_turn: set[int] = set()

    @property
    def bound(self) -> str:
        """What is left out."""
        plural = "" if self.limit == 1 else "s"
        return (
            f"at most {self.limit} {self.unit}{plural}, and no more than {MAX_RETRIES} equal steps in a row"
        )

    def tariff(self, current: Task | None) -> int:
        """What the choice of another task than the first one costs."""
        raise NotImplementedError

    def begin(self, engine: Engine) -> bool:
        """Go to the next schedule; False when none is left within the bound."""
        if self.schedules:
            self._keep(self._run)
            if not self._next():
                self.complete = True
                return False
        self.schedules += 1
        self._position = 0
        self._watch = RetryWatch()
        self._had_turn = set()
        return True

    def _keep(self, run: _Run) -> None:
        """Let the branches of a run wait, each at its cost."""
        for extra in range(self.limit - run.cost + 1):
            number = 0
            for position in range(run.given, len(run.values)):
                tariff, bound = run.tariffs[position], run.bounds[position]
                if tariff == PER_ANSWER:
                    number += 0 < extra < bound
                elif tariff == extra:
                    number += bound - 1
            if number:
                self._levels[run.cost + extra].append(_Waiting(run))
                self._counts[run.cost + extra] += number

    def _next(self) -> bool:
        while not self._levels[self.cost]:
            if self.cost == self.limit:
                self.left = 0
                return False
            self.cost += 1
        level = self._levels[self.cost]
        if level[-1].branches is None and self._order is not None:
            other = self._order.randrange(len(level))
            level[-1], level[other] = level[other], level[-1]
        waiting = level[-1]
        run = waiting.run
        if waiting.branches is None:
            waiting.branches = run.branches(self.cost - run.cost)
        branches = waiting.branches
        if self._order is not None:
            last, other = len(branches) - 2, 2 * self._order.randrange(len(branches) // 2)
            for side in (0, 1):
                branches[last + side], branches[other + side] = branches[other + side], branches[last + side]
        value = branches.pop()
        position = branches.pop()
        if not branches:
            level.pop()
        self._counts[self.cost] -= 1
        self.left = self._counts[self.cost]
        prefix = run.values[:position]
        prefix.append(value)
        self._run = _Run(prefix, self.cost)
        self._known = run.bounds
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Who runs next."""
        if current is not None and self._watch.retries(current):
            younger = [task for task in runnable if task.ident > current.ident]
            every = [*younger, *(task for task in runnable if task.ident < current.ident)]
            self._had_turn.add(current.ident)
            others = [task for task in every if task.ident not in self._had_turn]
            if not others:
                self._had_turn = {current.ident}
                others = every
            if len(others) == 1:
                return others[0]
            return others[self._answer(len(others), self.tariff(None))]
        return candidate(runnable, current, self._answer(len(runnable), self.tariff(current)))

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Any other choice."""
        return self._answer(bound, FREE)

    def _answer(self, bound: int, tariff: int) -> int:
        position = self._position
        self._position = position + 1
        run = self._run
        run.bounds.append(bound)
        run.tariffs.append(tariff)
        if position >= run.given:
            run.values.append(0)
            return 0
        if self._known[position] != bound:
            raise TapeMismatch(
                f"draw {position} had {self._known[position]} answers and now has {bound}: the program is not "
                "deterministic"
            )
        return run.values[position]
