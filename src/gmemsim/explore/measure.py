"""How long a schedule is: steps, switches between tasks, preemptions. Counted while it runs.

A *preemption* is a switch away from a task that could have gone on. A task that parked, finished, or waits for a timer
gave way by itself, and so costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..engine.errors import Pruned, TapeMismatch
from ..engine.strategy import ReplayStrategy
from .failure import failure_of
from .scene import with_scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..audit.recorder import Rec
    from ..engine.engine import Engine
    from ..engine.strategy import Strategy
    from ..engine.tape import Tape
    from ..engine.task import Task
    from .failure import Failure
    from .runs import Program, Run


@attrs.frozen(order=True)
class Measure:
    """The size of one run; compares by what a reader minds most.

    Attributes:
        preemptions: switches away from a task that could have gone on.
        steps: resumptions of tasks.
        switches: steps of another task than the step before.
        deviations: choices other than the default, faults included.
        choices: draws on the tape.
    """

    preemptions: int
    steps: int
    switches: int
    deviations: int
    choices: int


class StepCounter:
    """Watches the steps of a run that has not started.

    Attributes:
        order: name of the task of each step.
        preempted: numbers of the steps before which a task was preempted.
    """

    def __init__(self, engine: Engine) -> None:
        self.order: list[str] = []
        self.preempted: list[int] = []
        self.switches = 0
        self._engine = engine
        self._last: Task | None = None
        engine.watch_steps(self._step)

    def _step(self, task: Task) -> None:
        last = self._last
        if last is not None and task is not last:
            self.switches += 1
            if not last.done and last.parked_on is None and last.pending.kind != "sleep":
                self.preempted.append(len(self.order))
        self._last = task
        self.order.append(task.name)

    def result(self) -> Measure:
        """What was counted so far."""
        raw = self._engine.tape.raw
        deviations = sum(1 for choice in raw if choice[3])
        return Measure(len(self.preempted), len(self.order), self.switches, deviations, len(raw))


@attrs.frozen
class Attempt:
    """One run to its end.

    Attributes:
        failure: what was wrong; None: nothing, or the strategy cut it short (`pruned`).
        order: name of the task of each step.
        preempted: numbers of the steps before which a task was preempted.
    """

    run: Run
    failure: Failure | None
    measure: Measure
    order: tuple[str, ...]
    preempted: tuple[int, ...]
    pruned: bool = False

    @property
    def tape(self) -> Tape:
        """Every choice of the run."""
        return self.run.engine.tape


def attempt(
    program: Program,
    strategy: Strategy,
    *,
    max_steps: int = 20_000,
    rec: Rec | None = None,
    watch: Callable[[Engine], None] | None = None,
) -> Attempt:
    """Run `program` once, and count.

    Args:
        watch: called with the engine before the run starts.

    Raises:
        TapeMismatch: from a strict replay.
        Exception: what building the run raises.
    """
    run = program.build(strategy, rec=rec, max_steps=max_steps)
    left = strategy.begin(run.engine)
    counter = StepCounter(run.engine)
    if watch is not None:
        watch(run.engine)
    if not left:
        return Attempt(run, None, counter.result(), (), (), True)
    failure: Failure | None = None
    pruned = False
    try:
        run.run()
        failure = run.found()
    except TapeMismatch:
        raise
    except Pruned:
        pruned = True
    except Exception as error:  # whatever model code raises is a failure
        failure = failure_of(error)
    if failure is not None:
        failure = with_scene(failure, run)
    return Attempt(run, failure, counter.result(), tuple(counter.order), tuple(counter.preempted), pruned)


def measure(program: Program, tape: Tape, *, max_steps: int = 20_000) -> Measure:
    """The size of the run that `tape` replays, strictly.

    Raises:
        TapeMismatch: the tape is not of this program.
    """
    return attempt(program, ReplayStrategy(tape), max_steps=max_steps).measure
