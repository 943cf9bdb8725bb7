"""A portfolio: several strategies take turns, one run each.

No strategy is best on all programs (Thomson, Donaldson and Betts, TOPC 2016), and which one is cannot be told before.
Taking turns costs at most the factor that is the inverse of a member's share. Of sixteen runs two go to the
preemption-bounded search (bound 2, fewest first), as most bugs need at most that many; seven to the random walk, which
is quickest for shallow bugs; four to POS; and one each to PCT of depth 2, 3 and 4, for its bound. The bounded member
takes its schedules of equal cost in random order, so that two portfolios with different seeds do not repeat each other
too often. When it has none left its turns go to the random walk.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, ClassVar, Final

from .pct import Pct
from .pos import Pos
from .preemption_bound import PreemptionBound
from .random_walk import RandomWalk

if TYPE_CHECKING:
    from ...engine.engine import Engine
    from ...engine.task import Task
    from .base import SearchStrategy

#: The turns of a round.
TURNS: Final = (
    "preemption:2", "random", "pos", "random", "pct:2", "random", "pos", "random",
    "preemption:2", "random", "pos", "random", "pct:3", "pos", "random", "pct:4",
)  # fmt: skip


class Portfolio:
    """Strategies in turn.

    Args:
        seed: the same seed gives the same schedules.

    Attributes:
        last: the member whose run is under way or was the last, as it is spelled on the command line.
        runs: by member, how many runs it has had.
    """

    name: ClassVar[str] = "portfolio"
    summary: ClassVar[str] = "random walk, POS, PCT and preemption bounding in turn"
    bound: ClassVar[str] = ""
    systematic: ClassVar[bool] = False
    complete: ClassVar[bool] = False

    def __init__(self, seed: int = 0) -> None:
        seeds = Random(seed)
        self._members: dict[str, SearchStrategy] = {
            "random": RandomWalk(seeds.getrandbits(64)),
            "pos": Pos(seeds.getrandbits(64)),
            "pct:2": Pct(seeds.getrandbits(64), 2),
            "pct:3": Pct(seeds.getrandbits(64), 3),
            "pct:4": Pct(seeds.getrandbits(64), 4),
            "preemption:2": PreemptionBound(2, Random(seeds.getrandbits(64))),
        }
        self.schedules = 0
        self.last = TURNS[0]
        self.runs = dict.fromkeys(self._members, 0)
        self._member = self._members[self.last]

    def begin(self, engine: Engine) -> bool:
        """The next member's turn."""
        self.last = TURNS[self.schedules % len(TURNS)]
        self.schedules += 1
        if not self._members[self.last].complete and self._members[self.last].begin(engine):
            self._member = self._members[self.last]
        else:
            self.last = "random"
            self._member = self._members[self.last]
            self._member.begin(engine)
        self.runs[self.last] += 1
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """As the member decides."""
        return self._member.pick(runnable, current)

    def draw(self, task: Task, label: str, bound: int) -> int:
        """As the member decides."""
        return self._member.draw(task, label, bound)
