"""Base of the rival policies: one queue, direct hand-over, and four questions that a policy answers.

The literature's read/write locks differ in whom they admit, not in how one waits; so waiting, cancelling,
books and events are here, and a policy is a few lines in `rivals`. Unlike in the rw-semaphore, whoever is
admitted owns the lock at once: nobody can barge between a wake-up and its effect. The lock is one step an
operation, and every step is announced as a write, since most orders of two readers matter to some policy.
"""

from __future__ import annotations

from collections import deque
from errno import EINTR
from typing import TYPE_CHECKING

from ...audit.events import Contended, Lock, LockRequest
from .one_step import OneStepRwLock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task
    from .stats import LockClass


class Entry:
    """One waiter: its task, whether it wants to write, and whether it has been admitted."""

    __slots__ = ("granted", "task", "write")

    def __init__(self, task: Task, write: bool) -> None:
        self.task = task
        self.write = write
        self.granted = False


class PolicyLock(OneStepRwLock):
    """A read/write lock whose subclass decides who is admitted.

    A subclass answers `_may_read` and `_may_write` (for somebody who arrives), and `_admit` (after somebody
    left).
    """

    __slots__ = ("_queue",)

    def __init__(self, label: str, cls: LockClass | None = None, *, line_ns: int = 0) -> None:
        super().__init__(label, cls, line_ns=line_ns)
        self._queue: deque[Entry] = deque()

    # -- the policy ----------------------------------------------------------------------------

    def _may_write(self) -> bool:
        return self._writer is None and not self._readers and not self._queue

    def _admit(self, t: Task, after_write: bool) -> None:
        """Grant the lock to those whose turn it is; `after_write`: an exclusive phase has just ended."""
        raise NotImplementedError

    def _writers_wait(self) -> bool:
        return any(entry.write for entry in self._queue)

    def _grant_readers(self, t: Task) -> None:
        """Admit every waiting reader."""
        rest: deque[Entry] = deque()
        for entry in self._queue:
            if entry.write:
                rest.append(entry)
            else:
                self._grant(t, entry)
        self._queue = rest

    def _grant_writer(self, t: Task) -> None:
        """Admit the first waiting writer, if there is one."""
        for entry in self._queue:
            if entry.write:
                self._queue.remove(entry)
                self._grant(t, entry)
                return

    def _grant(self, t: Task, entry: Entry) -> None:
        entry.granted = True
        if entry.write:
            self._hold_write(entry.task)
        else:
            self._hold_read(entry.task)
        t.engine.wake(entry.task, delay=t.engine.wake_ns)

    # -- the protocol --------------------------------------------------------------------------

    def _waiting(self) -> Iterable[Task]:
        return [entry.task for entry in self._queue]

    def _left(self, t: Task, after_write: bool) -> None:
        if self._queue:
            self._admit(t, after_write)

    async def _down(self, t: Task, write: bool, killable: bool) -> int:
        mode = "w" if write else "r"
        if t.rec is not None:
            t.rec(t, LockRequest(self.label, mode))
        if t.traps:
            await t.point(self._acquire_w)
        elif self.line_ns and (not write or t.engine.cpus is not None):
            await self._move_line(t)
        if self._may_write() if write else self._may_read():
            if write:
                self._hold_write(t)
            else:
                self._hold_read(t)
        elif await self._wait(t, mode, killable):
            return -EINTR
        if t.rec is not None:
            t.rec(t, Lock(self.label, mode))
        return 0

    async def _wait(self, t: Task, mode: str, killable: bool) -> int:
        if t.rec is not None:
            t.rec(t, Contended(self.label, mode))
        began = t.engine.now
        entry = Entry(t, mode == "w")
        self._queue.append(entry)
        while not entry.granted:
            if killable and t.signalled():
                self._queue.remove(entry)
                self._admit(t, False)  # it may have been what the others waited behind
                return -EINTR
            await t.park(self, self._wait_w, interruptible=killable)
        if entry.write:
            self._since = t.engine.now
            self._write.waited(t.engine.now - began)
        else:
            self._restart_hold(t)
            self._read.waited(t.engine.now - began)
        return 0
