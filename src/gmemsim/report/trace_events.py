"""A failing run as Chrome trace events, for Perfetto (ui.perfetto.dev) and `chrome://tracing`.

There is no time in an exploring run: a step takes one microsecond, so the time axis counts steps. Step 17 is the
interval from 17 to 18 µs, and its events stand inside in their order.

Process 1 has a thread a task, with slices for calls, in them for kernel functions (from an entry event to its return),
in them for waits; audit events are instants. Process 2 has a thread for every lock and task that had it, with a slice a
hold. Arrows go from the step that woke a task to the step that the task took next. A slice that the failure cut off
ends with the run and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..audit.vocabulary import name_of, vocabulary
from .cells import outcome_of
from .words import event_text, fields_of, is_message, kind_of, op_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .model import FailureReport, Happening, Hold, Step

_TASKS: Final = 1
_LOCKS: Final = 2
_MODES: Final = {"r": "shared", "w": "exclusive", "?": "held"}

Record = dict[str, Any]


def trace_events(report: FailureReport) -> dict[str, Any]:
    """The document: `traceEvents` in order of time, and what the run was in `otherData`."""
    events = list(_names(report))
    timed = [*_tasks(report), *_holds(report), *_wakes(report), *_failure(report)]
    # Longer slices first at equal times: the viewers nest in the order of the file.
    timed.sort(key=lambda event: (event["ts"], -event.get("dur", 0)))
    return {
        "traceEvents": events + timed,
        "displayTimeUnit": "ns",
        "otherData": {
            "program": report.program,
            "verdict": report.verdict,
            "time": "one microsecond a step; exploring runs have no time of their own",
            **({"replay": report.replay} if report.replay else {}),
            **dict(report.context),
        },
    }


def _names(report: FailureReport) -> Iterator[Record]:
    def meta(pid: int, tid: int, name: str, args: dict[str, Any]) -> Record:
        return {"ph": "M", "pid": pid, "tid": tid, "name": name, "args": args}

    yield meta(_TASKS, 0, "process_name", {"name": "tasks"})
    yield meta(_TASKS, 0, "process_sort_index", {"sort_index": 1})
    for tid, task in enumerate(report.tasks, 1):
        yield meta(_TASKS, tid, "thread_name", {"name": task})
        yield meta(_TASKS, tid, "thread_sort_index", {"sort_index": tid})
    holds = _lanes(report)
    if holds:
        yield meta(_LOCKS, 0, "process_name", {"name": "locks held"})
        yield meta(_LOCKS, 0, "process_sort_index", {"sort_index": 2})
    for (lock, task), tid in holds.items():
        yield meta(_LOCKS, tid, "thread_name", {"name": f"{lock}: {task}"})
        yield meta(_LOCKS, tid, "thread_sort_index", {"sort_index": tid})


def _lanes(report: FailureReport) -> dict[tuple[str, str], int]:
    """Thread ids of locks: by lock, then in the order of the tasks."""
    keys = {(hold.lock, hold.task) for hold in report.holds}
    order = {task: position for position, task in enumerate(report.tasks)}
    return {
        key: tid for tid, key in enumerate(sorted(keys, key=lambda key: (key[0], order.get(key[1], -1))), 1)
    }


def _end(report: FailureReport) -> int:
    """The time at which the run is over."""
    return len(report.steps) + 1


class _Track:
    """Slices of one task that nest: calls, functions, waits."""

    def __init__(self, report: FailureReport, task: str) -> None:
        self.tid = report.tasks.index(task) + 1
        self.calls = {call.number: call for call in report.calls if call.task == task}
        self.open: list[Record] = []
        self.records: list[Record] = []
        self.call = 0

    def begin(self, ts: float, name: str, cat: str, args: dict[str, Any]) -> None:
        record: Record = {
            "ph": "X",
            "pid": _TASKS,
            "tid": self.tid,
            "ts": ts,
            "name": name,
            "cat": cat,
            "args": args,
        }
        self.open.append(record)
        self.records.append(record)

    def end(self, ts: float) -> None:
        record = self.open.pop()
        record["dur"] = _round(ts - record["ts"])

    def end_function(self, ts: float, entry: str, args: dict[str, Any]) -> None:
        """The function that began with `entry` returns, and with it those that never said so."""
        if any(record["args"].get("event") == entry for record in self.open):
            while self.open[-1]["args"].get("event") != entry:
                self.end(ts)
            self.open[-1]["args"]["returned"] = args
            self.end(ts)

    def switch(self, ts: float, call: int) -> None:
        """Another call of the workload begins, or none."""
        if call == self.call:
            return
        while self.open:
            self.end(ts)
        self.call = call
        found = self.calls.get(call)
        if found is not None:
            self.begin(ts, found.text, "call", {"call": call, "came to": outcome_of(found)})

    def instant(self, ts: float, name: str, cat: str, args: dict[str, Any]) -> None:
        self.records.append(
            {
                "ph": "i",
                "s": "t",
                "pid": _TASKS,
                "tid": self.tid,
                "ts": ts,
                "name": name,
                "cat": cat,
                "args": args,
            }
        )


def _tasks(report: FailureReport) -> Iterator[Record]:
    tracks = {task: _Track(report, task) for task in report.tasks}
    for step in report.steps:
        _step(tracks[step.task], step)
    end = _end(report)
    for track in tracks.values():
        while track.open:
            track.open[-1]["args"]["cut off"] = "by the end of the run"
            track.end(end)
        yield from track.records


def _step(track: _Track, step: Step) -> None:
    start, count = step.number, len(step.happenings)
    if track.open and track.open[-1]["cat"] == "wait":
        track.end(start)
    track.switch(start, step.call)
    track.instant(start, op_text(step.op, step.primitive), "step", _about(step))
    for position, happening in enumerate(step.happenings):
        ts = _round(start + (position + 1) / (count + 2))
        track.switch(ts, happening.call)
        _happening(track, happening, ts)
    # Everything ends inside the step, or goes on after it.
    late = _round(start + (count + 1) / (count + 2))
    track.switch(late, step.then)
    if step.finished:
        while track.open:
            track.end(late)
    elif step.waits_for:
        track.begin(late, f"waits for {step.waits_for}", "wait", {"on": step.waits_for})


def _about(step: Step) -> dict[str, Any]:
    about: dict[str, Any] = {"step": step.number, "in": " > ".join(step.functions)}
    if step.preempted:
        about["stopped"] = step.preempted
    if step.draws:
        about["draws"] = ", ".join(f"{label} = {value}" for label, value in step.draws)
    return about


def _happening(track: _Track, happening: Happening, ts: float) -> None:
    event = happening.event
    name = name_of(type(event))
    known = vocabulary()
    fields = fields_of(event)
    args = {"fields": fields, "mirrors": event.mirrors, "in": " > ".join(happening.functions)}
    if name.endswith("_ret") and name.removesuffix("_ret") in known:
        track.end_function(ts, name.removesuffix("_ret"), fields)
    elif f"{name}_ret" in known:
        track.begin(ts, event_text(event), "function", {"event": name, **args})
        return
    if not is_message(event):
        track.instant(ts, event_text(event), kind_of(event), args)


def _holds(report: FailureReport) -> Iterator[Record]:
    lanes = _lanes(report)
    end = _end(report)
    # A reader may hold a lock more than once; a slice lasts from the first to the last of the overlapping holds.
    merged: dict[tuple[str, str], list[Hold]] = {}
    for hold in report.holds:
        merged.setdefault((hold.lock, hold.task), []).append(hold)
    for key, holds in merged.items():
        covered = -1
        for hold in holds:
            if hold.since < covered:
                continue
            until = hold.until or end
            covered = max(until, hold.since + 1)
            # Taken and given back in one step: shown as long as the step.
            yield {
                "ph": "X",
                "pid": _LOCKS,
                "tid": lanes[key],
                "ts": hold.since,
                "dur": covered - hold.since,
                "name": f"{hold.lock} ({_MODES[hold.mode]})",
                "cat": "hold",
                "args": {"task": hold.task, "mode": hold.mode, "in": hold.function}
                | ({} if hold.until else {"cut off": "by the end of the run"}),
            }


def _wakes(report: FailureReport) -> Iterator[Record]:
    numbers = {task: tid for tid, task in enumerate(report.tasks, 1)}
    for step in report.steps:
        if not step.woken_by:
            continue
        woken = [
            wait.until for wait in report.waits if wait.task == step.task and 0 < wait.until < step.number
        ]
        if woken:
            base = {"pid": _TASKS, "name": "wakes", "cat": "wake", "id": step.number}
            yield {"ph": "s", "tid": numbers[step.woken_by], "ts": woken[-1], **base}
            yield {"ph": "f", "bp": "e", "tid": numbers[step.task], "ts": step.number, **base}


def _failure(report: FailureReport) -> Iterator[Record]:
    moment = report.moment
    tid = report.tasks.index(moment.task) + 1 if moment.task in report.tasks else 0
    yield {
        "ph": "i",
        "s": "g",
        "pid": _TASKS,
        "tid": tid,
        "ts": _round(moment.step + 0.999),
        "name": f"failure: {report.rule}",
        "cat": "failure",
        "args": {"summary": report.summary, "event": moment.event},
    }


def _round(ts: float) -> float:
    return round(ts, 4)
