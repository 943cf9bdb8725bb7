"""What a failure report holds. Frozen, plain, and complete: every rendering is made from it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from ..audit.base import Event
    from ..engine.op import Op
    from ..explore.findings.finding import Finding

#: What a report does not speak of, one sentence a line.
NOT_SEEN: Final = (
    "Steps interleave one at a time: memory is sequentially consistent, weak ordering is outside the model.",
    "No interrupts, no preemption inside a step, no RCU beyond SRCU, no other users of the machine.",
    "The steps were read from kernel sources: a schedule here says that the model allows it, not that a kernel did it.",
    "Other schedules may fail in other ways; this is one run.",
)


@attrs.frozen
class Happening:
    """One audit event, and where in the code it was.

    Attributes:
        call: of the workload, at that moment.
        functions: kernel functions that the task is in, outermost first.
    """

    call: int
    event: Event
    functions: tuple[str, ...]


@attrs.frozen
class Step:
    """What one resumption did: the operation that was pending, and everything up to the next one.

    Attributes:
        number: from 1.
        call: of the workload, before the step; `then` after it.
        functions: kernel functions that the task is in when it takes the step, outermost first.
        primitive: `down_read`, `folio_lock`'s `lock`, …: what the innermost of them calls.
        choice: position on the tape of the draw that chose the task; -1 if nobody else could run.
        others: tasks that could have run instead.
        preempted: the task that was stopped for this one; empty if the last one could not go on.
        woken_by: whose step made the task runnable since its last one; empty if it was all along.
        draws: label and answer of every other draw in the step that was not 0.
        waits_for: label of what the task went to sleep on at the end; empty if it did not.
        finished: the task ended.
        drawn: length of the tape at the end of the step.
    """

    number: int
    task: str
    call: int
    then: int
    op: Op
    functions: tuple[str, ...]
    primitive: str
    happenings: tuple[Happening, ...]
    choice: int = -1
    others: tuple[str, ...] = ()
    preempted: str = ""
    woken_by: str = ""
    draws: tuple[tuple[str, int], ...] = ()
    waits_for: str = ""
    finished: bool = False
    drawn: int = 0

    @property
    def function(self) -> str:
        """The innermost kernel function."""
        return self.functions[-1] if self.functions else ""


@attrs.frozen
class Call:
    """One call of the workload.

    Attributes:
        number: its id; 0 of an operation of the setup.
        text: as a call.
        state: `done`, `failed` (not what was expected), `running`, `not begun`.
        outcome: `ok`, an errno name, …; empty while it runs.
        expect: the outcomes that are right; empty: any.
    """

    task: str
    number: int
    text: str
    state: str
    outcome: str = ""
    expect: tuple[str, ...] = ()


@attrs.frozen
class Hold:
    """A task has a lock, from step `since` to step `until` (0: still).

    Attributes:
        mode: `r` shared, `w` exclusive; `?` if no event told.
        function: kernel function that took it.
    """

    lock: str
    task: str
    mode: str
    since: int
    until: int
    function: str


@attrs.frozen
class Wait:
    """A task sleeps on something, from the end of step `since` to step `until` (0: still)."""

    on: str
    task: str
    mode: str
    since: int
    until: int
    function: str


@attrs.frozen
class LockState:
    """One lock at the time of the failure: holders, and the queue from its head."""

    lock: str
    holders: tuple[Hold, ...]
    queue: tuple[Wait, ...]


@attrs.frozen
class Access:
    """One of the accesses that a failure is about.

    Attributes:
        what: the access in words.
        function: the kernel function that it stands for.
        mirrors: kernel functions or tracepoints of the audit events in the step.
    """

    step: int
    task: str
    call: int
    what: str
    function: str
    mirrors: tuple[str, ...]


@attrs.frozen
class Conflict:
    """Two steps of different tasks whose order matters, the earlier one first.

    Attributes:
        on: the object.
        flips: in the nearest passing schedule they come in the other order.
    """

    on: str
    first: Access
    second: Access
    flips: bool = False


@attrs.frozen
class Edge:
    """Part of a wait-for cycle: `task` waits for `wants` behind `holder`, and stands in the way of the task before it.

    Attributes:
        holds: `holder` has `wants`; else it is only queued in front.
        has: what the task before waits for.
        took: where `task` took `has`; None if it is only queued in front.
        asks: where it waits for `wants`.
    """

    task: str
    wants: str
    mode: str
    holder: str
    holds: bool
    has: str
    took: Access | None
    asks: Access


@attrs.frozen
class Why:
    """The reason in terms of steps.

    Attributes:
        text: one sentence.
        conflict: the pair that matters most, if two tasks are to blame.
        more: other pairs, one an object, the last of each.
        cycle: of a deadlock.
        loop: of a run without end, how many of the last steps show what goes on.
    """

    text: str
    conflict: Conflict | None = None
    more: tuple[Conflict, ...] = ()
    cycle: tuple[Edge, ...] = ()
    loop: int = 0


@attrs.frozen
class Turn:
    """What ran after the choice in one of two schedules: the task, in which call and function, doing what."""

    task: str
    call: int
    function: str
    what: str
    events: tuple[str, ...]


@attrs.frozen
class Nearest:
    """The nearest passing schedule that was found: one choice changed.

    Attributes:
        tried: changes that were run.
        kept: what came after the changed choice was kept, as far as it still fits; else nobody is stopped there.
        position: of the choice on the tape.
        label, task, call: of the choice: what it is about and who drew it.
        was, now, bound: its answer in the failing and in the passing schedule, and how many answers it has.
        step: number of the step that it decides about, in the failing schedule.
        before: the last step that both have in common; None if there is none.
        failing, passing: what came next.
        tape: choices of the passing run, as `(task, call, label, value, bound)`.
        steps: of the passing run.
    """

    tried: int
    kept: bool
    position: int
    label: str
    task: str
    call: int
    was: int
    now: int
    bound: int
    step: int
    before: Turn | None
    failing: Turn
    passing: Turn
    tape: tuple[tuple[str, int, str, int, int], ...]
    steps: int

    @property
    def who(self) -> str:
        """Who drew the choice, in words."""
        call = f" in its call {self.call}" if self.call else ""
        return f"{self.task}{call}" if self.task != "-" else "nobody yet"

    @property
    def rest(self) -> str:
        """What became of the choices behind it, in words."""
        kept = "The other choices are the same as far as they fit"
        how = kept if self.kept else "From there on nobody is stopped"
        return f"{how}; the passing run has {self.steps} steps (found at change {self.tried})."


@attrs.frozen
class Moment:
    """Where a failure showed.

    Attributes:
        step: number of the step.
        task, call: `-` and 0 if no single task is to blame.
        event: name and fields of the event at which it was seen; empty if none.
        function: the kernel function.
    """

    step: int
    task: str
    call: int
    event: str
    function: str


@attrs.frozen(kw_only=True)
class FailureReport:
    """Everything about one failing run.

    Attributes:
        program: name of what was run; `context`: VM type, release and the like, by name.
        rule: id of what is broken; `says` and `source`: in a sentence, and where that comes from.
        summary: one line.
        verdict: one line, with rule, place and size.
        replay: the token; empty if there is none.
        replay_with: options that the replay needs beside it.
        traceback: where a user's patch raised an exception, a line each.
        known: the finding that it is, on the version that showed it; None: none that is known there.
        calls: the workload, setup first.
        tasks: names, in the order of their columns.
        steps: all of them; number n is at n - 1.
        shown: numbers of the steps that matter.
        preemptions: choices that stopped a task that could go on.
        choices: length of the tape.
        holds, waits: of every lock, over the run.
        locks: their state at the failure.
        moment: where it showed.
        nearest: the nearest passing schedule, if one was found.
        tried: how many changes of one choice were run to find it.
        not_seen: what the model does not see.
    """

    program: str
    context: tuple[tuple[str, str], ...]
    rule: str
    says: str
    source: str
    kind: str
    summary: str
    verdict: str
    replay: str
    calls: tuple[Call, ...]
    tasks: tuple[str, ...]
    steps: tuple[Step, ...]
    shown: frozenset[int]
    preemptions: int
    choices: int
    holds: tuple[Hold, ...]
    waits: tuple[Wait, ...]
    locks: tuple[LockState, ...]
    moment: Moment
    why: Why
    nearest: Nearest | None
    tried: int
    not_seen: tuple[str, ...] = NOT_SEEN
    replay_with: str = ""
    traceback: tuple[str, ...] = ()
    known: Finding | None = None

    @property
    def no_nearest(self) -> str:
        """Why there is no nearest passing schedule, in words."""
        if not self.tried:
            return "Not looked for."
        return f"None found: {self.tried} schedules that change one choice fail too."

    @property
    def command(self) -> str:
        """What replays it."""
        return f"gmemsim replay {self.replay}{self.replay_with}"

    def step(self, number: int) -> Step | None:
        """The step of that number, if there is one."""
        return self.steps[number - 1] if 1 <= number <= len(self.steps) else None
