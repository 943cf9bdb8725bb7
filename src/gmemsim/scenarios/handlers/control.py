"""Operations that make a workload: time, signals, barriers, processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ...audit.events import SignalSent
from .. import ops
from ..results import Outcome
from ..tables import VMM
from .registry import OK, handles

if TYPE_CHECKING:
    from ...engine.task import Task
    from ..steps import Step
    from ..thread import Thread


@handles(ops.Sleep)
async def sleep(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    assert step.time is not None
    await t.sleep(thread.amount(step.time, f"sleep{step.ident}"))
    return OK


@handles(ops.Signal)
async def signal(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.Signal", step.op)
    target = thread.session.tasks.get(op.task)
    if target is not None:
        target.touch_task("r")
    if target is None or target.done:
        return Outcome("ESRCH")
    if t.rec is not None:
        t.rec(t, SignalSent(op.task))
    t.engine.signal(target)
    return OK


@handles(ops.SignalPending)
async def signal_pending(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    thread.machine.armed.add(thread.actor.name)
    return OK


@handles(ops.Barrier)
async def barrier(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.Barrier", step.op)
    await thread.session.barriers[op.barrier].wait(t)
    return OK


@handles(ops.Fork)
async def fork(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.Fork", step.op)
    if op.process == VMM or op.process in thread.machine.children:
        source = thread.session.workload.tables.source
        raise source.error((), f"fork: expected a process that there is not, got {op.process}")
    await thread.machine.fork(t, thread.actor.process, op.process)
    return OK


@handles(ops.Exit)
async def leave(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    await thread.machine.exit(t, thread.actor.process)
    return OK
