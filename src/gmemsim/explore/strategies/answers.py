"""From the task that a strategy wants to run to the answer that stands for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...engine.task import Task

__all__ = ["index_of"]


def index_of(runnable: list[Task], current: Task | None, task: Task) -> int:
    """The answer to `pick` that makes `task` run: the inverse of `engine.engine.candidate`."""
    if task is current:
        return 0
    index = runnable.index(task)
    if index or current is None:
        return index
    return runnable.index(current)
