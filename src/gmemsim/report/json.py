"""A failure report as one JSON document: what the text says, without the wording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..audit.vocabulary import name_of
from ..engine.op import ALL
from .cells import marks_of
from .words import fields_of, op_text

if TYPE_CHECKING:
    from .model import FailureReport, Happening, Step

#: Steps that the document has beside those that matter: the last ones; `length` says how many there were.
STEPS: Final = 1_000


def as_json(report: FailureReport) -> dict[str, Any]:
    """Plain dicts, lists, strings and numbers; keys in a fixed order, so equal reports encode to equal bytes."""
    return {
        "report": "gmemsim failure",
        "schema": 1,
        "program": report.program,
        "context": dict(report.context),
        "rule": report.rule,
        "kind": report.kind,
        "says": report.says,
        "source": report.source,
        "summary": report.summary,
        "verdict": report.verdict,
        "replay": report.replay or None,
        "command": report.command if report.replay else None,
        "traceback": list(report.traceback),
        "known": None if report.known is None else report.known.ident,
        "moment": _plain(report.moment),
        "preemptions": report.preemptions,
        "choices": report.choices,
        "calls": _plain(report.calls),
        "tasks": list(report.tasks),
        "length": len(report.steps),
        "steps": [_step(report, step) for step in _kept(report)],
        "holds": _plain(report.holds),
        "waits": _plain(report.waits),
        "locks": _plain(report.locks),
        "why": _plain(report.why),
        "nearest": _plain(report.nearest),
        "tried": report.tried,
        "not_seen": list(report.not_seen),
    }


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _kept(report: FailureReport) -> list[Step]:
    """All steps; of a long run those that matter, and the last ones."""
    last = len(report.steps) - STEPS
    return [step for step in report.steps if step.number > last or step.number in report.shown]


def _step(report: FailureReport, step: Step) -> dict[str, Any]:
    op = step.op
    whole = (op.lo, op.hi) == (0, ALL)
    return {
        "step": step.number,
        "task": step.task,
        "call": step.call,
        "then": step.then,
        "matters": step.number in report.shown,
        "marks": marks_of(report, step),
        "text": op_text(op, step.primitive),
        "op": {
            "kind": op.kind,
            "object": op.obj,
            "range": None if whole else [op.lo, op.hi],
            "mode": op.mode,
        },
        "functions": list(step.functions),
        "choice": None if step.choice < 0 else step.choice,
        "others": list(step.others),
        "preempted": step.preempted or None,
        "woken_by": step.woken_by or None,
        "draws": [list(draw) for draw in step.draws],
        "waits_for": step.waits_for or None,
        "finished": step.finished,
        "events": [_event(happening) for happening in step.happenings],
    }


def _event(happening: Happening) -> dict[str, Any]:
    event = happening.event
    return {
        "event": name_of(type(event)),
        **{
            f"field_{name}" if name in {"event", "call"} else name: value
            for name, value in fields_of(event).items()
        },
        "in": list(happening.functions),
        "mirrors": event.mirrors,
        "call": happening.call,
    }
