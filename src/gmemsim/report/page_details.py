"""What the page shows of a step when it is pointed at, tapped or reached by keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..audit.vocabulary import name_of
from .words import event_text, is_message, op_text

if TYPE_CHECKING:
    from .model import FailureReport, Step


def details_of(report: FailureReport, step: Step) -> dict[str, Any]:
    """A heading, and rows of term and text; rows with an empty text are left out."""
    call = next((call for call in report.calls if (call.task, call.number) == (step.task, step.call)), None)
    about = f"{step.task}: {op_text(step.op, step.primitive)}"
    rows = [
        ("call", f"{call.number}: {call.text}" if call is not None else ""),
        ("in", " > ".join(step.functions)),
        ("who else could run", ", ".join(step.others)),
        ("stopped for it", step.preempted),
        ("woken by", step.woken_by),
        ("draws", ", ".join(f"{label} = {value}" for label, value in step.draws)),
        ("sleeps on", step.waits_for),
        ("locks held", _held(report, step)),
    ]
    for happening in step.happenings:
        event = happening.event
        if is_message(event):
            continue
        function = f" in {happening.functions[-1]}" if happening.functions else ""
        mirrored = f"; mirrors {event.mirrors}" if event.mirrors else ""
        rows.append((name_of(type(event)), f"{event_text(event)}{function}{mirrored}"))
    return {"head": about, "rows": [row for row in rows if row[1]]}


def _held(report: FailureReport, step: Step) -> str:
    """What every task has after the step."""
    held: dict[str, list[str]] = {}
    for hold in report.holds:
        if hold.since <= step.number and (not hold.until or step.number < hold.until):
            held.setdefault(hold.task, []).append(f"{hold.lock} ({hold.mode})")
    return "; ".join(f"{task}: {', '.join(locks)}" for task, locks in held.items())
