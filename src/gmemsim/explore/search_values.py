"""What a search is given and what it answers: limits, judges, observers, failures that were found, the result."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Literal, Protocol

import attrs

from .failure import Failure
from .findings.table import sort_of

if TYPE_CHECKING:
    from ..engine.tape import Tape
    from .runs import Program, Run

#: Why a search ended: something was found; the strategy has nothing left; a limit; Ctrl-C; a process was killed.
Stopped = Literal["violation", "exhausted", "schedules", "states", "seconds", "interrupted", "worker"]

#: What two runs have in common that failed in the same way.
Key = Callable[[Failure], Hashable]


@attrs.frozen(kw_only=True)
class Limits:
    """When to stop.

    Attributes:
        schedules: runs, pruned ones included; None: no limit.
        seconds: wall-clock, also within a run; None: no limit.
        states: different states, of a strategy that counts them; None: no limit.
        steps: resumptions within one run; more of them is reported as `step_limit`.
    """

    schedules: int | None = 10_000
    seconds: float | None = None
    steps: int = 20_000
    states: int | None = None


class Judge(Protocol):
    """Looks at a failure once more."""

    def __call__(self, program: Program, failure: Failure, tape: Tape, steps: int) -> Failure | None:
        """What it really is; None: nothing. `steps` is the number of resumptions in the run."""


class Observer(Protocol):
    """Something that looks at every run of a search: coverage, a lock-order graph, a log.

    A search that goes back to earlier states of one run attaches it once, and takes back what it remembers together
    with the run. It does so only if the class names, in an attribute `__kept__`, what goes on from run to run: a tuple
    of attributes, or True for all of them.
    """

    def attach(self, run: Run) -> None:
        """`run` is about to start; its tasks do not exist yet."""

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """It ended."""


@attrs.frozen
class Found:
    """A run that failed.

    Attributes:
        failure: what was wrong.
        tape: every choice of the run: replays it on the same program.
        schedule: its number in the search, from 1.
        steps: resumptions until the failure.
        without: rules that this run was not held against, beside those that the program leaves out (`past_choices`).
    """

    failure: Failure
    tape: Tape
    schedule: int
    steps: int
    without: frozenset[str] = frozenset()

    @property
    def sort(self) -> tuple[str, str, str]:
        """What kind of failure it is; see `findings.table.sort_of`."""
        return sort_of(self.failure)


@attrs.frozen(kw_only=True)
class SearchResult:
    """What a search did and found.

    Attributes:
        strategy: its name.
        schedules: runs that came to their end, pruned ones included.
        pruned: runs that the strategy cut short because they repeat others.
        steps: resumptions in all runs together.
        depth: the most draws of who goes next, faults and the like in one run.
        seconds: wall-clock.
        complete: every schedule within `bound` is covered, and no run met the step limit.
        bound: what the strategy leaves out on purpose; empty if nothing.
        stopped: why it ended.
        found: the runs that failed, the first of each kind (`findings.table.apart`), in the order in which they were
            found.
        outcomes: how often each final outcome was seen, if the search was asked to collect them.
        dismissed: failures that the judge said are none; a search with one is not complete if it was a step limit.
        states: different states that were met, if the strategy counts them.
        sampled: of `schedules`, those that were drawn after a search of states that was not complete (`campaign`).
        rules: what the runs were held against, and a complete search says that there is nothing more of.
        witnesses: for each outcome the choices of the first run that came to it.
        left_out: rules that the strategy does not preserve: what it found of them is true, that there is no more of it
            is not said.
        without: rules that nobody looked after, because the program leaves them out.
        exchanged: names of tasks that do the same; states that differ only in which of them is where count once.
        step_limits: runs that met the step limit and were no failure; a search with one is not complete.
        past: choices of locks that are broken and that the search went on past: it is of the runs in which they were
            not looked after (`past_choices`).
        cut_in: the place in a user's file where the last run was when the time was up, if it was in one.
    """

    strategy: str
    schedules: int
    pruned: int
    steps: int
    depth: int
    seconds: float
    complete: bool
    bound: str
    stopped: Stopped
    found: tuple[Found, ...]
    outcomes: dict[str, int]
    dismissed: int = 0
    states: int = 0
    sampled: int = 0
    rules: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    exchanged: tuple[tuple[str, ...], ...] = ()
    step_limits: int = 0
    past: tuple[str, ...] = ()
    cut_in: str = ""
    witnesses: dict[str, Tape] = attrs.field(factory=dict)
