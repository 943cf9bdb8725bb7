"""Depth-first search: every answer of every draw, by re-running from the start with a longer or changed prefix.

Stateless search as in VeriSoft (Godefroid, POPL 1997), without reduction: an odometer over the choice tape. The last
draw with an untried answer is advanced, what followed it is forgotten. The search is complete when no draw has an
untried answer left, and only then; there is no cap inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ...engine.answers import candidate
from ...engine.errors import TapeMismatch

if TYPE_CHECKING:
    from ...engine.engine import Engine
    from ...engine.task import Task


class DepthFirst:
    """Enumerates all schedules. Use `while strategy.begin(engine): run(engine)` with a new engine each time.

    Attributes:
        schedules: runs begun so far.
        complete: nothing is left to try.
    """

    name: ClassVar[str] = "dfs"
    summary: ClassVar[str] = "every schedule, depth first, without reduction"
    bound: ClassVar[str] = ""
    systematic: ClassVar[bool] = True

    def __init__(self) -> None:
        self.schedules = 0
        self.complete = False
        self._path: list[tuple[int, int]] = []
        #: Answers at the beginning of the path that stay as they are.
        self._floor = 0
        self._position = 0

    def begin(self, engine: Engine) -> bool:
        """Go to the next schedule; False when the tree is exhausted."""
        if self.schedules:
            path = self._path
            while len(path) > self._floor and path[-1][0] + 1 >= path[-1][1]:
                path.pop()
            if len(path) <= self._floor:
                self.complete = True
                return False
            value, bound = path[-1]
            path[-1] = (value + 1, bound)
        self.schedules += 1
        self._position = 0
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Who runs next."""
        return candidate(runnable, current, self._answer(len(runnable)))

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Any other choice."""
        return self._answer(bound)

    def _answer(self, bound: int) -> int:
        position = self._position
        self._position = position + 1
        if position == len(self._path):
            self._path.append((0, bound))
            return 0
        value, known = self._path[position]
        if known != bound:
            raise TapeMismatch(
                f"draw {position} had {known} answers and now has {bound}: the program is not deterministic"
            )
        return value
