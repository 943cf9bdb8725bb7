"""Watch one run step by step: what each resumption did, who was woken, and who held and awaited what since when."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs

from ..audit.events import Contended, Lock, Unlock
from ..audit.huge_events import HugeSplit
from ..audit.kvm_events import PageCacheAdd
from ..engine.errors import TapeMismatch
from ..explore.failure import failure_of
from ..explore.functions import functions_of, running_functions
from ..explore.scene import with_scene
from ..explore.search import watch_events
from .model import Happening, Hold, Step, Wait

if TYPE_CHECKING:
    from ..audit.base import Event
    from ..audit.recorder import Rec
    from ..engine.engine import Engine
    from ..engine.op import Op
    from ..engine.strategy import Strategy
    from ..engine.task import Task
    from ..explore.failure import Failure
    from ..explore.runs import Program, Run


@attrs.define
class _Open:
    """A step that is still going on."""

    number: int
    task: Task
    call: int
    op: Op
    functions: tuple[str, ...]
    primitive: str
    choice: int
    others: tuple[str, ...]
    preempted: str
    woken_by: str
    draws: int
    happenings: list[Happening] = attrs.field(factory=list)


class Recording:
    """Everything that one run did.

    Attributes:
        steps: in order.
        holds, waits: of every task and lock, in the order in which they began.
        failure: how the run ended badly; None if it ended well.
        run: the run itself, for its state at the end.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.engine: Engine = run.engine
        self.steps: list[Step] = []
        self.holds: list[Hold] = []
        self.waits: list[Wait] = []
        self.failure: Failure | None = None
        self._open: _Open | None = None
        self._taped = 0
        self._asleep: dict[Task, int] = {}
        self._woken: dict[Task, str] = {}
        self._held: dict[tuple[str, str], list[int]] = {}
        watch_events(self.engine, cast("Rec", self._event))
        self.engine.watch_steps(self._step)

    # -- while it runs -----------------------------------------------------------------------------

    def _step(self, task: Task) -> None:
        before = self._open
        self.close()
        engine = self.engine
        raw = engine.tape.raw
        choice = -1
        if len(raw) > self._taped and raw[-1][2] == "sched":
            choice = len(raw) - 1
        last = None if before is None else before.task
        stopped = last is not None and last is not task and not last.done and last.parked_on is None
        functions, primitive = functions_of(task)
        self._taped = len(raw)
        self._open = _Open(
            len(self.steps) + 1,
            task,
            task.call,
            task.pending,
            functions,
            primitive,
            choice,
            tuple(other.name for other in engine.runnable if other is not task),
            last.name if last is not None and stopped else "",
            self._woken.pop(task, ""),
            len(raw),
        )

    def _event(self, task: Task, event: Event) -> None:
        step = self._open
        if step is None:
            return
        functions = running_functions()
        step.happenings.append(Happening(task.call, event, functions))
        name = step.task.name
        if isinstance(event, Lock):
            self._took(name, event.lock, event.mode, step.number, functions)
        elif isinstance(event, Unlock):
            self._gave(name, event.lock, step.number)
        elif isinstance(event, PageCacheAdd):
            # A new folio is born locked by whoever inserts it; no lock event tells.
            label = f"{step.op.obj}.folio[{event.index}]"
            if (name, label) not in self._held:
                self._took(name, label, "w", step.number, functions)
        elif isinstance(event, HugeSplit):
            # Whoever inserted it lets go of a lock that is nobody's any more; no event tells that either.
            for owner, label in list(self._held):
                if owner == name and label.endswith(f".folio[{event.index}]"):
                    self._gave(name, label, step.number)

    def _took(self, task: str, lock: str, mode: str, step: int, functions: tuple[str, ...]) -> None:
        self._held.setdefault((task, lock), []).append(len(self.holds))
        self.holds.append(Hold(lock, task, mode, step, 0, functions[-1] if functions else ""))

    def _gave(self, task: str, lock: str, step: int) -> None:
        holds = self._held.get((task, lock))
        if holds is None:
            # A folio lock may be given back by another task than the one that took it.
            holds = next((held for (_, label), held in self._held.items() if label == lock), None)
        if holds:
            position = holds.pop()
            self.holds[position] = attrs.evolve(self.holds[position], until=step)
        self._held = {key: held for key, held in self._held.items() if held}

    def close(self) -> None:
        """The step that was going on has ended."""
        step, self._open = self._open, None
        if step is None:
            return
        task = step.task
        on = task.parked_on
        label = "" if on is None or task.done else on.label
        raw = self.engine.tape.raw
        drawn = tuple(
            (choice[2], choice[3]) for choice in raw[step.draws :] if choice[2] != "sched" and choice[3]
        )
        self._sections(step)
        self.steps.append(
            Step(
                step.number,
                task.name,
                step.call,
                task.call,
                step.op,
                step.functions,
                step.primitive,
                tuple(step.happenings),
                step.choice,
                step.others,
                step.preempted,
                step.woken_by,
                drawn,
                label,
                task.done,
                len(raw),
            )
        )
        for other, position in list(self._asleep.items()):
            if other.parked_on is None:
                self._woken[other] = task.name
                del self._asleep[other]
                self.waits[position] = attrs.evolve(self.waits[position], until=step.number)
        if label:
            function = step.happenings[-1].functions[-1:] if step.happenings else step.functions[-1:]
            self._asleep[task] = len(self.waits)
            self.waits.append(Wait(label, task.name, _mode(step, label), step.number, 0, "".join(function)))

    def _sections(self, step: _Open) -> None:
        """SRCU read sections have no events; their ops tell."""
        op = step.op
        if op.obj.endswith(".srcu"):
            if op.kind == "acquire":
                self._took(step.task.name, op.obj, op.mode, step.number, step.functions)
            elif op.kind == "release":
                self._gave(step.task.name, op.obj, step.number)


def _mode(step: _Open, label: str) -> str:
    """In which mode the task wants what it went to sleep on: its event knows, a spinning lock's operation does not."""
    for happening in reversed(step.happenings):
        event = happening.event
        if isinstance(event, Contended) and event.lock == label:
            return event.mode
    return step.task.pending.mode


def record(program: Program, strategy: Strategy, max_steps: int) -> Recording:
    """Run `program` once under `strategy` and watch.

    Raises:
        TapeMismatch: the strategy is a strict replay, and the program does not fit it.
    """
    run = program.build(strategy, max_steps=max_steps)
    strategy.begin(run.engine)
    recording = Recording(run)
    try:
        run.run()
        recording.close()
        recording.failure = run.found()
    except TapeMismatch:
        raise
    except Exception as error:  # as the search does: whatever model code raises is a failure
        recording.close()
        recording.failure = failure_of(error)
    if recording.failure is not None:
        recording.failure = with_scene(recording.failure, run)
    return recording
