"""Events of the engine: locks, scheduling, messages.

Lock names are labels such as `gmem0.invalidate_lock` or `gmem0.folio[3]` (the lock of the folio at index 3);
modes are `r` (shared) and `w` (exclusive).
"""

from __future__ import annotations

from typing import ClassVar

from .base import Event

__all__ = [
    "Access",
    "Contended",
    "FaultInjected",
    "Lock",
    "LockRequest",
    "Receive",
    "Send",
    "SignalSent",
    "SrcuSync",
    "Unlock",
]


class _LockEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "locks"
    lock: str
    mode: str


class LockRequest(_LockEvent, frozen=True, gc=False):
    """A task asks for a sleeping rw-lock; it does not have it yet."""

    mirrors: ClassVar[str] = "entry of down_read, down_write"


class Contended(_LockEvent, frozen=True, gc=False):
    """A task did not get the lock at once and starts to wait."""

    mirrors: ClassVar[str] = "contention_begin; io_schedule in __folio_lock"


class Lock(_LockEvent, frozen=True, gc=False):
    """A task has the lock."""

    mirrors: ClassVar[str] = "return of down_read, down_write, mutex_lock, read_lock, write_lock, folio_lock"


class Unlock(_LockEvent, frozen=True, gc=False):
    """A task gives the lock back."""

    mirrors: ClassVar[str] = "up_read, up_write, mutex_unlock, read_unlock, write_unlock, folio_unlock"


class Access(Event, frozen=True, gc=False):
    """A step of an exploring run reads (mode `r`) or changes (`w`) [lo, hi) of an object; hi -1: all from lo.

    It is what the explorer knows of the step, so two logs that have it are compared by it. An event is written where a
    function begins, before the scheduler may let others go first; the access itself comes behind that. Only logs of
    replayed schedules have it: in timed runs nobody comes in between.
    """

    mirrors: ClassVar[str] = "an access to shared state"
    family: ClassVar[str] = "schedule"
    kind: str
    obj: str
    lo: int
    hi: int
    mode: str


class SrcuSync(Event, frozen=True, gc=False):
    """A grace period ended: every read section open at its start has been left."""

    mirrors: ClassVar[str] = "return of synchronize_srcu"
    family: ClassVar[str] = "locks"
    lock: str


class Send(Event, frozen=True, gc=False):
    """An actor sends a request or a reply; `id` pairs it with the `receive` at the other end."""

    mirrors: ClassVar[str] = "call of a hook or ioctl, or return from it"
    family: ClassVar[str] = "messages"
    to: str
    id: int
    message: str
    detail: str


class Receive(Event, frozen=True, gc=False):
    """The other end of `send`. `at` is the actor that got the message."""

    mirrors: ClassVar[str] = "entry of a hook or ioctl, or return to its caller"
    family: ClassVar[str] = "messages"
    at: str
    id: int
    message: str


class FaultInjected(Event, frozen=True, gc=False):
    """A fault point fired."""

    mirrors: ClassVar[str] = "fault injection; an error the kernel could meet here"
    family: ClassVar[str] = "engine"
    point: str


class SignalSent(Event, frozen=True, gc=False):
    """A signal became pending for a task."""

    mirrors: ClassVar[str] = "signal_pending becomes true"
    family: ClassVar[str] = "engine"
    target: str
