"""A Hypothesis state machine over the model: rules begin operations, other rules let tasks take steps.

Schedule and workload are one sequence of rules here, so Hypothesis shrinks them together, and prints them as a program
(`state.begin(...)`, `state.step(...)`). Subclass it with a patch, a scenario that declares files and slots, or rules of
your own.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext, suppress
from typing import TYPE_CHECKING, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from ..engine.errors import Deadlock
from ..engine.op import Op
from ..engine.strategy import FirstRunnable
from ..engine.unawaited import NeverAwaited, all_awaited
from ..oracles import Oracles
from ..patches.entered import watch_overrides
from ..patches.registry import load_patch
from ..scenarios.options import Options
from ..scenarios.scenario import Scenario, loads
from ..scenarios.session import build
from ..scenarios.thread import Thread
from .single_runs import note

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..actors.kernel import Kernel
    from ..engine.task import Task
    from ..scenarios.steps import Step

__all__ = ["GmemMachine"]

#: What the threads can do; which of it they do, and when, is up to the rules.
_SCENARIO = loads(
    """
[scenario]
name = "machine"
summary = "Whatever the rules say"

[[vm]]
accept = "tolerant"
choices = { sept_ve_disable = false }

[[file]]
id = "gmem0"
pages = 2

[[slot]]
file = "gmem0"
gfn = 0x100

[[task]]
role = "vcpu"
instances = 2
ops = [
    { op = "touch", start = 0, count = 1, write = "{task}" },
    { op = "touch", start = 1, count = 1, write = "{task}" },
    { op = "prefault" },
]

[[task]]
name = "host"
ops = [
    { op = "punch", start = 0, count = 1 },
    { op = "punch", start = 1, count = 1 },
    { op = "allocate" },
    { op = "convert", private = false, count = 1 },
    { op = "convert", private = true, count = 1 },
    { op = "memory_failure", start = 0, count = 1 },
]
""",
    "machine.toml",
)


class _Inbox:
    """Where a thread waits for its next operation."""

    def __init__(self, name: str) -> None:
        self.label = f"inbox.{name}"

    def holders(self) -> Iterable[str]:
        return ()


class GmemMachine(RuleBasedStateMachine):
    """Threads of a scenario that begin operations and take steps when a rule says so; every oracle looks on.

    A coroutine of the patch that nobody awaits, and what outlives a run, is an error at the end of the run. What of a
    patch of your own ran in none of a test's runs the pytest plugin says (`NeverRan`).

    Attributes:
        patch: version, `path/to/file.py:Class`, or the class itself.
        arch: VM type; None: the scenario's first.
        scenario: declares what there is; its tasks say which operations each thread may begin.
        session: of the present run.
    """

    patch: ClassVar[str | type[Kernel]] = "v3"
    arch: ClassVar[str | None] = "sw-protected"
    scenario: ClassVar[Scenario] = _SCENARIO

    def __init__(self) -> None:
        super().__init__()
        patch = load_patch(self.patch) if isinstance(self.patch, str) else self.patch
        options = Options(strategy=FirstRunnable(), checker=Oracles, count=False)
        self._broken = False
        self._tasks: list[Task] = []
        self._steps: dict[Task, tuple[Step, ...]] = {}
        with ExitStack() as watching:
            # Of a user's patch, to the end of the run: what of it runs, and what outlives the run.
            self._entered = watching.enter_context(watch_overrides(patch))
            self.session = session = build(self.scenario, patch, self.arch, options=options)
            self.engine = session.engine
            for actor in session.workload.actors:
                task = self.engine.spawn(actor.name, self._body, Thread(session, actor), _Inbox(actor.name))
                session.tasks[actor.name] = task
                self._tasks.append(task)
                self._steps[task] = actor.steps
            for task in self._tasks:
                self._advance(task)
            if self._entered.functions:
                # From here: coroutines that nobody awaits.
                watching.enter_context(all_awaited())
            self._watching = watching.pop_all()

    @staticmethod
    async def _body(t: Task, thread: Thread, inbox: _Inbox) -> None:
        while True:
            step: Step = await t.park(inbox, Op("wait", inbox.label))
            # A call of its own for every operation.
            await thread.step(t, step)
            thread.round += 1

    def _idle(self) -> list[Task]:
        return [task for task in self._tasks if isinstance(task.parked_on, _Inbox)]

    def _advance(self, task: Task) -> None:
        engine = self.engine
        engine.current = task
        engine.steps += 1
        try:
            task.send(None)
        except StopIteration as stop:
            engine.finish(task, stop.value)
        except BaseException:
            self._broken = True
            raise

    @precondition(lambda self: self._idle())
    @rule(thread=st.integers(0, 7), operation=st.integers(0, 15))
    def begin(self, thread: int, operation: int) -> None:
        """A thread that has nothing to do begins one of its operations."""
        idle = self._idle()
        task = idle[thread % len(idle)]
        steps = self._steps[task]
        self.engine.wake(task, steps[operation % len(steps)])

    @precondition(lambda self: self.engine.runnable)
    @rule(thread=st.integers(0, 7), steps=st.integers(1, 100))
    def step(self, thread: int, steps: int) -> None:
        """A thread that can run takes some steps, until it has to wait."""
        runnable = self.engine.runnable
        task = runnable[thread % len(runnable)]
        for _ in range(steps):
            if task.parked_on is not None or task.done:
                break
            self._advance(task)

    def teardown(self) -> None:
        """Let everybody come to an end, in turn, and look at what is left."""
        try:
            if not self._broken:
                self._finish()
        finally:
            for task in self._tasks:
                if not task.done:
                    task.handle.close()
            # What a rule has found already is not replaced.
            with suppress(NeverAwaited) if self._broken else nullcontext():
                self._watching.close()
        if not self._broken:
            self._entered.refuse_state()
            note(type(self), self._entered)

    def _finish(self) -> None:
        turn = 0
        while self.engine.runnable:
            runnable = self.engine.runnable
            turn += 1
            self._advance(runnable[turn % len(runnable)])
        idle = self._idle()
        waiting = [task for task in self.engine.blocked() if task not in idle]
        if waiting:
            raise Deadlock(waiting)
        assert self.session.checker is not None
        self.session.checker.finish()
        assert not self.session.violations, self.session.violations[0].text
