"""Which task goes round in a retry loop: without this, strict priorities and bounded switching livelock.

A vCPU that faults on a page being invalidated tries again until the invalidation has ended. A scheduler that keeps
running it until it blocks never lets the invalidation end. The loops of the model are no ops of a kind of their own
(neither are the kernel's), so they are told by what they do: a task that announces the very same op again and again
while no other task runs gets nowhere. After `MAX_RETRIES` it is to let another one go. That is a choice: a smaller
number would take long batches of equal steps for loops, a larger one wastes steps. The same need, with a declared
yield, is behind the fair scheduler of Musuvathi and Qadeer (PLDI 2008).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...engine.op import Op
    from ...engine.task import Task

#: How often one task may do the same thing in a row while others wait.
MAX_RETRIES: Final = 16


class RetryWatch:
    """Counts equal ops of the task that keeps running. Make a new one for every run."""

    def __init__(self) -> None:
        self._task: Task | None = None
        self._seen: dict[Op, int] = {}

    def retries(self, current: Task | None) -> bool:
        """Whether `current`, asked about in every `pick`, should let another task go."""
        if current is not self._task:
            self._task = current
            self._seen = {}
        if current is None:
            return False
        op = current.pending
        seen = self._seen
        seen[op] = count = seen.get(op, 0) + 1
        return count > MAX_RETRIES
