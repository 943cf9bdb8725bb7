"""A search of states over several processes, with the verdict that one would come to.

Each process takes a part (`strategies.stateful_part`), looks at some thousand states at most, and sends what it found,
the graph of its states, and what is left of the part; that is put in line again, in halves while there are fewer parts
than processes. The search is complete when no part is left. Loops that nobody can leave are then looked for in all
graphs together.

Which run shows a failure first depends on who was faster; whether there is one does not, in a search that goes to its
end.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from ..engine.interrupts import TimeUp
from ..jobs.workers import WorkerKilled, Workers
from .state.claimed import Claimed
from .strategies.state_graph import END, StateGraph
from .strategies.stateful_part import Part, StatefulPart

if TYPE_CHECKING:
    from collections.abc import Callable

    from .campaign_values import Batch
    from .search import Limits, Stopped

#: States of a part before it is handed back: at the beginning, and while every process has one.
_FEW: Final = 200
_MANY: Final = 3_000
#: Seconds between two looks at what the processes have done.
_LOOK: Final = 0.1


class Done(NamedTuple):
    """What a process did with a part."""

    batch: Batch
    graph: StateGraph
    #: What is left, if it was given up between two runs.
    rest: Part | None
    #: States from which it had not taken every step when it stopped, whyever that was.
    way: list[bytes]


def run_part(search: Callable[[StatefulPart], Batch], reduce: int, part: Part | None, table: str) -> Done:
    """In whatever process this is: `search` with a strategy that goes through the part."""
    with Claimed(table) as claimed:
        strategy = StatefulPart(reduce, part, claimed)
        batch = search(strategy)
    stopped = batch.result.stopped
    rest = strategy.rest if stopped in ("states", "schedules") else None
    return Done(batch, strategy.graph, rest, [] if stopped == "exhausted" else strategy.way())


class Waiting(NamedTuple):
    """A part that nobody has, and the states on the way to it, of which not every step was taken."""

    part: Part | None
    way: list[bytes]


class Joined:
    """The graphs of all parts as one; has the `traps` of a strategy."""

    def __init__(self) -> None:
        self.graph = StateGraph()
        self.unfinished: list[bytes] = []
        self._from: list[tuple[StateGraph, int]] = []

    def add(self, graph: StateGraph) -> None:
        numbers = []
        for number, digest in enumerate(graph.digests()):
            own = self.graph.number(digest)
            if own == END:
                own = self.graph.add(digest, END, ())
                # The answers on the way hold for the process that went it: another one may have come to an equal
                # state with another task current, for which the same answers mean other tasks.
                self._from.append((graph, number))
            numbers.append(own)
        for number, own in enumerate(numbers):
            for after in graph.following(number):
                self.graph.link(own, END if after == END else numbers[after])

    def traps(self) -> list[tuple[int, list[int]]]:
        unfinished = set(map(self.graph.number, self.unfinished))
        found = []
        for trap in self.graph.traps(unfinished):
            graph, number = self._from[trap[0]]
            found.append((len(trap), graph.answers(number)))
        return found


class Spread:
    """One such search.

    Args:
        jobs: processes.
        run: runs a part in another process, with the name of the table and its limits.
        merge: takes what came of a part, and says whether the search is over.
        left: what limits are left when so many states are known, or the one that is met. A part gets all that is left,
            so that all together may go beyond it by what the others do meanwhile.
        show: is told how many runs there were, and how many states.

    Attributes:
        joined: what is known of the graph.
        stopped: why it ended; empty if `merge` said so.
    """

    def __init__(
        self,
        jobs: int,
        run: Callable[[Part | None, str, Limits], Done],
        merge: Callable[[Batch], bool],
        left: Callable[[int], Limits | Stopped],
        show: Callable[[int, int], None],
    ) -> None:
        self._jobs = jobs
        self._run = run
        self._merge = merge
        self._left = left
        self._show = show
        self.joined = Joined()
        self.stopped: Stopped | None = "exhausted"
        self._parts: list[Waiting] = [Waiting(None, [])]
        self._pending: dict[Future[Done], Waiting] = {}

    def search(self) -> None:
        """Until nothing is left, or something stops it.

        Raises:
            CannotShare: it has to be done by one process.
        """
        with ExitStack() as tables, Workers(self._jobs) as workers:
            table = tables.enter_context(Claimed())
            try:
                while self._parts or self._pending:
                    left = self._left(len(self.joined.graph))
                    if isinstance(left, str):
                        self.stopped = left
                        break
                    self._hand_out(workers, table, left)
                    done, _ = wait(self._pending, timeout=_LOOK, return_when=FIRST_COMPLETED)
                    over = [self._take(future, workers.result(future)) for future in done]
                    self._show(workers.runs, len(self.joined.graph))
                    if any(over):
                        self.stopped = None
                        break
                    if 2 * len(self.joined.graph) > table.places:
                        # Who has the smaller one goes on with it; at worst a state is looked at twice.
                        table = tables.enter_context(Claimed(places=4 * table.places))
                        for digest in self.joined.graph.digests():
                            table.add(digest)
            except WorkerKilled:
                self.stopped = "worker"
            except KeyboardInterrupt as stop:
                self.stopped = "seconds" if isinstance(stop, TimeUp) else "interrupted"
            if self._pending and self.stopped != "worker":
                # What was handed out and does not come back leaves its states as they were before.
                self._parts += self._pending.values()
                for one in workers.stop(self._pending):
                    self._add(one)
        self.joined.unfinished = [digest for one in self._parts for digest in one.way]

    def _hand_out(self, workers: Workers, table: Claimed, left: Limits) -> None:
        """Give every process that is idle a part."""
        while self._parts and len(self._pending) < self._jobs:
            if len(self._parts) + len(self._pending) < self._jobs:
                part, way = self._parts.pop(0)
                self._parts += [Waiting(half, way) for half in (part.halves() if part else (None,))]
            alone = len(self._parts) + len(self._pending) <= self._jobs
            most = _FEW if alone else _MANY
            one = self._parts.pop(0)
            limits = attrs.evolve(left, states=most if left.states is None else min(most, left.states))
            self._pending[workers.submit(self._run, one.part, table.name, limits)] = one

    def _take(self, future: Future[Done], done: Done) -> bool:
        """Of a part that was handed out; whether the search is over."""
        del self._pending[future]
        return self._add(done)

    def _add(self, done: Done) -> bool:
        """Add what came of a part; whether the search is over."""
        self.joined.add(done.graph)
        if done.rest is not None or done.way:
            self._parts.append(Waiting(done.rest, done.way))
        return self._merge(done.batch)
