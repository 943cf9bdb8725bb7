"""Is it right to look once at states that differ only in which of several tasks that do the same is where?

`stateful:3` does (`state.symmetry`). It is right if two such states always have the same steps before them: each leads
to states that again differ only so. Here a search without that looks at every state, and compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .search import Limits, search
from .state import LiveState
from .strategies.state_graph import END
from .strategies.stateful import Stateful

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from .program import ScenarioProgram
    from .search import SearchResult


@attrs.frozen
class Compared:
    """What came of it.

    Attributes:
        alike: names of the tasks that do the same; none: there was nothing to compare.
        states: that there are.
        left: of these, how many a search looks at that exchanges tasks.
        unlike: answers on the way to two states that were taken for one and whose steps lead elsewhere; empty if none.
        result: of the search.
    """

    alike: tuple[tuple[str, ...], ...]
    states: int
    left: int
    unlike: tuple[tuple[list[int], list[int]], ...]
    result: SearchResult


class _Readings(LiveState):
    """States apart, with the name that they share with others."""

    def __init__(
        self, engine: Engine, groups: tuple[tuple[str, ...], ...], shared: dict[bytes, bytes]
    ) -> None:
        self._shared = shared
        super().__init__(engine, groups=groups)

    def digest(self) -> bytes:
        readings = self.readings()
        self._shared[readings[0]] = min(readings)
        return readings[0]


class _Apart(Stateful):
    def __init__(self) -> None:
        super().__init__(3)
        self.shared: dict[bytes, bytes] = {}

    def look_at(self, engine: Engine) -> LiveState:
        return _Readings(engine, self.alike, self.shared)


def compare(program: ScenarioProgram, states: int = 100_000) -> Compared:
    """Look at every state of a program, and compare those that exchanging tasks makes one.

    Args:
        states: at most; if there are more, none are compared.
    """
    strategy = _Apart()
    result = search(program, strategy, Limits(schedules=None, states=states), keep_going=True)
    graph = strategy.graph
    shared = [strategy.shared[digest] for digest in graph.digests()]
    leads = [
        frozenset(b"" if after == END else shared[after] for after in graph.following(state))
        for state in range(len(graph))
    ]
    first: dict[bytes, int] = {}
    unlike = []
    for state, name in enumerate(shared):
        other = first.setdefault(name, state)
        if result.complete and leads[other] != leads[state]:
            unlike.append((graph.answers(other), graph.answers(state)))
    return Compared(strategy.exchanged, len(graph), len(first), tuple(unlike), result)
