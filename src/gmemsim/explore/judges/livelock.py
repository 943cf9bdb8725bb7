"""Runs that do not end: a livelock, a schedule that no scheduler would make, or just a limit set too low.

A strategy may let one task spin for ever while the task that it waits for is never run. Such a run says nothing about
the kernel, whose scheduler is fair: every task that can run does so after a while. So a run that met the step limit is
replayed and then carried on fairly, round robin. What that comes to decides:

* it ends: the schedule was unfair, and there is nothing to report;
* it goes on, and calls still end: the limit is too low for the workload;
* it goes on, and in all that time no call ends and no task finishes: a livelock; or a deadlock, if tasks that sleep
  wait for each other, and the others go round because of that.

Round robin is tried with several lengths of turn, as tasks in lockstep can miss each other for ever where any other
rhythm would let one through; a livelock survives them all. That is evidence from a bounded continuation, and no more.

Source: fair schedules and the liveness check by bounded execution are those of Musuvathi and Qadeer, "Fair stateless
model checking", PLDI 2008; that a call ends is what they call progress.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

import attrs

from ...engine.answers import candidate
from ...engine.errors import Deadlock, EngineError, StepLimit, TapeMismatch
from ...engine.locks.kinds import class_of
from ...engine.strategy import ReplayStrategy
from ...engine.tape import Tape
from ..failure import Failure, failure_of
from ..scene import scene_of, with_scene
from .deadlock import wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...engine.engine import Engine
    from ...engine.task import Task
    from ..runs import Program
    from ..scene import Scene

#: Least steps of the fair continuation; else as many as the run had. The longest call on 4 KiB pages takes a few
#: hundred, but a hole in 2 MiB of an SNP guest 1,600.
FAIR_STEPS: Final = 4_000
#: Steps of one turn, one continuation each.
TURNS: Final = (1, 3, 50)
#: Every so many times a draw that is not a fault is answered other than with 0: a deadline passes at some time.
_RARELY: Final = 5
#: Steps to show of a loop: at least four times as many, at most eight.
_MANY: Final = 10


@attrs.frozen(kw_only=True)
class Liveness:
    """What a fair continuation came to.

    Attributes:
        verdict: see the module; `unfair` also if the continuation failed in another way, which is then `failure`.
        turn: length of turn that decided; 0: all.
        loop: task and operation (`load vm0.seq`) by how often in the continuation, if it did not end.
        asleep: tasks that waited at its end, and what for.
        embrace: the deadlock, if the tasks that sleep wait for each other and the others go round for them.
        failure: how the continuation failed.
        outcome: what came of it, if it ended without an exception.
        scene: who was where at its end.
    """

    verdict: Literal["livelock", "unfair", "long"]
    turn: int
    loop: tuple[tuple[str, str, int], ...] = ()
    asleep: tuple[tuple[str, str], ...] = ()
    embrace: Failure | None = None
    failure: Failure | None = None
    outcome: str = ""
    scene: Scene | None = None


class ThenFair:
    """A strategy: a tape, or bare answers, to the end, then turns of equal length in a circle."""

    def __init__(self, tape: Tape | Sequence[int], turn: int) -> None:
        self._raw: list[tuple[str | None, int, int]] = (
            [(label, value, bound) for _, _, label, value, bound in tape.raw]
            if isinstance(tape, Tape)
            else [(None, value, 0) for value in tape]
        )
        self._turn = turn
        self._at = 0
        self._left = turn
        self._count: Counter[str] = Counter()
        self.engine: Engine | None = None
        #: Steps of the continuation so far.
        self.fair = 0
        #: Step of the continuation at which a call or a task ended last.
        self.progress = 0
        self.loop: Counter[tuple[str, str]] = Counter()
        self._state: list[tuple[int, bool]] = []

    def begin(self, engine: Engine) -> bool:
        """Start the run."""
        self.engine = engine
        engine.watch_steps(self._step)
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Who runs next."""
        if self._at < len(self._raw):
            return candidate(runnable, current, self._recorded("sched", len(runnable)))
        if current is not None and self._left:
            self._left -= 1
            return current
        self._left = self._turn - 1
        last = -1 if runnable[0].engine.current is None else runnable[0].engine.current.ident
        return next((task for task in runnable if task.ident > last), runnable[0])

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Any other choice: no fault, and otherwise mostly 0."""
        if self._at < len(self._raw):
            return self._recorded(label, bound)
        if label in task.engine.faults:
            return 0
        self._count[label] += 1
        count = self._count[label]
        return 0 if count % _RARELY else count // _RARELY % bound

    def _recorded(self, label: str, bound: int) -> int:
        known, value, known_bound = self._raw[self._at]
        if known is not None and (known, known_bound) != (label, bound):
            raise TapeMismatch(
                f"draw {self._at} is {label} (of {bound}), the tape has {known} (of {known_bound})"
            )
        self._at += 1
        return value

    def _step(self, task: Task) -> None:
        if self._at < len(self._raw):
            return
        self.fair += 1
        self.loop[task.name, f"{task.pending.kind} {task.pending.obj}"] += 1
        state = [(other.call, other.done) for other in task.engine.tasks]
        if state != self._state:
            self._state = state
            self.progress = self.fair


def carry_on(
    program: Program, tape: Tape, steps: int, *, fair_steps: int | None = None, turns: Sequence[int] = TURNS
) -> Liveness:
    """Replay a run that met its step limit, and go on fairly.

    Args:
        tape: all choices of the run.
        steps: resumptions in it.
        fair_steps: resumptions of each continuation; None: as many, at least `FAIR_STEPS`.

    Raises:
        TapeMismatch: the tape is not of this program.
    """
    last = Liveness(verdict="unfair", turn=0)
    fair_steps = max(FAIR_STEPS, steps) if fair_steps is None else fair_steps
    for turn in turns:
        strategy = ThenFair(tape, turn)
        run = program.build(strategy, max_steps=steps + fair_steps)
        strategy.begin(run.engine)
        try:
            run.run()
            found = run.found()
            ended = None if found is None else with_scene(found, run)
            return Liveness(verdict="unfair", turn=turn, failure=ended, outcome=run.outcome())
        except StepLimit:
            pass
        except TapeMismatch:
            raise
        except Exception as error:  # what the model raises there is a failure of its own
            failure = with_scene(failure_of(error), run)
            return Liveness(verdict="unfair", turn=turn, failure=failure)
        most = max(strategy.loop.values(), default=0)
        # What was done once on the way into the loop is not part of it.
        loop = tuple(
            (task, op, count) for (task, op), count in strategy.loop.most_common(12) if count * 10 >= most
        )
        asleep = tuple(
            (task.name, "" if task.parked_on is None else task.parked_on.label)
            for task in run.engine.blocked()
        )
        if strategy.progress > strategy.fair // 2:
            return Liveness(verdict="long", turn=turn, loop=loop, asleep=asleep)
        blocked = run.engine.blocked()
        embrace = None
        if blocked and wait_for(blocked).kind == "cycle":
            embrace = with_scene(failure_of(Deadlock(blocked)), run)
        last = Liveness(
            verdict="livelock", turn=0, loop=loop, asleep=asleep, scene=scene_of(run), embrace=embrace
        )
    return last


def judge(program: Program, failure: Failure, tape: Tape, steps: int) -> Failure | None:
    """What a failure is after a fair continuation: None if only an unfair schedule shows it (`search(judge=…)`).

    Failures other than `step_limit` come back as they are. So does one whose calls still end: the limit is too low.
    """
    if failure.rule != "step_limit":
        return failure
    live = carry_on(program, tape, steps)
    if live.verdict == "unfair":
        # How the continuation failed is a finding, but not of this tape: the search will come to it by itself.
        return None
    if live.verdict == "long":
        return failure
    rounds = max(FAIR_STEPS, steps)
    return _livelock(live, failure, f"{rounds} steps of fair turns and no call ended")


def _livelock(live: Liveness, failure: Failure, how: str) -> Failure:
    if live.embrace is not None:
        return live.embrace
    tasks = sorted({task for task, _, _ in live.loop})
    kind = " ".join(sorted({class_of(op.partition(" ")[2]) for _, op, _ in live.loop}))
    asleep = "".join(f"; {task} waits for {on}" for task, on in live.asleep)
    summary = f"livelock: {', '.join(tasks)} went round {how}{asleep}"
    return Failure(
        "livelock", summary, kind, details={"liveness": live}, error=failure.error, scene=live.scene
    )


# -- loops of the state graph --------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Trapped:
    """What a loop that no step leaves comes to.

    Attributes:
        failure: a livelock; None if it is one only for the graph, which does not count how often a guest exits to its
            VMM and re-enters: after so many times it gives up, and the run ends with `outcome`.
        tape: into the loop and around in it; ends with the step limit if `steps` is the limit.
    """

    failure: Failure | None
    tape: Tape
    steps: int
    outcome: str


class _Enough(EngineError):
    """The loop was gone round often enough to be seen."""


def trapped(program: Program, answers: Sequence[int], size: int) -> Trapped:
    """Go into a loop of `size` states that no step leaves (`strategies.state_graph`), and see what it looks like.

    Args:
        answers: of all draws on the way into it.
    """
    strategy = ThenFair(answers, 1)
    run = program.build(strategy)
    strategy.begin(run.engine)
    rounds = min(max(2 * size, 4 * _MANY), 8 * _MANY)

    def enough(task: Task) -> None:
        if strategy.fair > rounds:
            raise _Enough

    run.engine.watch_steps(enough)
    with suppress(_Enough):
        run.run()
    steps = run.engine.steps - 1
    again = program.build(ReplayStrategy(run.engine.tape), max_steps=steps)
    try:
        again.run()
        failure = Failure("step_limit", "")
    except StepLimit as error:
        failure = failure_of(error)
    tape = again.engine.tape
    tape.steps = steps
    live = carry_on(program, tape, steps, fair_steps=FAIR_STEPS, turns=TURNS[:1])
    if live.verdict == "unfair":
        return Trapped(failure=live.failure, tape=tape, steps=steps + 1, outcome=live.outcome)
    how = f"for ever: no step leads out of a loop of {size} states, and in it no call ends"
    return Trapped(failure=_livelock(live, failure, how), tape=tape, steps=steps + 1, outcome="")
