"""The time of a search, looked at while a run is under way."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Final

from ..engine.errors import EngineError

if TYPE_CHECKING:
    from ..engine.task import Task

#: Steps between two looks at the clock within a run.
_GLANCE: Final = 128


class OutOfTime(EngineError):
    """The time of a search is up, in the middle of a run."""


class Clock:
    """Ends a run that is under way when the time is up; looks at the clock now and then."""

    #: Goes on from run to run (see `state.heap`).
    __kept__: ClassVar[bool] = True
    __slots__ = ("_deadline", "_left")

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._left = _GLANCE

    def __call__(self, task: Task) -> None:
        self._left -= 1
        if not self._left:
            self._left = _GLANCE
            if monotonic() >= self._deadline:
                raise OutOfTime
