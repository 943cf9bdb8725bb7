"""Which steps matter: those that a reader needs to follow how it came to the failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..audit.events import Contended, FaultInjected, Lock, LockRequest, SignalSent, Unlock
from ..audit.kvm_events import IllegalAccess
from .words import is_message, lock_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..audit.base import Event
    from .interest import Interest
    from .model import Conflict, LockState, Nearest, Step, Why

#: A run of so few steps is shown whole.
SMALL: Final = 16
#: More steps than this are not read; the middle is left out.
LARGEST: Final = 240
#: Always of note, whatever they are about.
_NOTABLE: Final = (FaultInjected, IllegalAccess, SignalSent)
_LOCKS: Final = (Contended, Lock, Unlock)


def steps_that_matter(
    steps: Sequence[Step],
    interest: Interest,
    why: Why,
    nearest: Nearest | None,
    locks: Iterable[LockState],
    failed_at: int,
) -> frozenset[int]:
    """Numbers of the steps to show.

    Kept are: begin and end of every call; where a task is stopped for another one, goes to sleep or is woken; what
    touches the pages of interest; taking and giving back of locks that are held or awaited at the end; the accesses
    that the reason names; the choice in which the passing schedule differs; the failure. Everything else is left out.
    """
    if len(steps) <= SMALL:
        return frozenset(step.number for step in steps)
    locks = tuple(locks)
    labels = {*(state.lock for state in locks), *interest.labels}
    kept = {failed_at, steps[0].number, steps[-1].number, *_named(why)}
    if nearest is not None:
        kept.add(nearest.step)
    for state in locks:
        kept.update(hold.since for hold in state.holders if hold.since)
        kept.update(wait.since for wait in state.queue)
    if why.loop:
        kept.update(step.number for step in steps[-why.loop :])
    objects = {pair.on for pair in _pairs(why)}
    for step in steps:
        if (
            step.call != step.then
            or step.finished
            or step.preempted
            or step.waits_for
            or step.woken_by
            or step.draws
            or any(_matters(happening.event, interest, labels) for happening in step.happenings)
            or (step.op.mode == "w" and lock_of(step.op) in objects)
            or (step.op.mode == "w" and interest.op(step.op) and step.op.kind in {"rmw", "store"})
        ):
            kept.add(step.number)
    named = frozenset(_named(why)) | {failed_at}
    if len(kept) > LARGEST:
        # A loop: how it began, and how it ended.
        in_order = sorted(kept)
        kept = {*in_order[: LARGEST // 2], *in_order[-LARGEST // 4 :], *named}
    # To say that one step is left out takes as much room as the step.
    kept |= {number + 1 for number in kept if number + 2 in kept}
    return frozenset(kept)


def _matters(event: Event, interest: Interest, labels: set[str]) -> bool:
    if is_message(event) or isinstance(event, LockRequest):
        return False
    if isinstance(event, _LOCKS):
        return event.lock in labels
    return isinstance(event, _NOTABLE) or interest.event(event)


def _named(why: Why) -> set[int]:
    found = {access.step for pair in _pairs(why)[:1] for access in (pair.first, pair.second)}
    for edge in why.cycle:
        found.add(edge.asks.step)
        if edge.took is not None:
            found.add(edge.took.step)
    return found


def _pairs(why: Why) -> list[Conflict]:
    return [] if why.conflict is None else [why.conflict]
