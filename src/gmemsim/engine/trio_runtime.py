"""The Trio runtime: every task is a Trio task in a nursery, and exactly one of them is ever runnable.

Stock Trio runs every runnable task once per batch, forward or reversed, so two tasks that can both run never
get two steps apart. Here a task that stops picks its successor with `Engine.next_task`, wakes it with
`trio.lowlevel.reschedule` and parks itself with `wait_task_rescheduled`: a batch has one task, and Trio's
batching has nothing left to decide. Only public API is used.

The alternative, a runner with one task a tick and a driver of its own, controls cancellation delivery and
nursery exits as well, but rests on private names; nothing in the model needs that.

Cancelling the enclosing scope, a timeout, or an exception in any task stops the run: parked tasks are
cancelled where they are, their coroutines are closed, and the nursery reports the first error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from .bare import let_go

if TYPE_CHECKING:
    from collections.abc import Callable

    from .engine import Engine
    from .task import Task

#: A task that keeps being chosen still lets Trio look at deadlines and cancellation this often (in steps).
_BREATH = 1024


class _Baton:
    """Who may run. Holds the Trio task of every engine task and the fact that the run is over."""

    def __init__(self, engine: Engine, nursery: trio.Nursery) -> None:
        self.engine = engine
        self.nursery = nursery
        self.parked: dict[Task, trio.lowlevel.Task] = {}
        self.first: Task | None = None
        self.over = False

    def _abort(self, _raise_cancel: Callable[[], None]) -> Abort:
        self.over = True
        return Abort.SUCCEEDED

    async def host(self, task: Task) -> None:
        """Body of the Trio task that carries `task`."""
        engine = self.engine
        next_task = engine.next_task
        send = task.send
        parked = self.parked
        # Read once: these are the cost of a hop that is ours and not Trio's.
        me = current_task()
        abort = self._abort
        hand_over = self._hand_over
        try:
            if task is not self.first:
                parked[task] = me
                await wait_task_rescheduled(abort)
            self.first = None
            breath = 0
            while True:
                try:
                    until = send(None)
                except StopIteration as stop:
                    engine.finish(task, stop.value)
                    following = next_task()
                    if following is None:
                        self.nursery.cancel_scope.cancel()
                    else:
                        hand_over(following)
                    return
                following = next_task(until if until.__class__ is int else None)
                if following is task:
                    breath += 1
                    if breath >= _BREATH:
                        breath = 0
                        await trio.lowlevel.checkpoint()
                    continue
                parked[task] = me
                if following is None:
                    self.nursery.cancel_scope.cancel()
                else:
                    hand_over(following)
                await wait_task_rescheduled(abort)
        finally:
            if not task.done:
                self.over = True
                let_go(task)

    def _hand_over(self, following: Task) -> None:
        # Once cancellation has begun the parked tasks are already being woken with Cancelled, and waking
        # one of them twice is an error; the caller meets its own cancellation at its next park.
        waiting = self.parked.pop(following, None)
        if self.over:
            return
        if waiting is None:
            # Spawned by the running task and not started yet: it begins with the baton.
            self.first = following
            return
        reschedule(waiting)

    def spawn(self, task: Task) -> None:
        self.nursery.start_soon(self.host, task, name=task.name)


async def run(engine: Engine) -> None:
    """Run `engine` until every task that counts has finished; the Trio counterpart of `bare.run`.

    Raises:
        Deadlock, StepLimit, or whatever a task raises. A single error is raised as it is, not in a group.
    """
    try:
        async with trio.open_nursery() as nursery:
            baton = _Baton(engine, nursery)
            baton.first = engine.next_task()
            if baton.first is None:
                return
            engine.on_spawn = baton.spawn
            for task in engine.tasks:
                if not task.done:
                    baton.spawn(task)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None
    finally:
        engine.on_spawn = None
