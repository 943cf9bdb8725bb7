"""Who has which lock at the failure, since when, and who waits for it in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .model import Hold, LockState, Wait

if TYPE_CHECKING:
    from .recording import Recording


def lock_states(recording: Recording, step: int) -> tuple[LockState, ...]:
    """Every lock that is held or awaited at the end of a step, those with a queue first, then by label."""
    holders: dict[str, dict[str, Hold]] = {}
    for hold in recording.holds:
        if hold.since <= step and not 0 < hold.until <= step:
            holders.setdefault(hold.lock, {}).setdefault(hold.task, hold)
    queues: dict[str, list[Wait]] = {}
    for wait in recording.waits:
        if wait.since <= step and not 0 < wait.until <= step:
            queues.setdefault(wait.on, []).append(wait)
    ended = step == len(recording.steps)
    asleep = (task.parked_on for task in recording.engine.tasks if ended and not task.done)
    live = {on.label: on for on in asleep if on is not None}
    for label, lock in live.items():
        told = holders.setdefault(label, {})
        # What the lock itself says counts: an unlock is logged before it is done, and a reader that was granted the
        # lock has not run since.
        holders[label] = {
            name: told.get(name, Hold(label, name, "?", 0, 0, "")) for name in dict.fromkeys(lock.holders())
        }
        order = {name: position for position, name in enumerate(_queue(lock))}
        queues.setdefault(label, []).sort(key=lambda wait: order.get(wait.task, len(order)))
    states = [
        LockState(label, tuple(holders.get(label, {}).values()), tuple(queues.get(label, ())))
        for label in sorted({*holders, *queues})
    ]
    return tuple(sorted(states, key=lambda state: not state.queue))


def _queue(lock: Any) -> tuple[str, ...]:
    """Names of the waiters from the head of the queue, where the lock can tell."""
    lock = getattr(lock, "_lock", lock)  # parked on a part of it: the spinners' queue of a semaphore
    statistics = getattr(lock, "statistics", None)
    if statistics is not None:
        return tuple(statistics().waiters)
    waiters = getattr(
        getattr(lock, "cls", None), "waiters", None
    )  # of a folio lock, which has no queue of its own
    return tuple(task.name for task, _ in waiters.get(lock, ())) if isinstance(waiters, dict) else ()
