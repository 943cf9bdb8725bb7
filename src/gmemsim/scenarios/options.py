"""How a session runs: strategy, recording, checking, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..actors.kernel import Kernel
    from ..actors.vm import World
    from ..engine.locks.rwsem_protocol import RwLock
    from ..engine.strategy import Strategy
    from ..engine.task import Task

Runtime = Literal["bare", "trio"]


class Found(Protocol):
    """What a checker found wrong."""

    @property
    def rule(self) -> str: ...

    @property
    def summary(self) -> str: ...


class Checker(Protocol):
    """Something that looks on while a session runs (`oracles.Oracles`)."""

    @property
    def violations(self) -> Sequence[Found]: ...

    def __call__(self, task: Task, event: Any) -> None:
        """Look at one event."""

    def begin(self, task: Task) -> None:
        """`task` starts a workload operation."""

    def end(self, task: Task) -> None:
        """`task` finished it."""

    def finish(self) -> None:
        """The run ended normally."""


@attrs.frozen(kw_only=True)
class Options:
    """How to run, as far as most callers need not care.

    Attributes:
        strategy: who answers draws; None: a timed run whose draws follow from the seed.
        exploring: whether the strategy also picks the next task at every trap; default: if there is one.
        rec: called as `rec(task, event)` for every event; those of the setup come from a task called `setup`.
        checker: makes what looks on at the measured part, from world and kernel.
        count: count events; an exploring campaign can do without.
        keep_results: keep every single operation's result.
        max_steps: raise `StepLimit` after so many resumptions.
        max_virtual_ns: raise `TimeLimit` when a timed run gets there; without it a task that retries for ever
            in one place is never interrupted.
        policy: class or name (`LOCK_POLICIES`) of the lock that takes the place of the invalidate lock.
        access_ns: guest or host time per memory access where the scenario does not say.
        until_rounds: cap on the rounds of `until` loops without one of their own; default: none in a timed
            run, 2 in an exploring one, where a loop that waits for another task need not end.
    """

    strategy: Strategy | None = None
    exploring: bool | None = None
    rec: Callable[[Task, Any], None] | None = None
    checker: Callable[[World, Kernel], Checker] | None = None
    count: bool = True
    keep_results: bool = True
    max_steps: int = 1 << 62
    max_virtual_ns: int | None = None
    policy: type[RwLock] | str | None = None
    access_ns: int = 100
    until_rounds: int | None = None
