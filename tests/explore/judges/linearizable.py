"""A scenario that also fails if its results are not linearizable; for who wants this check and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from gmemsim.explore.judges.linearizability import PageHistories

if TYPE_CHECKING:
    from gmemsim.audit.recorder import Rec
    from gmemsim.engine.strategy import Strategy
    from gmemsim.explore.failure import Failure
    from gmemsim.explore.program import ScenarioProgram, ScenarioRun

__all__ = ["Linearizable"]


@attrs.frozen
class Linearizable:
    """A scenario whose runs also fail if their results are not linearizable page by page; search it in its place."""

    inner: ScenarioProgram

    @property
    def name(self) -> str:
        """That of the scenario."""
        return self.inner.name

    def build(self, strategy: Strategy, *, rec: Rec | None = None, max_steps: int = 20_000) -> _Run:
        """A fresh run, its initial pages noted."""
        return _Run(self.inner.build(strategy, rec=rec, max_steps=max_steps))


class _Run:
    """A run that asks the histories last."""

    def __init__(self, inner: ScenarioRun) -> None:
        self._inner = inner
        self.session = inner.session
        self.engine = inner.engine
        self.histories = PageHistories(inner.session)

    def run(self) -> None:
        self._inner.run()

    def found(self) -> Failure | None:
        return self._inner.found() or self.histories.check()

    def outcome(self) -> str:
        return self._inner.outcome()
