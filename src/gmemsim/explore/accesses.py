"""What the steps of an exploring run read and change, as events of its log.

The explorer's relation is over these: the operation that a step announces, and what else it says that it touches
(`Task.touch`). With them in the log, whoever compares two logs has the same relation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit.events import Access
from ..engine.op import ALL

if TYPE_CHECKING:
    from ..audit.recorder import Rec
    from ..engine.engine import Engine
    from ..engine.op import Op
    from ..engine.task import Task


def record_accesses(engine: Engine, rec: Rec) -> None:
    """Have `rec` see the accesses of a run that has not started, under a strategy that does not ask for them itself."""
    told = _Told(engine, rec)
    engine.ask_touched(told)
    engine.watch_steps(told.begins)


class _Told(list["Op"]):
    """Passes on what it is given, each touch of a step once, and keeps nothing."""

    def __init__(self, engine: Engine, rec: Rec) -> None:
        super().__init__()
        self._engine = engine
        self._rec = rec
        self._known: set[Op] = set()

    def begins(self, task: Task) -> None:
        """A step begins: it touches what it announced."""
        self._known.clear()
        self._tell(task, task.pending)

    def append(self, op: Op) -> None:
        """The step under way touches this, too."""
        task = self._engine.current
        if task is not None:
            self._tell(task, op)

    def _tell(self, task: Task, op: Op) -> None:
        if op not in self._known:
            self._known.add(op)
            self._rec(task, Access(op.kind, op.obj, op.lo, -1 if op.hi >= ALL else op.hi, op.mode))
