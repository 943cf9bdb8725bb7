"""The lock-order graph: which lock is asked for while which is held, over all schedules of a search.

A deadlock needs the unlucky schedule; the order of two locks shows in any schedule that takes both. So the graph is
kept across runs, as lockdep keeps it across the uptime of a kernel. Unlike lockdep, and like DEPT, it knows waits that
are no locks (a folio lock is a page bit and invisible to lockdep; an SRCU grace period waits for the sections; a
mailbox waits for what its server needs), and every edge keeps a witness that can be replayed.

Nodes are classes (`engine.locks.kinds.class_of`): what holds of one inode's lock is taken to hold of another's. Nesting
within a class (two folios) is looked at by instance, and is in order as long as the instances are always taken in one
order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from ...engine.locks.kinds import class_of
from ..search import watch_events
from .book import Book
from .cycles import Cycle, find_cycles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ...audit.recorder import Rec
    from ...engine.tape import Tape
    from ...engine.task import Task
    from ..failure import Failure
    from ..runs import Run


@attrs.frozen
class Witness:
    """Where an edge was seen first.

    Attributes:
        program: name of the program (scenario and patch version).
        tape: choices of the run; complete once the run has ended.
        task, call: whose request, in which of its calls.
        step: number of the step in the run, from 1.
    """

    program: str
    tape: Tape = attrs.field(eq=False, repr=False)
    task: str
    call: int
    step: int


@attrs.define
class Edge:
    """`wants` was asked for while `held` was held.

    Attributes:
        held, wants: labels at the witness; classes for the graph are `held_class` and `wants_class`.
        held_mode, wants_mode: `r` or `w`.
        gates: classes that were held exclusively at every sighting beside `held`: a gate that two edges of a cycle
            share keeps their tasks apart.
        seen: how often.
    """

    held: str
    held_mode: str
    wants: str
    wants_mode: str
    witness: Witness
    gates: frozenset[str]
    seen: int = 1

    @property
    def held_class(self) -> str:
        """Class of what is held."""
        return class_of(self.held)

    @property
    def wants_class(self) -> str:
        """Class of what is asked for."""
        return class_of(self.wants)


class LockGraph:
    """An `Observer` of a search that draws the graph.

    Args:
        program: name of what is searched, for the witnesses.

    Attributes:
        edges: by held and wanted class with modes; within one class by instance.
        written: classes that somebody asked for exclusively. Only then can a reader be kept out by the queue.
        runs: how many runs were looked at.
    """

    #: Its book of one run is an object of its own.
    __kept__ = True

    def __init__(self, program: str = "") -> None:
        self.program = program
        self.edges: dict[tuple[str, str, str, str], Edge] = {}
        self.written: set[str] = set()
        self.runs = 0

    def attach(self, run: Run) -> None:
        """Look at a run that is about to start."""
        self.runs += 1
        engine = run.engine
        book = Book(self._ask, self._serve, inodes_of(run))
        self._book = book
        watch_events(engine, cast("Rec", book.rec))
        engine.watch_steps(book.step)

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """The run ended; nothing to conclude from how."""

    def merge(self, other: LockGraph) -> None:
        """Add what another graph of the same program saw; witnesses that are here already stay."""
        self.runs += other.runs
        self.written |= other.written
        for key, edge in other.edges.items():
            mine = self.edges.get(key)
            if mine is None:
                self.edges[key] = edge
            else:
                mine.seen += edge.seen
                mine.gates &= edge.gates

    def __getstate__(self) -> dict[str, object]:
        """Without the book of the run that was under way: it belongs to an engine of this process."""
        return {name: value for name, value in self.__dict__.items() if name != "_book"}

    def cycles(self, longest: int = 5) -> tuple[Cycle, ...]:
        """Cycles of at most `longest` classes that the modes allow to block, shortest first."""
        return find_cycles(tuple(self.edges.values()), frozenset(self.written), longest)

    def report(self) -> dict[str, object]:
        """For JSON: the edges, and the cycles as `potential_cycles`."""
        return {
            "runs": self.runs,
            "edges": [
                {
                    "held": edge.held_class,
                    "held_mode": edge.held_mode,
                    "wants": edge.wants_class,
                    "wants_mode": edge.wants_mode,
                    "instances": [edge.held, edge.wants],
                    "seen": edge.seen,
                    "task": edge.witness.task,
                    "call": edge.witness.call,
                    "step": edge.witness.step,
                }
                for _, edge in sorted(self.edges.items())
            ],
            "potential_cycles": [cycle.as_dict() for cycle in self.cycles()],
        }

    def _ask(self, t: Task, label: str, mode: str) -> None:
        if mode == "w":
            self.written.add(class_of(label))
        held = self._book.held.get(t)
        if not held:
            return
        for other, other_mode in held.items():
            self._edge(t, other, other_mode, label, mode, held)

    def _serve(self, t: Task, label: str, asked: list[tuple[str, str]]) -> None:
        """Who waits for the answer waits for what the server needs to give it."""
        for wanted, mode in asked:
            if wanted != label:
                self._edge(t, label, "w", wanted, mode, {})

    def _edge(
        self, t: Task, held: str, held_mode: str, wants: str, mode: str, all_held: dict[str, str]
    ) -> None:
        one, two = class_of(held), class_of(wants)
        key = (held, held_mode, wants, mode) if one == two else (one, held_mode, two, mode)
        gates = frozenset(
            class_of(label) for label, how in all_held.items() if how == "w" and label not in (held, wants)
        )
        edge = self.edges.get(key)
        if edge is None:
            engine = t.engine
            witness = Witness(self.program, engine.tape, t.name, t.call, engine.steps)
            self.edges[key] = Edge(held, held_mode, wants, mode, witness, gates)
        else:
            edge.seen += 1
            edge.gates &= gates


def inodes_of(run: Run) -> Callable[[], Iterable[Any]]:
    """How to get at the inodes of a run of a scenario; of another program there are none."""
    session = getattr(run, "session", None)
    return tuple if session is None else lambda: session.machine.inodes
