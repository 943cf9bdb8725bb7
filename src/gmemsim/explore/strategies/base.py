"""What a search strategy is, beyond answering draws: it has a name, knows when it is done, and may cut a run short.

The three methods are those of `engine.strategy.Strategy` (after Shuttle's `Scheduler` trait). `begin` is called
before every run with its new engine; there a strategy that needs to see more than the draws asks for it with
`engine.watch_steps`, which shows it every step, forced ones included. What a strategy has to conclude from a
finished run it concludes at the next `begin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from ...engine.engine import Engine
    from ...engine.task import Task


class SearchStrategy(Protocol):
    """Answers the draws of one run after another.

    Attributes:
        name: as on the command line.
        summary: one line for `gmemsim list strategies`.
        complete: `begin` returned False because nothing is left within `bound`. Never true of a random strategy.
        bound: what the strategy leaves out on purpose (`at most 2 preemptions`); empty if nothing.

    Each but `auto`, which is both, says whether it is `systematic`. If not, it draws at random: a campaign gives
    it many seeds, and what it saw tells how likely the next run is to show something new.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    @property
    def complete(self) -> bool: ...

    @property
    def bound(self) -> str: ...

    def begin(self, engine: Engine) -> bool:
        """Start a run; False when there is nothing left to try."""

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Who goes next: one of `runnable`, which has at least two entries."""

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Any other choice, in `range(bound)`."""
