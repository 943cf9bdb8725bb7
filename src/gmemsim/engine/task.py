"""A task: one vCPU, host thread or device, with the few calls that model code may make on it.

Model code gets its task as the argument `t` (the kernel's `current`) and suspends only through it:

* `await t.point(op)`: another task may go first. In an exploring run this yields to the strategy; in a timed
  run it is free, because the earliest task runs until it spends time or blocks.
* `await t.spend(ns)`: virtual time passes (timed runs only).
* `await t.park(on, op)`: block until `Engine.wake`.
* `await t.sleep(ns)`: a timer.

Plain code between two of them is atomic. Passing the task explicitly costs nothing; a context variable
look-up in every lock operation would cost more than the lock operation.
"""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, Any, Protocol

from .errors import ModelError
from .op import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable

    from .engine import Engine
    from .op import Mode


class Waitable(Protocol):
    """What a task can be parked on: it has a stable label and can say who stands in the way."""

    @property
    def label(self) -> str: ...

    def holders(self) -> Iterable[str]: ...


class Signal:
    """The value that an interruptible park returns when a signal woke it."""


class Task:
    """One coroutine under the engine's control. Create it with `Engine.spawn`."""

    __slots__ = (
        "call",
        "cpu",
        "daemon",
        "done",
        "engine",
        "handle",
        "held",
        "ident",
        "interruptible",
        "name",
        "on_block",
        "parked_on",
        "pending",
        "rec",
        "result",
        "send",
        "signal_pending",
        "steps",
        "traps",
        "value",
        "worker",
    )

    def __init__(
        self, engine: Engine, ident: int, name: str, coro: Coroutine[Any, Any, Any], daemon: bool
    ) -> None:
        self.engine = engine
        self.ident = ident
        self.name = name
        self.daemon = daemon
        #: Work that the kernel put off: while it is under way nothing is at rest.
        self.worker = False
        self.send = coro.send
        self.handle: Any = coro
        self.done = False
        self.result: Any = None
        self.pending = Op("start", name)
        self.parked_on: Waitable | None = None
        #: Called with this task whenever it parks: a spinner must learn that the owner it watches went to sleep.
        self.on_block: tuple[Callable[[Task], None], ...] = ()
        self.interruptible = False
        self.signal_pending = False
        self.value: Any = None
        self.steps = 0
        self.call = 0
        self.cpu = ident
        self.traps = engine.exploring
        self.held: list[tuple[Any, str]] = []
        self.rec: Callable[[Task, Any], None] | None = engine.rec

    @coroutine
    def point(self, op: Op) -> Generator[Op, None, None]:
        """Let any other task take steps before `op` happens; nothing in a timed run.

        Where it counts, callers look at `self.traps` themselves and save the call and the `Op`.
        """
        if self.traps:
            self.pending = op
            yield op

    @coroutine
    def spend(self, ns: int) -> Generator[int, None, None]:
        """Let `ns` virtual nanoseconds pass; a no-op in an exploring run."""
        engine = self.engine
        if self.traps:
            return
        if ns < 0:
            raise ModelError(f"{self.name} spends {ns} ns")
        when = engine.now + ns
        heap = engine.heap
        if heap and heap[0][0] <= when:
            yield when
        else:
            engine.now = when

    @coroutine
    def sleep(self, ns: int) -> Generator[Op | int, None, None]:
        """Sleep on a timer for `ns`; in an exploring run the timer may fire at any moment from now on."""
        if self.traps:
            op = Op("sleep", self.name)
            self.pending = op
            yield op
        elif ns < 0:
            raise ModelError(f"{self.name} sleeps for {ns} ns")
        else:
            yield self.engine.now + ns

    @coroutine
    def park(self, on: Waitable, op: Op, interruptible: bool = False) -> Generator[Op, None, Any]:
        """Block until `Engine.wake(self, value)` and return that value.

        With `interruptible`, a signal that is pending or arrives returns `Signal` instead.
        """
        if interruptible:
            self.touch_task("r")
            if self.signal_pending:
                return Signal
        self.engine.block(self, on)
        self.interruptible = interruptible
        self.pending = op
        yield op
        self.interruptible = False
        value, self.value = self.value, None
        return value

    def touch(self, op: Op) -> None:
        """Say that the step under way touches more than the op that it announced.

        Plain code between two traps is one step, and not all of it is about the object of the trap. Partial-order
        reduction needs to know the rest; nobody else does, so it is no trap. Shared state says it itself
        (`engine.observed`); by hand it is said by locks, of their own queues.
        """
        touched = self.engine.touched
        if touched is not None:
            touched.append(op)

    def touch_task(self, mode: Mode) -> None:
        """The step under way, whoever's it is, looks at or changes whether this task runs, sleeps or is signalled."""
        touched = self.engine.touched
        if touched is not None:
            touched.append(Op("load" if mode == "r" else "store", self.name, mode=mode))

    def draw(self, label: str, bound: int) -> int:
        """A choice in `range(bound)`; 0 is the default answer (no fault, no delay)."""
        return 0 if bound <= 1 else self.engine.choose(self, label, bound)

    def fault(self, label: str) -> bool:
        """Whether the fault point `label` fires now; it can only if the run allows it (`Engine.faults`)."""
        faults = self.engine.faults
        if not faults:
            return False
        if label in faults and self.engine.on_fault is not None:
            self.engine.on_fault(label)
        left = faults.get(label, 0)
        if self.engine.touched is not None and label in faults:
            self.touch(Op("load", f"fault.{label}", mode="r"))
        if left <= 0 or not self.engine.choose(self, label, 2):
            return False
        faults[label] = left - 1
        if self.engine.touched is not None:
            self.touch(Op("rmw", f"fault.{label}"))
        return True

    def might_sleep(self, what: str) -> None:
        """The step under way may sleep (an allocation with GFP_KERNEL, `copy_from_user`), even if it does not here.

        It is no trap. Whoever checks that nothing sleeps under a lock that spins is told.

        Args:
            what: the function, for the report.
        """
        told = self.engine.on_might_sleep
        if told is not None:
            told(self, what)

    def signalled(self) -> bool:
        """Whether a signal is pending (`signal_pending(current)`), by hand or by the `signal` fault point."""
        if self.traps:
            self.touch_task("r")
        if not self.signal_pending and self.fault("signal"):
            self.signal_pending = True
        return self.signal_pending

    def __repr__(self) -> str:
        return f"<Task {self.name}>"
