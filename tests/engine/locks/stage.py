"""Stage: play a scene on a lock by hand, one operation, or one step, at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gmemsim.engine.engine import Engine
from gmemsim.engine.op import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gmemsim.engine.task import Task

__all__ = ["BLOCKED", "Stage"]


class _Blocked:
    def __repr__(self) -> str:
        return "BLOCKED"


#: What `Stage.do` returns when the operation has not come back.
BLOCKED: Final = _Blocked()


class _Cue:
    """What an actor waits on between two operations."""

    label = "cue"
    #: An actor between two operations is busy with something else, not asleep.
    spins = True

    def holders(self) -> Iterable[str]:
        return ()


class _Answers:
    """Strategy of a stage: draws are answered from `given`, by label; 0 if nothing is given."""

    def __init__(self) -> None:
        self.given: dict[str, int] = {}

    def begin(self, engine: Engine) -> bool:
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        raise AssertionError("a stage picks by hand")

    def draw(self, task: Task, label: str, bound: int) -> int:
        return self.given.get(label, 0)


class Stage:
    """A lock and actors that do what they are told.

    Attributes:
        answers: what draws yield, by label.
        events: every audit event, with the name of its task.
    """

    def __init__(self, make: Callable[[str], Any], **options: Any) -> None:
        strategy = _Answers()
        self.answers = strategy.given
        self.events: list[tuple[str, Any]] = []
        self.engine = Engine(strategy, rec=lambda t, event: self.events.append((t.name, event)))
        self.lock: Any = make("x", **options)
        self.actors: dict[str, Task] = {}
        self.orders: dict[str, Any] = {}
        self.results: dict[str, Any] = {}
        self._cue = _Cue()

    async def _actor(self, t: Task) -> None:
        while True:
            await t.park(self._cue, Op("wait", "cue"))
            function, arguments = self.orders.pop(t.name)
            self.results[t.name] = await function(t, *arguments)

    def task(self, who: str) -> Task:
        """The task of actor `who`, which enters the stage if it has not yet."""
        if who not in self.actors:
            task = self.engine.spawn(who, self._actor, daemon=True)
            self.actors[who] = task
            self._send(task)
        return self.actors[who]

    def start(self, who: str, operation: str, *arguments: Any) -> None:
        """Tell `who` to begin `operation` of the lock, without letting it take a step."""
        task = self.task(who)
        assert task.parked_on is self._cue, f"{who} is busy"
        self.orders[who] = getattr(self.lock, operation), arguments
        self.results.pop(who, None)
        self.engine.wake(task)

    def step(self, who: str) -> str:
        """Let `who` take one step; what it is about to do now (`kind object`), "" if it waits or is back."""
        task = self.actors[who]
        assert task.parked_on is None, f"{who} cannot run"
        self._send(task)
        return f"{task.pending.kind} {task.pending.obj}" if self._runs(task) else ""

    def until(self, who: str, what: str) -> None:
        """Let `who` take steps until it is about to do `what`."""
        task = self.actors[who]
        for _ in range(50):
            if f"{task.pending.kind} {task.pending.obj}" == what and task.parked_on is None:
                return
            self.step(who)
        raise AssertionError(f"{who} never gets to {what}")

    def go(self, who: str) -> Any:
        """Let `who` run until its operation is back (its result) or blocked (`BLOCKED`)."""
        task = self.actors[who]
        while self._runs(task):
            self._send(task)
        return BLOCKED if self.waits(who) else self.results.get(who)

    def do(self, who: str, operation: str, *arguments: Any) -> Any:
        """Begin `operation` and `go`."""
        self.start(who, operation, *arguments)
        return self.go(who)

    def waits(self, who: str) -> bool:
        """Whether `who` is parked inside an operation."""
        return self.actors[who].parked_on not in (self._cue, None)

    def mentions(self, who: str) -> list[str]:
        """The lock events of `who`, as `Name mode`."""
        return [f"{type(event).__name__} {event.mode}" for name, event in self.events if name == who]

    @staticmethod
    def _runs(task: Task) -> bool:
        return task.parked_on is None

    def close(self) -> None:
        """Send everybody home."""
        for task in self.engine.tasks:
            task.handle.close()

    def _send(self, task: Task) -> None:
        self.engine.current = task
        task.send(None)
