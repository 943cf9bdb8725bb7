"""How the tape numbers the tasks that can run: the one place that knows.

0 is the task that could go on by itself, so that a tape of zeros preempts nobody; where it cannot, 0 is the oldest. The
others follow by age, with the oldest in the place that the first one left. A strategy that enumerates or repeats
numbers turns them into tasks by `candidate`; the engine writes down `answer_of` what a strategy picked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .task import Task


def candidate(runnable: Sequence[Task], current: Task | None, answer: int) -> Task:
    """The task that an answer stands for; `current` is None if it cannot go on."""
    if current is None:
        return runnable[answer]
    if not answer:
        return current
    task = runnable[answer]
    return runnable[0] if task is current else task


def answer_of(runnable: Sequence[Task], current: Task | None, task: Task) -> int:
    """The answer that stands for a task.

    Raises:
        ValueError: it cannot run.
    """
    if task is current:
        return 0
    answer = runnable.index(task)
    if answer or current is None:
        return answer
    return runnable.index(current)
