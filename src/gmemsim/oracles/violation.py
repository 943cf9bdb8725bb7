"""What an oracle found: a violation that ends the run, or a note about something odd but allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from ..audit.base import Event


class Violation(Exception):
    """An invariant of the spec does not hold.

    Attributes:
        rule: id of the invariant (`I2`, `arch:TLB_STALE`).
        summary: one line for the user.
        task: name of the task whose step showed it; `-` at rest.
        call: number of the workload operation that the task was executing.
        event: the audit event at which it was seen; None at rest.
        number: how many events the oracles had seen by then, this one included.
        now: virtual time in ns.
        details: the values that the summary speaks of.
    """

    def __init__(
        self,
        rule: str,
        summary: str,
        task: str = "-",
        event: Event | None = None,
        details: dict[str, Any] | None = None,
        *,
        call: int = 0,
        number: int = 0,
        now: int = 0,
    ) -> None:
        super().__init__(f"{rule}: {summary}")
        self.rule = rule
        self.summary = summary
        self.task = task
        self.event = event
        self.details = details or {}
        self.call = call
        self.number = number
        self.now = now

    @property
    def signature(self) -> tuple[str, str]:
        """What two runs have in common that show the same violation: the rule and the kind of event."""
        return self.rule, "rest" if self.event is None else type(self.event).__name__

    def __reduce__(self) -> tuple[Any, ...]:
        """Campaigns hand violations from process to process."""
        first = (self.rule, self.summary, self.task, self.event, self.details)
        return Violation, first, {"call": self.call, "number": self.number, "now": self.now}


@attrs.frozen
class Note:
    """Something that the spec calls odd but harmless, or an access that hardware punishes softly."""

    kind: str
    summary: str
    task: str
    details: dict[str, Any] = attrs.field(factory=dict)
