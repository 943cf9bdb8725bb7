"""What stands in the cell of a lane: the lines of one step, and the marks in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from ..audit.events import LockRequest
from .words import event_text, is_message, kind_of, op_text

if TYPE_CHECKING:
    from .model import Call, FailureReport, Step

#: `call` begin of a call, `end` its outcome, `function` where the next lines happen, `event`, `op` a step without
#: events, `draw` a choice that was not the default, `sleep` the task goes to sleep.
Sort = Literal["call", "end", "function", "event", "op", "draw", "sleep"]

#: Sign in front of a step, and what it says.
MARKS = {
    "!": "the failure",
    "*": "an access that the reason names",
    "?": "the choice in which the nearest passing schedule differs",
    "<": "another task was stopped for this step (a preemption)",
}


@attrs.frozen
class Line:
    """One line of a cell; `kind` is the family of an event (`words.kind_of`), empty for other sorts."""

    sort: Sort
    text: str
    kind: str = ""


def lines_of(report: FailureReport, step: Step, function: str = "") -> tuple[list[Line], str]:
    """The lines of a step, and the function that the last one was in.

    Args:
        function: where the task's cell above ended; a function is named only where it changes.
    """
    calls = {(call.task, call.number): call for call in report.calls}
    lines: list[Line] = []
    current = step.call
    told = False

    def switch(to: int) -> None:
        nonlocal current, function
        if current == to:
            return
        before, after = calls.get((step.task, current)), calls.get((step.task, to))
        if before is not None:
            lines.append(Line("end", outcome_of(before)))
        if after is not None:
            lines.append(Line("call", after.text))
        current, function = to, ""

    def say(where: tuple[str, ...], line: Line) -> None:
        nonlocal function
        name = where[-1] if where else ""
        if name and name != function:
            lines.append(Line("function", name))
        function = name
        lines.append(line)

    for happening in step.happenings:
        if is_message(happening.event) or isinstance(happening.event, LockRequest):
            continue
        switch(happening.call)
        say(happening.functions, Line("event", event_text(happening.event), kind_of(happening.event)))
        told = True
    if not told and step.op.kind != "start":
        say(step.functions, Line("op", op_text(step.op, step.primitive)))
    lines += [Line("draw", f"{label} = {value}") for label, value in step.draws]
    switch(step.then)
    if step.waits_for:
        lines.append(Line("sleep", f"sleeps on {step.waits_for}"))
    if step.finished:
        lines.append(Line("end", "the task ends"))
    if not lines:
        lines.append(Line("op", op_text(step.op, step.primitive)))
    return lines, function


def outcome_of(call: Call) -> str:
    """What a call came to, in words."""
    if not call.outcome:
        return call.state
    wanted = f", expected {' or '.join(call.expect)}" if call.state == "failed" else ""
    return f"came to {call.outcome}{wanted}"


def marks_of(report: FailureReport, step: Step) -> str:
    """The signs in front of a step, a subset of `MARKS` in its order."""
    why = report.why
    named = {
        access.step
        for pair in ([why.conflict] if why.conflict else [])
        for access in (pair.first, pair.second)
    }
    for edge in why.cycle:
        named.update(access.step for access in (edge.took, edge.asks) if access is not None)
    found = {
        "!": step.number == report.moment.step,
        "*": step.number in named,
        "?": report.nearest is not None and step.number == report.nearest.step,
        "<": bool(step.preempted),
    }
    return "".join(mark for mark, here in found.items() if here)
