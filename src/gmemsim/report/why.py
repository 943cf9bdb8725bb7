"""Why a run failed: the two accesses that conflict, the cycle of a deadlock, the loop of a livelock, the unmet wish."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from ..explore.failure import CRASH
from ..scenarios.thread import CALLS
from .conflicts import access_of, conflicts
from .interest import Interest
from .model import Access, Edge, Moment, Why
from .words import event_text, op_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..explore.failure import Failure
    from ..explore.judges.deadlock import WaitEdge, WaitFor
    from .model import Call, Conflict, Step, Wait
    from .recording import Recording

#: Rules of runs in which nobody can go on.
STUCK: Final = frozenset({"deadlock", "lost_wakeup"})
#: How many of the last steps stand for a run without end.
_TAIL: Final = 200
#: Objects that a rule is about beside the pages that a violation names.
_ABOUT: Final = {
    "I2": (".uptodate", ".content"),
    "I3": (".uptodate", ".content"),
    "I4": (".uptodate", ".content"),
    "I5": (".uptodate", ".content"),
    "I8": (".ref",),
    "I10": (".ref",),
    "I12": (".bindings",),
    "I13": (".bindings",),
    "I15": (".seq", ".bindings"),
    "I16": (".seq",),
    "I17": (".seq",),
    "I18": (".seq",),
    "I20": (".attributes", ".spte"),
    "I24": (".attributes",),
    "I25": (".attributes", ".ref"),
    "I27": (".attributes",),
    "I28": (".attributes", ".seq"),
    "I41": (".attributes",),
    "I51": (".ref",),
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
    interest.labels.update(on for _, on, _ in failure.details.get("waits", ()))
    at = next((step for step in reversed(steps) if step.number == moment.step), None)
    if at is not None and not interest.spans and failure.rule not in {*STUCK, "step_limit"}:
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
    if failure.rule in STUCK:
        return _stuck(failure, recording)
    if failure.rule == "step_limit":
        return _livelock(recording)
    opening = _opening(failure, subject)
    if failure.rule == CRASH:
        # An exception is explained by where it was raised. Which accesses came before may be nobody's fault.
        return Why(opening)
    pairs = conflicts(recording.steps, subject.interest, passing, subject.moment.step)
    best = next((pair for pair in pairs if _worth(pair, subject)), None)
    others = tuple(pair for pair in pairs if pair is not best)[:_MORE]
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
        if "at" in failure.details:
            return f"Your code raised an exception at {failure.details['at']}."
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
    if failure.rule in STUCK:
        return Moment(last.number, "-", 0, "", "")
    mine = next((step for step in reversed(steps) if step.task == failure.task), last)
    if failure.task == "-" and failure.kind == "rest":
        return Moment(mine.number, "-", 0, "", "")
    # Behind a call, before the next: the number of a round.
    call = mine.then if mine.then % CALLS else mine.call
    return Moment(mine.number, mine.task, call, "", mine.function)


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


def _stuck(failure: Failure, recording: Recording) -> Why:
    found: WaitFor = failure.details["wait_for"]
    if not found.cycle:
        return Why(_no_cycle(found, recording))
    edges = tuple(
        _edge(recording, edge, found.cycle[position - 1]) for position, edge in enumerate(found.cycle)
    )
    words = "; ".join(_words(edge, edges[position - 1]) for position, edge in enumerate(edges))
    names = {edge.task for edge in edges}
    behind = list(dict.fromkeys(edge.task for edge in found.edges if edge.task not in names))
    rest = f" Behind the cycle wait {', '.join(behind)}." if behind else ""
    itself = "A task waits for itself" if len(edges) == 1 else f"A cycle of {len(edges)} tasks"
    return Why(f"{itself}: {words}.{rest}", cycle=edges)


def _words(edge: Edge, before: Edge) -> str:
    if edge.has == edge.wants and not before.holds:
        return f"{edge.task} is queued for {edge.wants} ({edge.mode})"
    has = "has" if before.holds else "is queued in front for"
    return f"{edge.task} {has} {edge.has} and waits for {edge.wants} ({edge.mode})"


def _no_cycle(found: WaitFor, recording: Recording) -> str:
    if found.lost:
        lost = "; ".join(f"{task} sleeps on {on}" for task, on in found.lost)
        return f"A wake-up was lost: {lost}, and nothing stands in the way."
    waits = "; ".join(f"{wait.task} waits for {wait.on}" for wait in recording.waits if not wait.until)
    over = sorted(
        {edge.behind for edge in found.edges} & {step.task for step in recording.steps if step.finished}
    )
    ended = f" {' and '.join(over)} ended without giving it back." if over else ""
    return f"No cycle: nobody is left who would wake them. {waits}.{ended}"


def _edge(recording: Recording, found: WaitEdge, before: WaitEdge) -> Edge:
    """One edge; `before` is the one whose task waits for this one's."""
    task, has = found.task, before.on
    wait = next(
        (one for one in recording.waits if (one.task, one.on, one.until) == (task, found.on, 0)), None
    )
    steps = recording.steps
    asks = _asks(steps, wait, task, found.on)
    took = None
    if before.as_holder:
        holds = (one for one in recording.holds if (one.task, one.lock, one.until) == (task, has, 0))
        hold = next(holds, None)
        if hold is not None:
            step = steps[hold.since - 1]
            what = op_text(step.op, step.primitive)
            took = Access(hold.since, task, step.then, what, hold.function, access_of(step).mirrors)
    return Edge(task, found.on, found.mode, found.behind, found.as_holder, has, took, asks)


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
    could = Counter(other for step in tail for other in step.others)
    starved = sorted(task for task, count in could.items() if count * 10 >= len(tail) * 9)
    if starved:
        rest += f" Meanwhile {' and '.join(starved)} could run and was hardly ever chosen: the schedule is unfair."
    text = f"No end in sight; the last {len(tail)} steps were {loops}.{rest}"
    return Why(text, loop=min(_ROUND, len(tail)))
