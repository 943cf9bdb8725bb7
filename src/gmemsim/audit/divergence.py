"""Where two streams of events first differ, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from .identity import Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .base import Event
    from .identity import Coder

__all__ = ["Divergence", "first_divergence"]

_CHUNK = 4096


class Divergence(msgspec.Struct, frozen=True):
    """The first step that two streams do not share.

    Attributes:
        index: number of the step, from 0.
        left, right: actor, event and fields of each side, or None where a stream is at its end.
    """

    index: int
    left: dict[str, Any] | None
    right: dict[str, Any] | None


def first_divergence(
    left: Sequence[tuple[str, Event]], right: Sequence[tuple[str, Event]], coder: Coder
) -> Divergence | None:
    """Where `left` and `right` part; None if they never do.

    Frames are compared by the order of their first appearance, messages without their numbers.
    """
    same = _shared(left, right)
    if same == len(left) == len(right):
        return None
    # One run of everything, so that frames are named once and for all, and pages stand for themselves.
    one, other = Operation(""), Operation("")
    one.index = one.gfn = other.index = other.gfn = 0
    plans = coder.plans
    for _, event in left[:same]:
        plans[event.__class__].key(event, one)
    other.frames, other.met, other.at = dict(one.frames), dict(one.met), one.at
    index = same
    for (actor, event), (partner, counterpart) in zip(left[same:], right[same:], strict=False):
        one.actor, other.actor = actor, partner
        plan = plans[event.__class__]
        if actor != partner or counterpart.__class__ is not event.__class__:
            break
        if plan.key(event, one) != plan.key(counterpart, other):
            break
        index += 1
    if index == len(left) == len(right):
        return None
    return Divergence(index, _step(left, index), _step(right, index))


def _shared(left: Sequence[tuple[str, Event]], right: Sequence[tuple[str, Event]]) -> int:
    """Length of the beginning that is equal to the last number."""
    start = 0
    shorter = min(len(left), len(right))
    while start < shorter and left[start : start + _CHUNK] == right[start : start + _CHUNK]:
        start = min(start + _CHUNK, shorter)
    while start < shorter and left[start] == right[start]:
        start += 1
    return start


def _step(events: Sequence[tuple[str, Event]], index: int) -> dict[str, Any] | None:
    if index >= len(events):
        return None
    actor, event = events[index]
    fields: dict[str, Any] = msgspec.to_builtins(event, order="deterministic")
    return {"actor": actor, **fields}
