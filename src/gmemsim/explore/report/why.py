"""Why a run failed: the two accesses that conflict, the cycle of a deadlock, the loop of a livelock, the unmet wish."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from ..failure import CRASH
from .conflicts import access_of, conflicts
from .interest import Interest
from .model import Access, Edge, Moment, Why
from .words import event_text, op_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..failure import Failure
    from .model import Call, Conflict, Hold, Step, Wait
    from .recording import Recording

__all__ = ["Subject", "explain", "subject_of"]

#: How many of the last steps stand for a run without end.
_TAIL: Final = 200
#: Objects that a rule is about beside the pages that a violation names.
_ABOUT: Final = {
    "I12": (".bindings",),
    "I13": (".bindings",),
    "I15": (".seq", ".bindings"),
    "I16": (".seq",),
    "I17": (".seq",),
    "I18": (".seq",),
    "I20": (".attributes", ".spte"),
    "I27": (".attributes",),
    "I28": (".attributes", ".seq"),
}
#: How many of them are shown.
_ROUND: Final = 6
#: Further pairs that a report lists.
_MORE: Final = 3


class Subject:
    """What a failure is about: the moment, the pages and locks, and the call that is to blame, if one is."""

    def __init__(self, moment: Moment, interest: Interest, call: Call | None = None) -> None:
        self.moment = moment
        self.interest = interest
        self.call = call


def subject_of(failure: Failure, recording: Recording, calls: Sequence[Call]) -> Subject:
    """Find the moment at which it showed, and what it is about."""
    steps = recording.steps
    interest = Interest(_inodes(steps), _ABOUT.get(failure.rule, ()))
    blamed: Call | None = None
    if failure.rule == "unexpected_outcome":
        blamed = next(
            (call for call in calls if failure.summary.startswith(f"{call.task} call {call.number}:")), None
        )
    moment = _moment(failure, steps, blamed)
    interest.add_values(failure.details)
    if failure.event is not None:
        interest.add_event(failure.event)
    for task, on, _ in failure.details.get("waits", ()):
        interest.labels.update((on, task))
    at = next((step for step in reversed(steps) if step.number == moment.step), None)
    if at is not None and not interest.spans and failure.rule != "deadlock":
        interest.spans.update(interest.op_spans(at.op))
    if blamed is not None:
        for step in steps:
            if step.task == blamed.task:
                for happening in step.happenings:
                    if happening.call == blamed.number:
                        interest.add_event(happening.event)
    interest.spread(happening.event for step in steps for happening in step.happenings)
    return Subject(moment, interest, blamed)


def explain(failure: Failure, subject: Subject, recording: Recording, passing: Sequence[Step] = ()) -> Why:
    """The reason, as far as the steps tell it."""
    if failure.rule == "deadlock":
        return _deadlock(failure, recording)
    if failure.rule == "step_limit":
        return _livelock(recording)
    pairs = conflicts(recording.steps, subject.interest, passing, subject.moment.step)
    best = next((pair for pair in pairs if _worth(pair, subject)), None)
    others = tuple(pair for pair in pairs if pair is not best)[:_MORE]
    opening = _opening(failure, subject)
    if best is None:
        alone = "No other task's step conflicts with what it is about: it takes no race." if not pairs else ""
        return Why(f"{opening} {alone}".strip(), None, others)
    return Why(f"{opening} {_sentence(best)}".strip(), best, others)


def _worth(pair: Conflict, subject: Subject) -> bool:
    """Whether the pair has to do with the task at which it showed, or is turned round by the passing schedule."""
    task = subject.moment.task
    return pair.flips or task in {"-", pair.first.task, pair.second.task}


def _sentence(pair: Conflict) -> str:
    turned = " In the nearest passing schedule they come the other way round." if pair.flips else ""
    return (
        f"Two accesses of {pair.on} conflict: first {_where(pair.first)}, then {_where(pair.second)}.{turned}"
    )


def _where(access: Access) -> str:
    function = f" in {access.function}" if access.function else ""
    return f"{access.task}{function} (step {access.step}, {access.what})"


def _opening(failure: Failure, subject: Subject) -> str:
    moment = subject.moment
    if subject.call is not None:
        wanted = " or ".join(subject.call.expect)
        told = f", after {moment.event}" if moment.event else ""
        return f"{subject.call.text} came to {subject.call.outcome} where {wanted} was expected{told}."
    if failure.rule == CRASH:
        function = f" in {moment.function}" if moment.function else ""
        return f"The model or the patch raised an exception{function}."
    return ""


# -- the moment --------------------------------------------------------------------------------------


def _moment(failure: Failure, steps: Sequence[Step], blamed: Call | None) -> Moment:
    if not steps:
        return Moment(0, failure.task, failure.call, "", "")
    if blamed is not None:
        return _unmet(steps, blamed)
    last = steps[-1]
    if failure.event is not None:
        for step in reversed(steps):
            for happening in reversed(step.happenings):
                if happening.event == failure.event and failure.task in {"-", step.task}:
                    function = happening.functions[-1] if happening.functions else ""
                    return Moment(step.number, step.task, happening.call, event_text(failure.event), function)
    if failure.rule == "deadlock":
        return Moment(last.number, "-", 0, "", "")
    mine = next((step for step in reversed(steps) if step.task == failure.task), last)
    if failure.task == "-" and failure.kind == "rest":
        return Moment(mine.number, "-", 0, "", "")
    return Moment(mine.number, mine.task, mine.then, "", mine.function)


def _unmet(steps: Sequence[Step], call: Call) -> Moment:
    """Where a call came to what it should not have: its last event that tells of an error, else its end."""
    end: Moment | None = None
    for step in reversed(steps):
        if step.task != call.task:
            continue
        if end is None and call.number in {step.call, step.then}:
            end = Moment(step.number, step.task, call.number, "", step.function)
        for happening in reversed(step.happenings):
            if happening.call == call.number and _is_error(happening.event):
                function = happening.functions[-1] if happening.functions else ""
                return Moment(step.number, step.task, call.number, event_text(happening.event), function)
    return end or Moment(steps[-1].number, call.task, call.number, "", "")


def _is_error(event: object) -> bool:
    ret = getattr(event, "ret", 0)
    return (isinstance(ret, int) and ret < 0) or type(event).__name__ == "Sigbus"


def _inodes(steps: Sequence[Step]) -> set[str]:
    """Labels of files' page caches: what folio locks hang on."""
    return {step.op.obj.removesuffix(".folio") for step in steps if step.op.obj.endswith(".folio")}


# -- deadlock and livelock ------------------------------------------------------------------------------


def _deadlock(failure: Failure, recording: Recording) -> Why:
    waits: list[tuple[str, str, tuple[str, ...]]] = list(failure.details.get("waits", ()))
    circle = _cycle({task: holders for task, _, holders in waits})
    if not circle:
        text = "; ".join(f"{task} waits for {on}" for task, on, _ in waits)
        return Why(f"No cycle: nobody is left who would wake them. {text}.")
    wanted = {task: on for task, on, _ in waits}
    edges = []
    for position, task in enumerate(circle):
        holder = circle[(position + 1) % len(circle)]
        has = wanted[circle[position - 1]]
        edges.append(_edge(recording, task, wanted[task], holder, has))
    words = "; ".join(
        f"{edge.task} has {edge.has} and waits for {edge.wants} ({edge.mode})" for edge in edges
    )
    behind = [task for task, _, _ in waits if task not in circle]
    rest = f" Behind the cycle wait {', '.join(behind)}." if behind else ""
    itself = "A task waits for itself" if len(circle) == 1 else f"A cycle of {len(circle)} tasks"
    return Why(f"{itself}: {words}.{rest}", cycle=tuple(edges))


def _cycle(graph: dict[str, tuple[str, ...]]) -> list[str]:
    """The first cycle of the wait-for graph, in the order of the tasks."""
    for start in graph:
        path: list[str] = []
        at: str | None = start
        while at is not None and at in graph and at not in path:
            path.append(at)
            at = next((holder for holder in graph[at] if holder in graph), None)
        if at is not None and at in path:
            return path[path.index(at) :]
    return []


def _edge(recording: Recording, task: str, wants: str, holder: str, has: str) -> Edge:
    wait: Wait | None = None
    for one in recording.waits:
        if one.task == task and one.on == wants and not one.until:
            wait = one
    hold: Hold | None = None
    for held in recording.holds:
        if held.task == task and held.lock == has and not held.until:
            hold = held
            break
    steps = recording.steps
    asks = _asks(steps, wait, task, wants)
    took = None
    if hold is not None:
        step = steps[hold.since - 1]
        took = Access(
            hold.since,
            task,
            step.then,
            op_text(step.op, step.primitive),
            hold.function,
            access_of(step).mirrors,
        )
    return Edge(task, wants, wait.mode if wait is not None else "?", holder, has, took, asks)


def _asks(steps: Sequence[Step], wait: Wait | None, task: str, wants: str) -> Access:
    if wait is None:
        return Access(len(steps), task, 0, f"waits for {wants}", "", ())
    step = steps[wait.since - 1]
    access = access_of(step)
    return Access(access.step, task, step.then, access.what, wait.function or access.function, access.mirrors)


def _livelock(recording: Recording) -> Why:
    tail = recording.steps[-_TAIL:]
    where = Counter((step.task, step.function or op_text(step.op, step.primitive)) for step in tail)
    loops = ", ".join(f"{task} in {function} ({count})" for (task, function), count in where.most_common(6))
    asleep = [f"{wait.task} for {wait.on}" for wait in recording.waits if not wait.until]
    rest = f" Meanwhile there wait: {', '.join(asleep)}." if asleep else ""
    text = f"No end in sight; the last {len(tail)} steps were {loops}.{rest}"
    return Why(text, loop=min(_ROUND, len(tail)))
