"""Operations of processes and of the runner itself: fork, exit, signals, yielding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import arguments
from .registry import op
from .results import Got
from .rig import Unsupported

if TYPE_CHECKING:
    from ...engine.task import Task
    from .rig import Rig
    from .vector import Step

__all__: list[str] = []


@op(arguments.Fork)
async def fork(rig: Rig, t: Task, step: Step, args: arguments.Fork) -> Got:
    if args.made in rig.forked or step.actor in rig.forked:
        raise Unsupported("more than one child")
    await rig.fork(t, step.actor, args.made)
    return Got("ok")


@op(arguments.Exit)
async def leave(rig: Rig, t: Task, step: Step, args: arguments.Exit) -> Got:
    if step.actor not in rig.forked:
        raise Unsupported(f"exit of {step.actor}")
    await rig.kernel.do_exit(t, rig.process(step.actor), rig.forked.pop(step.actor).values())
    return Got("ok")


@op(arguments.SignalPending)
async def signal_pending(rig: Rig, t: Task, step: Step, args: arguments.SignalPending) -> Got:
    rig.armed.add(step.actor)
    return Got("ok")


@op(arguments.Yield)
async def yield_(rig: Rig, t: Task, step: Step, args: arguments.Yield) -> Got:
    """A turn of the scheduler: every order of the branches is tried in any case."""
    await t.point(rig.others.turn)
    return Got("ok")
