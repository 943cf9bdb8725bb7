"""A part of a search of states that several processes share: what lies behind one prefix of choices.

Each state is looked at by the process that comes to it first. Who that is, is settled in a table that all of them have
(`state.claimed`): a process that comes to a state of another one goes no further there. Where a part is given up, the
rest of it (`rest`) is a part as well, which goes on from there or is split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .stateful import Stateful

if TYPE_CHECKING:
    from ...engine.engine import Engine
    from ..state.claimed import Claimed


class CannotShare(Exception):
    """Something in the program cannot be put back, which is known only when it is met."""


class Part(NamedTuple):
    """What is left to try.

    Attributes:
        path: answers, each with how many there are; those behind an answer of the path are tried already.
        floor: how many answers at its beginning stay as they are.
    """

    path: tuple[tuple[int, int], ...]
    floor: int

    def halves(self) -> tuple[Part, ...]:
        """Two parts with about as many untried answers each; the part itself if it has but one."""
        left = [
            place
            for place in range(self.floor, len(self.path))
            if self.path[place][0] + 1 < self.path[place][1]
        ]
        if len(left) < 2:
            return (self,)
        middle = left[len(left) // 2]
        return Part(self.path[:middle], self.floor), Part(self.path, middle)


class StatefulPart(Stateful):
    """Searches one part.

    Args:
        part: what to try; None: everything.
        claimed: the states that somebody looks at.

    Attributes:
        states: that this part was the first to come to.
    """

    def __init__(self, reduce: int, part: Part | None, claimed: Claimed) -> None:
        super().__init__(reduce)
        self._part = part
        self._claimed = claimed
        self._mine: set[bytes] = set()
        #: Length of the prefix that the first run goes along; what it meets there is looked at elsewhere.
        self._prefix = 0
        if part is not None:
            self._path[:] = part.path
            self._floor = part.floor
            self.schedules = 1

    @property
    def states(self) -> int:
        return len(self._mine)

    @property
    def rest(self) -> Part:
        """What is left when a run is over."""
        return Part(tuple(self._path), self._floor)

    def way(self) -> list[bytes]:
        """Digests of the states of the last run."""
        digests = self.graph.digests()
        return [digests[number] for number in self._way]

    def traps(self) -> list[tuple[int, list[int]]]:
        """Nothing: of some states here the steps are taken elsewhere."""
        return []

    def begin(self, engine: Engine) -> bool:
        arriving = self._engine is None
        if not super().begin(engine):
            return False
        self._prefix = len(self._path) if arriving else 0
        return True

    def restart(self) -> None:
        """Digests of a search that builds every run anew are others than those in the table.

        Raises:
            CannotShare: always.
        """
        raise CannotShare

    def _elsewhere(self, digest: bytes) -> bool:
        if self._position < self._prefix:
            return False
        if not self._claimed.add(digest):
            return True
        self._mine.add(digest)
        return False
