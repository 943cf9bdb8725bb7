"""Who was where when a run failed: every task with its operation and kernel functions, and who waited for whom.

A failure's summary is for readers. What a program wants to know of it (is it known?) stands here, as values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..patches.registry import registered_name
from ..scenarios.thread import CALLS
from .functions import raised_in
from .judges.deadlock import WaitFor, wait_for

if TYPE_CHECKING:
    from ..engine.task import Task
    from ..scenarios.session import Session
    from ..scenarios.thread import Thread
    from .failure import Failure
    from .judges.deadlock import WaitEdge
    from .runs import Run


@attrs.frozen(kw_only=True)
class Party:
    """A task.

    Attributes:
        call: id of its call; 0 before the first.
        operation: what that call does, by its name in a scenario (`punch`, `touch`); empty if it is in none.
        before: the operations that the task has been through, each once.
        functions: kernel functions that it is in, outermost first.
        obsolete_root: it is a vCPU that has loaded a root, which has become obsolete since.
    """

    task: str
    call: int = 0
    operation: str = ""
    before: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    obsolete_root: bool = False


@attrs.frozen(kw_only=True)
class Scene:
    """A run at the moment of its failure.

    Attributes:
        version: the version that ran, or the one that a user's patch or a seeded version is made of; empty: none.
        release, vm_types: of the run.
        parties: all tasks, in the order in which they were spawned.
        waits: why those that are asleep do not go on (`judges.deadlock`): lock, mode, and who stands in the way.
    """

    version: str = ""
    release: str = ""
    vm_types: tuple[str, ...] = ()
    parties: tuple[Party, ...] = ()
    waits: tuple[WaitEdge, ...] = ()


def with_scene(failure: Failure, run: Run) -> Failure:
    """The failure with the scene of its run; one that has a scene (of the run that judged it) keeps it."""
    if failure.scene is not None:
        return failure
    return attrs.evolve(failure, scene=scene_of(run, failure))


def scene_of(run: Run, failure: Failure | None = None) -> Scene:
    """What there is to see in a run that has just ended.

    Args:
        failure: how it ended, if it did so badly: a task that raised is on no stack any more, but on the exception's.
    """
    engine = run.engine
    stuck = None if failure is None else failure.details.get("wait_for")
    waits = stuck if isinstance(stuck, WaitFor) else wait_for(engine.blocked())
    # Of a program in Python there is neither.
    session: Session | None = getattr(run, "session", None)
    threads = {} if session is None else {thread.actor.name: thread for thread in session.threads}
    stacks = getattr(run, "stacks", {})
    parties = tuple(
        _party(task, threads.get(task.name), stacks.get(task.name, ()), failure) for task in engine.tasks
    )
    if session is None:
        return Scene(parties=parties, waits=waits.edges)
    return Scene(
        version=registered_name(session.patch),
        release=session.release.name,
        vm_types=tuple(dict.fromkeys(vm.arch.name for vm in session.machine.world.vms.values())),
        parties=parties,
        waits=waits.edges,
    )


def _party(task: Task, thread: Thread | None, functions: tuple[str, ...], failure: Failure | None) -> Party:
    if failure is not None and failure.task == task.name and failure.error is not None:
        functions = raised_in(failure.error.__traceback__)
    operation = ""
    before: tuple[str, ...] = ()
    obsolete = False
    if thread is not None:
        if thread.vcpu is not None:
            root = thread.vcpu.root_generation
            obsolete = root is not None and root != thread.vcpu.vm.root_generation
        ended = thread.results.operations
        before = tuple(dict.fromkeys(result.op for result in ended))
        if task.call not in {result.call for result in ended}:
            number = task.call % CALLS
            operation = next((step.op.name for step in thread.actor.steps if step.ident == number), "")
    return Party(
        task=task.name,
        call=task.call,
        operation=operation,
        before=before,
        functions=functions,
        obsolete_root=obsolete,
    )
