"""How a check says when it wants to run.

A subject is a class whose methods are marked with the events that they look at. For one event, all `before`
checks run first (the ledger is as it was), then all `track` methods (they bring the ledger up to date), then
all `after` checks. `at_rest` checks run when no operation is in flight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..actors.kernel import Kernel
    from ..actors.vm import Vm, World
    from ..audit.base import Event
    from ..engine.task import Task
    from .ledger import Ledger

F = TypeVar("F", bound="Callable[..., Any]")
Phase = Literal["before", "track", "after", "rest"]


class Watch(NamedTuple):
    """One mark on a method: in which phase, for which rule (empty: bookkeeping), at which events.

    `locks`, if not empty, are the kinds of lock that lock events are wanted of (see `roles`).
    """

    phase: Phase
    rule: str
    events: tuple[type[Event], ...]
    locks: frozenset[str] = frozenset()


def _mark(watch: Watch) -> Callable[[F], F]:
    def mark(function: F) -> F:
        function.__dict__.setdefault("watches", []).append(watch)
        return function

    return mark


def before(rule: str, *events: type[Event], locks: Iterable[str] = ()) -> Callable[[F], F]:
    """Check `rule` at these events, with the ledger as it was before them."""
    return _mark(Watch("before", rule, events, frozenset(locks)))


def track(*events: type[Event], locks: Iterable[str] = ()) -> Callable[[F], F]:
    """Bookkeeping at these events, whatever rules are wanted."""
    return _mark(Watch("track", "", events, frozenset(locks)))


def after(rule: str, *events: type[Event]) -> Callable[[F], F]:
    """Check `rule` at these events, with the ledger including them."""
    return _mark(Watch("after", rule, events))


def at_rest(rule: str) -> Callable[[F], F]:
    """Check `rule` when nothing is in flight; the method gets `full` (False: only what was touched)."""
    return _mark(Watch("rest", rule, ()))


def watches(cls: type) -> Iterator[tuple[str, Watch]]:
    """Marks of a subject class, in the order of definition; a function that is defined again has its last marks."""
    for owner in reversed(cls.__mro__):
        for name, member in vars(owner).items():
            if getattr(cls, name, None) is member:
                for watch in getattr(member, "watches", ()):
                    yield name, watch


class Shared(Protocol):
    """What the subjects of one run share: world, kernel and ledger, the rules that are wanted, and where to report."""

    world: World
    kernel: Kernel
    ledger: Ledger
    rules: frozenset[str]

    @property
    def alone(self) -> bool:
        """At most one operation is in flight."""

    def fail(self, rule: str, summary: str, task: Task | None, event: Event | None, **details: Any) -> None:
        """The rule is broken: ends the run."""

    def note(self, kind: str, summary: str, task: Task, **details: Any) -> None:
        """Odd, and allowed."""


class Subject:
    """Base of the check modules: what they share is the world, the kernel and the ledger."""

    #: Sentence for the reference page.
    about: ClassVar[str] = ""

    def __init__(self, oracles: Shared) -> None:
        self.oracles = oracles
        self.world: World = oracles.world
        self.kernel: Kernel = oracles.kernel
        self.ledger: Ledger = oracles.ledger
        self.fail = oracles.fail

    def vm(self, label: str) -> Vm | None:
        """The VM of that label."""
        return self.world.vms.get(label)
