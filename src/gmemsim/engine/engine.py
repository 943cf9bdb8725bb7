"""The scheduler: tasks, virtual time and choices, without a loop of its own.

One scheduler, two ways to choose the next task:

* a *timed* run is a discrete-event simulation: the task with the earliest virtual time runs, ties go to the
  one that was scheduled first;
* an *exploring* run asks the strategy at every trap and ignores cost.

The loop that resumes the chosen task belongs to a runtime (`bare` or `trio_runtime`); both call `next_task`
and so take the same steps in the same order.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from .answers import answer_of
from .errors import Deadlock, StepLimit
from .observed import install
from .observed_containers import STEP
from .strategy import FirstRunnable
from .tape import Tape
from .task import Signal, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .cpus import Cpus
    from .op import Op
    from .strategy import Strategy
    from .task import Waitable


class Engine:
    """State of one run.

    Args:
        strategy: who answers draws; None makes a timed run in which every draw is answered 0.
        exploring: ask the strategy at every trap (default: True if a strategy is given).
        rec: called as `rec(task, event)` for every audit event; None switches recording off.
        faults: how often each fault point may fire, by label; empty means never.
        max_steps: raise `StepLimit` after this many resumptions.
        wake_ns: from a wake-up to the sleeper running.
        cpus: what sharing lines and locks costs in a timed run; None charges nothing of it.
    """

    __slots__ = (
        "at_failure",
        "cpus",
        "current",
        "exploring",
        "faults",
        "heap",
        "kept",
        "live",
        "max_steps",
        "now",
        "on_fault",
        "on_might_sleep",
        "on_spawn",
        "on_step",
        "ordered",
        "rec",
        "roots",
        "ruined",
        "runnable",
        "sequence",
        "steps",
        "strategy",
        "tape",
        "tasks",
        "touched",
        "wake_ns",
        "workers",
    )

    def __init__(
        self,
        strategy: Strategy | None = None,
        *,
        exploring: bool | None = None,
        rec: Callable[[Task, Any], None] | None = None,
        faults: dict[str, int] | None = None,
        max_steps: int = 1 << 62,
        wake_ns: int = 0,
        cpus: Cpus | None = None,
    ) -> None:
        self.exploring = (strategy is not None) if exploring is None else exploring
        self.strategy: Strategy = FirstRunnable() if strategy is None else strategy
        self.rec = rec
        self.faults = dict(faults or {})
        self.max_steps = max_steps
        self.wake_ns = wake_ns
        self.cpus = None if self.exploring else cpus
        self.tape = Tape()
        self.now = 0
        self.heap: list[tuple[int, int, Task]] = []
        self.runnable: list[Task] = []
        self.tasks: list[Task] = []
        self.live = 0
        #: Workers that are not done (`spawn_worker`).
        self.workers = 0
        self.steps = 0
        self.current: Task | None = None
        #: Told of a fault point of `faults` that a task comes to, whether it fires or not.
        self.on_fault: Callable[[str], None] | None = None
        #: Told of steps that may sleep (`Task.might_sleep`).
        self.on_might_sleep: Callable[[Task, str], None] | None = None
        self.on_spawn: Callable[[Task], None] | None = None
        #: Called with the chosen task before every resumption of an exploring run, forced ones included:
        #: `task.pending` is what it is about to do. Set it before the run starts (see `watch_steps`).
        self.on_step: Callable[[Task], None] | None = None
        #: What the present step touched beside the op that it announced, if a strategy wants to know (see
        #: `Task.touch`); the strategy empties it. None: nobody asks.
        self.touched: list[Op] | None = None
        #: The search goes back to earlier states of this run, so tasks that are suspended at its end stay so.
        self.kept = False
        #: The order of the entries of a dict that a user's code keeps is state, since that code may ask for it.
        self.ordered = False
        #: Objects that the outcome of the run is read from: part of its state even when no task can reach them.
        self.roots: list[Any] = []
        #: Called when a run of the bare runtime ends badly, before its coroutines and their stacks are gone.
        self.at_failure: list[Callable[[], None]] = []
        #: An exploring run ends with the present step, and with this (`unawaited`).
        self.ruined: Exception | None = None
        self.sequence = 0

    # -- tasks ---------------------------------------------------------------------------------

    def spawn(
        self, name: str, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, daemon: bool = False
    ) -> Task:
        """Create a task that runs `function(task, *args)`; a daemon does not keep the run alive."""
        task = Task.__new__(Task)
        coro = function(task, *args)
        task.__init__(self, len(self.tasks), name, coro, daemon)  # type: ignore[misc] # the coroutine needs the task first
        self.tasks.append(task)
        if not daemon:
            self.live += 1
        if self.exploring:
            self.runnable.append(task)
        else:
            self.schedule_at(self.now, task)
        if self.on_spawn is not None:
            self.on_spawn(task)
        return task

    def spawn_worker(self, name: str, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Task:
        """A task for work that the kernel put off, which no operation of the workload waits for."""
        task = self.spawn(name, function, *args)
        task.worker = True
        self.workers += 1
        return task

    def finish(self, task: Task, result: Any) -> None:
        """A runtime saw the coroutine of `task` return."""
        task.done = True
        task.result = result
        if not task.daemon:
            self.live -= 1
        if task.worker:
            self.workers -= 1
        if self.exploring:
            self.runnable.remove(task)
            if self.touched is not None:
                task.touch_task("w")

    def block(self, task: Task, on: Waitable) -> None:
        """`task` parks on `on`; only `wake` brings it back."""
        task.parked_on = on
        for call in task.on_block:
            call(task)
        if self.exploring:
            self.runnable.remove(task)
            if self.touched is not None:
                task.touch_task("w")

    def wake(self, task: Task, value: Any = None, delay: int = 0) -> None:
        """Make a parked task runnable again, in `delay` virtual ns; `value` is what its park returns."""
        if self.touched is not None:
            task.touch_task("w")
        if task.parked_on is None:
            return
        task.parked_on = None
        task.value = value
        if self.exploring:
            # Kept in order of age, so that answer 0 means the oldest whatever the history of wakes.
            runnable = self.runnable
            position = len(runnable)
            while position and runnable[position - 1].ident > task.ident:
                position -= 1
            runnable.insert(position, task)
        else:
            self.schedule_at(self.now + delay, task)

    def signal(self, task: Task) -> None:
        """Send a signal: pending on the task, and the end of an interruptible park."""
        task.touch_task("w")
        task.signal_pending = True
        if task.interruptible and task.parked_on is not None:
            self.wake(task, Signal)

    def watch_steps(self, call: Callable[[Task], None]) -> None:
        """Have `call` see every step of an exploring run, after those that asked before."""
        first = self.on_step
        if first is None:
            self.on_step = call
            return

        def both(task: Task) -> None:
            first(task)
            call(task)

        self.on_step = both

    def ask_touched(self, touched: list[Op]) -> None:
        """Have each step put into `touched` what it touches beside the op that it announces.

        Set it before the run starts, after those that record: what they look at is not the step's doing.
        """
        install()
        self.touched = touched
        record = self.rec
        if record is None:
            return

        def apart(task: Task, event: Any) -> None:
            asked, STEP.touched = STEP.touched, None
            try:
                record(task, event)
            finally:
                STEP.touched = asked

        self.rec = apart

    # -- time and choice -----------------------------------------------------------------------

    def schedule_at(self, when: int, task: Task) -> None:
        self.sequence = sequence = self.sequence + 1
        heappush(self.heap, (when, sequence, task))

    def choose(self, task: Task, label: str, bound: int) -> int:
        """Draw from the strategy and put the answer on the tape."""
        value = self.strategy.draw(task, label, bound)
        self.tape.raw.append((task.name, task.call, label, value, bound))
        return value

    def next_task(self, until: int | None = None) -> Task | None:
        """Choose who runs next; None when every task that counts has finished.

        Args:
            until: what the current task yielded, if it was a time: it is due again then.

        Raises:
            Deadlock: tasks are left, and none can run.
            StepLimit: more than `max_steps` resumptions.
            Exception: `ruined`, in an exploring run.
        """
        if not self.live:
            return None
        if self.ruined is not None and self.exploring:
            raise self.ruined
        self.steps = steps = self.steps + 1
        if steps > self.max_steps:
            raise StepLimit(self.max_steps)
        if not self.exploring:
            if until is not None:
                self.schedule_at(until, self.current)  # type: ignore[arg-type] # somebody yielded it
            if not self.heap:
                raise Deadlock(self.blocked())
            self.now, _, task = heappop(self.heap)
            self.current = task
            return task
        runnable = self.runnable
        count = len(runnable)
        if count == 1:
            task = runnable[0]
        elif not count:
            raise Deadlock(self.blocked())
        else:
            task = self.pick(runnable, self.current)
        self.current = task
        if self.on_step is not None:
            self.on_step(task)
        return task

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Ask the strategy which of two or more runnable tasks goes next, and put the answer on the tape."""
        name, call = ("-", 0) if current is None else (current.name, current.call)
        first = None if current is None or current.done or current.parked_on is not None else current
        task = self.strategy.pick(runnable, first)
        self.tape.raw.append((name, call, "sched", answer_of(runnable, first, task), len(runnable)))
        return task

    def blocked(self) -> list[Task]:
        """Tasks that are not done and cannot run."""
        return [task for task in self.tasks if not task.done and task.parked_on is not None]
