"""What a search needs of a program and of its runs, whatever they are: their protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..audit.recorder import Rec
    from ..engine.engine import Engine
    from ..engine.strategy import Strategy
    from .failure import Failure


class Run(Protocol):
    """One run, built and not started.

    Attributes:
        engine: of the run. Whoever wants to watch sets `engine.rec` (see `watch_events`) and `engine.watch_steps`
            before `run`: no task exists yet.
    """

    engine: Engine

    def run(self) -> None:
        """Run to the end. Whatever an oracle, the engine or the model raises goes through.

        A second call goes on from where the engine stands: a search may have taken it back to an earlier state.
        """

    def found(self) -> Failure | None:
        """What was wrong although nothing was raised."""

    def outcome(self) -> str:
        """What came of it, in one canonical line: equal lines are equal outcomes."""


class Program(Protocol):
    """Makes runs that differ only in the choices of their strategy."""

    @property
    def name(self) -> str:
        """For reports."""

    def build(self, strategy: Strategy, *, rec: Rec | None = None, max_steps: int = 20_000) -> Run:
        """A fresh run."""
