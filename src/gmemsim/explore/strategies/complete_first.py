"""Every state first; if a budget of them is used up, the portfolio.

What a search does unless told otherwise. `explore.campaign` makes two searches of it, which may have many processes;
this is for who gives out one schedule at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from .portfolio import Portfolio
from .stateful import Stateful

if TYPE_CHECKING:
    from ...engine.engine import Engine
    from ...engine.task import Task
    from .base import SearchStrategy

_STATES: Final = 20_000
#: Choices of one run behind which the tasks take turns. The run in which the budget is used up goes on with the first
#: answer every time, and priorities may starve a task: what is only kept from ending by that says nothing of the model.
_THEN_TURNS: Final = 10_000


class CompleteFirst:
    """State caching, and behind it a portfolio.

    Args:
        budget: states of the first part; at least one schedule is run.

    Attributes:
        sampled: schedules of the second part.
    """

    name: ClassVar[str] = "auto"
    summary: ClassVar[str] = "every state, up to --max-states of them; if there are more, then the portfolio"
    bound: ClassVar[str] = ""
    caches: ClassVar[bool] = True

    def __init__(self, seed: int = 0, budget: int = _STATES) -> None:
        self.budget = budget
        self.sampled = 0
        # One run can have more states than the budget: a loop over the pages of a file has one a step.
        self._stateful = Stateful(budget=budget)
        self._portfolio = Portfolio(seed)
        self._member: SearchStrategy = self._stateful
        #: Choices of the present run that no search of states looks at, and whose turn was the last.
        self._choices = 0
        self._turn = -1

    @property
    def complete(self) -> bool:
        """No state is left."""
        return self._stateful.complete

    @property
    def states(self) -> int:
        """Different states that were met."""
        return self._stateful.states

    def traps(self) -> list[tuple[int, list[int]]]:
        """As `Stateful.traps`."""
        return self._stateful.traps()

    def begin(self, engine: Engine) -> bool:
        """Start a run."""
        self._choices = 0
        if self._member is self._stateful:
            if self.states < self.budget:
                return self._stateful.begin(engine)
            self._member = self._portfolio
        self.sampled += 1
        return self._portfolio.begin(engine)

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """As the member decides; in turns, if the run does not end."""
        self._choices += self._member is not self._stateful or self.states >= self.budget
        if self._choices <= _THEN_TURNS:
            return self._member.pick(runnable, current)
        task = min(runnable, key=lambda task: (task.ident <= self._turn, task.ident))
        self._turn = task.ident
        return task

    def draw(self, task: Task, label: str, bound: int) -> int:
        """As the member decides."""
        return self._member.draw(task, label, bound)
