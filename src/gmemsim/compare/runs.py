"""Two logs as sequences of numbers: each distinct step is kept once, and looked at once."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from ..audit.events import Access, Receive, Send
from ..audit.kvm_events import ArchInvalidate
from ..audit.vocabulary import name_of
from .footprint import frames_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..audit.base import Event

_PFN = re.compile(r"\bpfn=(0x[0-9a-f]+|\d+)")


class Step(NamedTuple):
    """A distinct step of the logs.

    Attributes:
        actor: who takes it.
        event: what happens; of messages that only differ in their number, the first.
        shape: number of what is left of it without frames and message numbers. The k-th step of a task on one side is
            the k-th of it on the other only if their shapes are equal.
        frames: first host frame and number of frames, if it names any.
        detail: the frame that the text of a message names.
        message: it has a message number.
    """

    actor: str
    event: Event
    shape: int
    frames: tuple[int, int] | None
    detail: int | None
    message: bool


class Run:
    """One side: the numbers of its steps, in order.

    Attributes:
        steps: indices into `Steps.known`.
        messages: for each message step its number, by position.
    """

    __slots__ = ("messages", "steps")

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.messages: dict[int, int] = {}


class Steps:
    """The distinct steps of all runs that are compared with each other."""

    def __init__(self) -> None:
        self.known: list[Step] = []
        self._numbers: dict[object, int] = {}
        self._shapes: dict[object, int] = {}

    def run(self, events: Iterable[tuple[str, Event]]) -> Run:
        """Number the steps of a log."""
        run = Run()
        number = self.number
        for position, (actor, event) in enumerate(events):
            if event.__class__ is Send or event.__class__ is Receive:
                run.messages[position] = event.id
            run.steps.append(number(actor, event))
        return run

    def number(self, actor: str, event: Event) -> int:
        """The number of a step; messages that differ in their number only have one."""
        if event.__class__ is Send or event.__class__ is Receive:
            key: object = (actor, *event_without_id(event))
        else:
            key = actor, event
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self._new(actor, event)
        return number

    @property
    def say_accesses(self) -> bool:
        """Whether a log said what each of its steps touches."""
        return any(isinstance(step.event, Access) for step in self.known)

    def like_each_other(self, left: Run, right: Run) -> tuple[Run, Run]:
        """Both runs with what their steps touch, or both without, if only one of them says it."""
        accesses = {number for number, step in enumerate(self.known) if isinstance(step.event, Access)}
        if not accesses or accesses.isdisjoint(left.steps) == accesses.isdisjoint(right.steps):
            return left, right
        return _without(left, accesses), _without(right, accesses)

    def as_far_as_both_go(self, left: Run, right: Run, broken_off: tuple[bool, bool]) -> tuple[Run, Run]:
        """Both runs up to where a side breaks off: of each task no more steps than that side has.

        What the rest of the other side does is no difference. A run that was cut off has with each step all that the
        step depends on, and so has what is kept here, if the two are one run.
        """
        counts = [
            {actor: len(places) for actor, places in self.by_actor(run).items()} for run in (left, right)
        ]
        return (
            self._cut(left, counts[1]) if broken_off[1] else left,
            self._cut(right, counts[0]) if broken_off[0] else right,
        )

    def _cut(self, run: Run, most: dict[str, int]) -> Run:
        """A run with the first steps of each task."""
        kept = sorted(
            place for actor, places in self.by_actor(run).items() for place in places[: most.get(actor, 0)]
        )
        found = Run()
        for position in kept:
            if position in run.messages:
                found.messages[len(found.steps)] = run.messages[position]
            found.steps.append(run.steps[position])
        return found

    def by_actor(self, run: Run) -> dict[str, list[int]]:
        """Positions of each actor's steps."""
        places: dict[str, list[int]] = {}
        adds = [places.setdefault(step.actor, []).append for step in self.known]
        for position, number in enumerate(run.steps):
            adds[number](position)
        return {actor: found for actor, found in places.items() if found}

    def events(self, run: Run) -> list[tuple[str, Event]]:
        """The log again."""
        found: list[tuple[str, Event]] = []
        for position, number in enumerate(run.steps):
            step = self.known[number]
            event = step.event
            if isinstance(event, (Send, Receive)):
                event = structs.replace(event, id=run.messages[position])
            found.append((step.actor, event))
        return found

    def counts(self, run: Run) -> dict[str, int]:
        """How often each event happens, by name."""
        found: Counter[str] = Counter()
        for number, often in Counter(run.steps).items():
            found[name_of(self.known[number].event.__class__)] += often
        return dict(found)

    def _new(self, actor: str, event: Event) -> int:
        shape = shape_of(actor, event)
        detail = _PFN.search(event.detail) if isinstance(event, Send) else None
        step = Step(
            actor,
            event,
            self._shapes.setdefault(shape, len(self._shapes)),
            frames_of(event),
            None if detail is None else int(detail[1], 0),
            isinstance(event, (Send, Receive)),
        )
        self.known.append(step)
        return len(self.known) - 1


def _without(run: Run, steps: set[int]) -> Run:
    """A run without some of its steps."""
    found = Run()
    for position, step in enumerate(run.steps):
        if step not in steps:
            if position in run.messages:
                found.messages[len(found.steps)] = run.messages[position]
            found.steps.append(step)
    return found


def event_without_id(event: Event) -> tuple[object, ...]:
    """What a message says, its number apart."""
    if isinstance(event, Send):
        return Send, event.to, event.message, event.detail
    if isinstance(event, Receive):
        return Receive, event.at, event.message
    raise TypeError(f"no message: {event}")


def shape_of(actor: str, event: Event) -> tuple[object, ...]:
    """A step without the names of frames and the numbers of messages."""
    if isinstance(event, Send):
        return actor, Send, event.to, event.message, _without_pfn(event.detail)
    if isinstance(event, Receive):
        return actor, Receive, event.at, event.message
    if isinstance(event, ArchInvalidate):
        return actor, ArchInvalidate, event.end - event.start, event.start < 0
    frames = frames_of(event)
    if isinstance(event, Access) and frames is not None:
        return actor, Access, event.kind, event.mode, frames[1]
    values = tuple(
        "frame" if name == "pfn" and frames is not None else getattr(event, name)
        for name in event.__struct_fields__
    )
    return actor, event.__class__, *values


@lru_cache(maxsize=1 << 16)
def _without_pfn(detail: str) -> str:
    return _PFN.sub("pfn", detail)
