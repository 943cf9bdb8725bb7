"""Looks during a search at what users' files keep over a run (`patches.outlives`).

A run may give back what it changed before it ends. To a search of states it is no part of the state all the same, so
that two states look alike and are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from ..patches.entered import note_state, refuse_state

if TYPE_CHECKING:
    from ..engine.task import Task

#: Steps of a search that are looked at one by one, and of which number after that only one is.
_EACH: Final = 500
_ONE_OF: Final = 64


class Looks:
    """Called before each step, over all runs of a search."""

    #: Goes on from run to run (see `state.heap`).
    __kept__: ClassVar[bool] = True
    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps = 0

    def __call__(self, task: Task) -> None:
        self._steps += 1
        if self._steps <= _EACH or not self._steps % _ONE_OF:
            note_state()

    def between_runs(self) -> None:
        """A run has ended.

        Raises:
            PatchError: as `Entered.refuse_state`.
        """
        self._steps += 1
        if self._steps <= _EACH or not self._steps % _ONE_OF:
            note_state()
        refuse_state()
