"""The bare runtime: drive the coroutines directly.

For exploration and large campaigns; about twenty times cheaper a switch than a Trio task. It takes the same
steps as `trio_runtime`, which a test asserts byte for byte.
"""

from __future__ import annotations

from heapq import heappop, heappushpop
from typing import TYPE_CHECKING, Final

from .answers import answer_of
from .errors import Deadlock, Pruned, StepLimit
from .observed_containers import STEP

if TYPE_CHECKING:
    from .engine import Engine
    from .task import Task

#: Times that a task may await something more when it is ended.
_CLEAN_UPS: Final = 64


def run(engine: Engine) -> None:
    """Run `engine` until every task that counts has finished.

    Raises:
        Deadlock, StepLimit: as `Engine.next_task`.
        Exception: whatever a task raises; the run stops there, other tasks are closed.
    """
    try:
        if engine.on_step is not None and engine.exploring:
            _watched(engine)
        elif engine.exploring:
            _explore(engine)
        else:
            _timed(engine)
    except Pruned:
        raise
    except Exception:
        for look in engine.at_failure:
            look()
        raise
    finally:
        if not engine.kept:
            for task in engine.tasks:
                if not task.done:
                    let_go(task)


def let_go(task: Task) -> None:
    """End a task that the run leaves where it is: what its clean-up awaits or raises then is nothing of the run."""
    for _ in range(_CLEAN_UPS):
        try:
            task.handle.close()
        except KeyboardInterrupt:
            raise
        except BaseException:  # as said above; a GeneratorExit may come in a group
            continue
        return


def _timed(engine: Engine) -> None:
    # `Engine.next_task` with its calls unfolded: this loop is the cost of a step. Only a task that finishes
    # changes who is left, so the inner loop looks at nothing but the heap.
    heap = engine.heap
    limit = engine.max_steps
    steps = engine.steps
    task = engine.current
    until: int | None = None
    try:
        while engine.live:
            try:
                while True:
                    steps += 1
                    if steps > limit:
                        raise StepLimit(limit)
                    if until.__class__ is int:
                        engine.sequence = sequence = engine.sequence + 1
                        engine.now, _, task = heappushpop(heap, (until, sequence, task))  # type: ignore[misc]
                    else:
                        if not heap:
                            raise Deadlock(engine.blocked())
                        engine.now, _, task = heappop(heap)
                    engine.current = task
                    until = task.send(None)
            except StopIteration as stop:
                until = None
                engine.finish(task, stop.value)  # type: ignore[arg-type] # a task was resumed
    finally:
        engine.steps = steps


def _explore(engine: Engine) -> None:
    runnable = engine.runnable
    pick = engine.strategy.pick
    record = engine.tape.raw.append
    limit = engine.max_steps
    steps = engine.steps
    current = engine.current
    try:
        while engine.live:
            steps += 1
            if steps > limit:
                raise StepLimit(limit)
            count = len(runnable)
            if count == 1:
                current = runnable[0]
            elif not count:
                raise Deadlock(engine.blocked())
            elif current is None or current.done or current.parked_on is not None:
                current = engine.pick(runnable, current)
            else:
                task = pick(runnable, current)
                answer = 0 if task is current else answer_of(runnable, current, task)
                record((current.name, current.call, "sched", answer, count))
                current = task
            engine.current = current
            try:
                current.send(None)
            except StopIteration as stop:
                engine.finish(current, stop.value)
            if engine.ruined is not None and engine.live:
                raise engine.ruined
    finally:
        engine.steps = steps


def _watched(engine: Engine) -> None:
    """As `_explore`, with somebody looking at every step."""
    task = engine.next_task()
    while task is not None:
        STEP.touched = engine.touched
        try:
            task.send(None)
        except StopIteration as stop:
            engine.finish(task, stop.value)
        finally:
            STEP.touched = None
        task = engine.next_task()
