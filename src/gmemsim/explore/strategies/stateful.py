"""Depth-first search that remembers states: a run is cut where it comes to a state that was met before.

Explicit-state search as in SPIN or TLC, but stateless in its mechanics: a state cannot be restored, so every branch
re-runs its prefix, and only the digest of a state is kept (hash compaction; Wolper and Leroy, CAV 1993: two states
with the same 128 bits would be taken for one, which for n states happens with a probability of about n^2 / 2^129).

What is kept. A state is everything that can be reached from the tasks and from what the outcome is read from: objects
of the model, positions, locals and evaluation stacks of the tasks, budgets of the fault points, results so far (see
`explore.state`). So every final outcome that plain depth-first search finds is found: the first run that comes to
a state goes on, and whatever its schedules leave over is tried by going back to it, whether or not the state is on the
present path.

What the oracles remember is state too (`ledger`). Two histories can lead to the same model state with different
ledgers, for instance an invalidation that ended properly and one that the kernel forgot to start; without the ledger
the second would be cut, and with it whatever the oracle had against it later. With `ledger=False` there are fewer
states, violations that an oracle finds in the present state alone are still found, and others may be lost.

Cycles. A state that recurs within one run means that the tasks can go round for ever: a livelock under an unfair
schedule. `cycles` counts them. Most are harmless (a fault that is retried while its page is being invalidated, with a
scheduler that never lets the invalidation finish); without them the same run would meet the step limit.

Not combined with sleep sets or DPOR: a state that was visited with some tasks asleep is not explored in full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..state import StateDigest
from .base import Pruned
from .dfs import DepthFirst

if TYPE_CHECKING:
    from ...engine.engine import Engine
    from ...engine.task import Task

__all__ = ["Stateful"]


class Stateful(DepthFirst):
    """Enumerates states instead of schedules.

    Args:
        ledger: what the oracles remember is part of a state.

    Attributes:
        cycles: runs that came back to a state of their own.
        states: different states so far, the initial one included and final ones not.
    """

    name: ClassVar[str] = "stateful"
    summary: ClassVar[str] = "every state once: depth first, cut where a run comes to a state met before"

    def __init__(self, *, ledger: bool = True) -> None:
        super().__init__()
        self.cycles = 0
        self.ledger = ledger
        self._digest = StateDigest(ledger=ledger)
        self._met: set[bytes] = set()
        #: Digests along the present run; those before its last changed answer stand from earlier runs.
        self._way: list[bytes] = []
        self._step = 0
        self._looked = False
        #: Per answer of the path: how many states of the way come before what it decides.
        self._depths: list[int] = []
        self._engine: Engine | None = None

    @property
    def states(self) -> int:
        """Different states so far."""
        return len(self._met)

    def begin(self, engine: Engine) -> bool:
        """Go to the next schedule; False when no state has an untried answer left."""
        if not super().begin(engine):
            return False
        if self._path:
            del self._depths[len(self._path) :]
            del self._way[self._depths[-1] :]
        self._step = 0
        self._looked = False
        self._engine = engine
        engine.watch_steps(self._before_step)
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> int:
        """Who runs next, if the state is new."""
        self._look()
        self._looked = True
        if self._position == len(self._path):
            self._depths.append(self._step + 1)
        return super().pick(runnable, current)

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Any other choice, in the middle of a step."""
        if self._position == len(self._path):
            self._depths.append(self._step)
        return super().draw(task, label, bound)

    def _before_step(self, task: Task) -> None:
        """A step that only one task could take was not asked for; its state counts as well."""
        if not self._looked:
            self._look()
        self._looked = False
        self._step += 1

    def _look(self) -> None:
        """Cut the run if its state was met before, unless that is how far it only repeats the one before."""
        if self._step < len(self._way):
            return
        assert self._engine is not None
        digest = self._digest.of(self._engine)
        if digest in self._met:
            self.cycles += digest in self._way
            raise Pruned
        self._met.add(digest)
        self._way.append(digest)
