"""A machine of which single operations are run, with the events that they cause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.explore.workloads import BASE, PAGE, Machine

from gmemsim.engine import bare
from gmemsim.engine.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gmemsim.audit.base import Event
    from gmemsim.engine.strategy import Strategy
    from gmemsim.engine.task import Task

__all__ = ["BASE", "PAGE", "Rig", "names", "only"]


class Rig(Machine):
    """A machine plus a way to run operations on it and look at the events."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.events: list[tuple[str, Event]] = []
        #: Called at every event, beside the list.
        self.recorders: list[Callable[[Task, Any], None]] = []
        super().__init__(*arguments, **options)

    def record(self, task: Task, event: Event) -> None:
        """The engine's `rec`."""
        self.events.append((task.name, event))
        for recorder in self.recorders:
            recorder(task, event)

    def guest(self, vcpu: int = 0, page: int = 0) -> Callable[[Task], Any]:
        """A guest load, as an operation."""
        who = self.vm.vcpus[vcpu]
        return lambda t: self.kernel.guest_access(t, who, BASE + page, None, None)

    def op(self, name: str, *arguments: Any) -> Callable[[Task], Any]:
        """A method of `Machine`, as an operation."""
        return lambda t: getattr(self, name)(t, *arguments)

    def run_all(
        self,
        *operations: Callable[[Task], Any],
        strategy: Strategy | None = None,
        faults: dict[str, int] | None = None,
        signal: bool = False,
    ) -> list[Any]:
        """Run operations side by side (or one alone); their results. `events` holds what happened."""
        self.events = []
        engine = Engine(strategy, rec=self.record, faults=faults)
        tasks = [engine.spawn(f"t{number}", operation) for number, operation in enumerate(operations)]
        for task in tasks:
            task.signal_pending = signal
        bare.run(engine)
        return [task.result for task in tasks]

    def call(
        self, operation: Callable[[Task], Any], faults: dict[str, int] | None = None, signal: bool = False
    ) -> Any:
        """Run one operation alone; fault points named in `faults` fire at the first chance."""
        strategy = None if faults is None else AlwaysFault()
        return self.run_all(operation, strategy=strategy, faults=faults, signal=signal)[0]


class AlwaysFault:
    """Runs tasks in order, and lets every fault point fire as soon as it may."""

    def begin(self, engine: Engine) -> bool:
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        return runnable[0] if current is None else current

    def draw(self, task: Task, label: str, bound: int) -> int:
        return bound - 1


def names(events: Iterable[tuple[str, Event]], *wanted: type[Event]) -> list[str]:
    """Names of the events, of the wanted types if there are any."""
    return [type(event).__name__ for _, event in events if not wanted or isinstance(event, wanted)]


def only(events: Iterable[tuple[str, Event]], *wanted: type[Event]) -> list[Any]:
    """The events of the wanted types."""
    return [event for _, event in events if isinstance(event, wanted)]
