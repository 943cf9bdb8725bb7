"""Optimistic spinning of writers at the coarse grain (W2 to W4): the spinners' queue and both kinds of run.

A spinner holds a CPU and watches. Nothing in the model needs to happen while it watches, so it is parked, and
whoever changes what it watches for wakes it.

*Timed runs.* Behind a writer that runs, the first spinner parks until the release, which hands it the lock
without a wake-up latency: it is in its loop while the releaser still has the queue's spin lock to take. If
the owner goes to sleep it stops; `Task.on_block` tells. Behind readers there is a time limit, so it looks
again every `POLL` ns.

*Exploring runs.* Whether to spin, and after each lost race whether to go on, is the draw `rwsem.spin` (0:
no). A spinner that gives up in the middle of a hold is not explored: until it queues nobody can tell it from
a writer that has not arrived yet, so a schedule in which it arrives later has the same outcome.

Not modelled: `need_resched`, real-time tasks (which do not spin behind readers), and spinners that leave
their own queue because the one in front was preempted.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final

from ..task import Signal
from .rwsem_queue import on_cpu

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..task import Task
    from .rwsem_core import RwSemCore

#: How often a spinner behind readers looks at the lock, in ns; the kernel's loop is faster, and costs as
#: much.
POLL: Final = 500


def read_phase_limit(now: int, readers: int) -> int:
    """Until when a spinner bears a read phase that it met with `readers` in it (W4c)."""
    return now + (20 + min(readers, 30)) * 1000 // 2


class SpinQueue:
    """The spinners of one lock (`osq`), first come first served; only the first looks at the lock.

    Attributes:
        tasks: the spinners, the first at the left.
    """

    __slots__ = ("_lock", "_parked", "tasks")

    #: Waiting here keeps a CPU busy (see `on_cpu`).
    spins: ClassVar[bool] = True

    def __init__(self, lock: RwSemCore) -> None:
        self._lock = lock
        self._parked = False
        self.tasks: deque[Task] = deque()

    @property
    def label(self) -> str:
        return self._lock.label

    def holders(self) -> Iterable[str]:
        return self._lock.holders()

    async def spin(self, t: Task, killable: bool) -> bool:
        """W2 to W4: whether `t` got the lock by spinning."""
        lock = self._lock
        if not lock.spinning or lock.nonspinnable or (lock.writer is not None and not on_cpu(lock.writer)):
            lock.paths.opt_nospin += 1
            return False
        if t.traps:
            won = await self._explore(t, killable)
        else:
            began = t.engine.now
            won = await self._watch(t)
            lock.paths.spin_total += t.engine.now - began
        if won:
            lock.paths.opt_lock += 1
        else:
            lock.paths.opt_fail += 1
        return won

    # -- the lock's side -----------------------------------------------------------------------

    def grab(self, t: Task) -> bool:
        """The lock is free and nobody has looked at the queue yet: does a spinner take it now? (W4b)"""
        lock = self._lock
        if not self.tasks or not self._parked or lock.handoff:
            return False
        # An exploring run lets the spinner race in steps of its own, except here: once a reader at the head
        # has been granted the lock, the moment is gone.
        if t.traps and not (lock.head_is_reader() and t.draw("rwsem.spin", 2)):
            return False
        spinner = self.tasks.popleft()
        lock.take_write(spinner)
        cpus = t.engine.cpus
        t.engine.wake(spinner, delay=0 if cpus is None else cpus.distance(t.cpu, spinner.cpu))
        self._next(t)
        return True

    def look(self, t: Task) -> None:
        """The state that the first spinner watches has changed."""
        if self._parked and self.tasks:
            t.engine.wake(self.tasks[0])

    # -- the spinner's side --------------------------------------------------------------------

    def _next(self, t: Task) -> None:
        """The first spinner has left; the one behind it looks for itself."""
        self._parked = bool(self.tasks)
        if self.tasks and (not t.traps or self._lock.open_to_spinners()):
            t.engine.wake(self.tasks[0])

    def _leave(self, t: Task) -> None:
        first = self.tasks[0] is t
        self.tasks.remove(t)
        if first:
            self._next(t)

    async def _explore(self, t: Task, killable: bool) -> bool:
        lock = self._lock
        if not t.draw("rwsem.spin", 2):
            return False
        if not self.tasks and lock.open_to_spinners():
            lock.take_write(t)
            return True
        self.tasks.append(t)
        self._parked = True
        while True:
            value = await t.park(self, lock.spin_op, interruptible=killable)
            if lock.writer is t:
                return True
            if self.tasks[0] is t and lock.open_to_spinners():
                lock.take_write(t)
                self._leave(t)
                return True
            if value is Signal or not t.draw("rwsem.spin", 2):
                self._leave(t)
                return False

    async def _watch(self, t: Task) -> bool:
        lock = self._lock
        engine = t.engine
        self.tasks.append(t)
        while self.tasks[0] is not t:
            await t.park(self, lock.spin_op)
            if lock.writer is t:
                return True
        limit = 0
        reading = False
        while True:
            owner = lock.writer
            if lock.open_to_spinners():
                lock.take_write(t)
                break
            if owner is not None:
                reading = False
                if not on_cpu(owner):
                    break
                self._parked = True
                owner.on_block += (self._owner_blocks,)
                # It polls the owner word, so that the owner's release must get the line back.
                lock.line_state.cpu = t.cpu
                await t.park(self, lock.spin_op)
                owner.on_block = tuple(call for call in owner.on_block if call != self._owner_blocks)
                if lock.writer is t:
                    return True
                self._parked = False
                continue
            if lock.read_phase():
                if not reading:
                    reading = True
                    limit = read_phase_limit(engine.now, lock.read_phase())
                elif engine.now > limit:
                    lock.nonspinnable = True
                if lock.nonspinnable:
                    break
            else:
                # Free, and handed off to the head of the queue: it is on its way.
                reading = False
            await t.spend(POLL)
        self._leave(t)
        return lock.writer is t

    def _owner_blocks(self, owner: Task) -> None:
        if not on_cpu(owner):
            self.look(owner)
