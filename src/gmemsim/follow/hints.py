"""Events that say how long something took: they place steps, and are not matched themselves."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .outcomes import Outcomes
    from .thread import Thread
    from .trace import Step
    from .world import Setup

#: A thread that takes this many steps without showing an event is stuck in a loop of the model's.
SILENT_LIMIT: Final = 20_000


class Hints:
    """What an attempt does where a thread goes to sleep on a folio lock."""

    setup: Setup
    outcomes: Outcomes
    position: int

    @abstractmethod
    def step(self, thread: Thread) -> None:
        """Take one step of the thread's task."""

    @abstractmethod
    def eager(self, thread: Thread) -> None:
        """Take the thread's reads that already have the outcome they need."""

    @abstractmethod
    def advance_others(self, thread: Thread) -> bool:
        """Take silent steps of other threads until `thread`'s next step has the outcome it needs."""

    def take_hint(self, thread: Thread, step: Step) -> None:
        """The thread goes to sleep on a folio lock: by now it has found the folio, and somebody else has it locked."""
        task = thread.task
        if thread.call is None or thread.shown or step.number < thread.future.cursor:
            return
        self.position = step.position
        thread.future.cursor = step.number
        if not self.outcomes.ready(thread, task.pending)[0]:
            self.advance_others(thread)
        self.eager(thread)
        self._reach_folio_lock(thread)
        thread.future.cursor = step.number + 1

    def _reach_folio_lock(self, thread: Thread) -> None:
        """Take what lies between the thread's last event and the lock it sleeps on: it all came before the sleep."""
        task, lock = thread.task, self.setup.gmem.inode.lock_label
        for _ in range(SILENT_LIMIT):
            op = task.pending
            if thread.shown or task.done or op.kind == "call" or (op.kind == "acquire" and op.obj == lock):
                return
            if not self.outcomes.ready(thread, op)[0] and not self.advance_others(thread):
                return
            if task.pending is op:
                self.step(thread)
