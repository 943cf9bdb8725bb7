"""Where two runs first differ, step by step, under one renaming of frames and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..audit.events import Access
from ..audit.vocabulary import name_of
from .equivalence import fits
from .renaming import Renaming

if TYPE_CHECKING:
    from ..audit.base import Event
    from .runs import Run, Steps

_CHUNK = 4096
#: Steps before and after a divergence that a report shows.
_BEFORE = 16
_AFTER = 40


class Divergence(msgspec.Struct, frozen=True):
    """The first step that two runs do not share.

    Attributes:
        index: number of the step, from 0.
        left, right: actor, event and fields of each side, or None where a run is at its end.
    """

    index: int
    left: dict[str, Any] | None
    right: dict[str, Any] | None


def first_divergence(steps: Steps, left: Run, right: Run) -> Divergence | None:
    """Where `left` and `right` part; None if they never do."""
    known = steps.known
    one, two = left.steps, right.steps
    frames, messages = Renaming(), Renaming()
    done: set[tuple[int, int]] = set()
    index = 0
    shorter = min(len(one), len(two))
    if left.messages == right.messages:
        # What is equal to the last number needs no names; a comparison of lists is quicker than a loop.
        while index < shorter and one[index : index + _CHUNK] == two[index : index + _CHUNK]:
            index += _CHUNK
        index = min(index, shorter)
        for number in dict.fromkeys(one[:index]):
            fits(frames, known[number], known[number])
        for number in left.messages.values():
            messages.add(number, number)
    while index < shorter:
        pair = one[index], two[index]
        if pair not in done or index in left.messages:
            a, b = known[pair[0]], known[pair[1]]
            if a.shape != b.shape or not fits(frames, a, b):
                break
            if a.message and not messages.add(left.messages[index], right.messages[index]):
                break
            done.add(pair)
        index += 1
    if index == len(one) == len(two):
        return None
    return Divergence(index, _step(steps, left, index), _step(steps, right, index))


class Lane(msgspec.Struct, frozen=True):
    """One step near the divergence: its number, who takes it, and what it is."""

    index: int
    actor: str
    text: str


def around(steps: Steps, run: Run, index: int) -> tuple[Lane, ...]:
    """The steps of one side near step `index`, messages and accesses apart."""
    found: list[Lane] = []
    for position in range(max(index - _BEFORE, 0), min(index + _AFTER, len(run.steps))):
        step = steps.known[run.steps[position]]
        if not (step.message or isinstance(step.event, Access)):
            found.append(Lane(position, step.actor, words(step.event)))
    return tuple(found)


def words(event: Event) -> str:
    """An event with its fields, for people."""
    fields = (f"{name}={_value(getattr(event, name))}" for name in event.__struct_fields__ if name != "id")
    return " ".join((name_of(event.__class__), *fields))


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _step(steps: Steps, run: Run, index: int) -> dict[str, Any] | None:
    if index >= len(run.steps):
        return None
    step = steps.known[run.steps[index]]
    fields: dict[str, Any] = msgspec.to_builtins(step.event, order="deterministic")
    if step.message:
        fields["id"] = run.messages[index]
    return {"actor": step.actor, **fields}
