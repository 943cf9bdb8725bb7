"""A failure report as text for a terminal, a log or a mail."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Final

from .cells import outcome_of
from .lanes import lanes
from .words import MODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .model import Access, Conflict, Edge, FailureReport, Hold, LockState, Turn, Wait

#: ANSI codes by sort of text.
_CODES: Final = {
    "verdict": "1;31",
    "title": "1",
    "head": "1",
    "mark": "1",
    "call": "1;36",
    "end": "36",
    "function": "2",
    "sleep": "33",
    "draw": "35",
    "dim": "2",
}


def render_text(report: FailureReport, width: int = 120, *, color: bool = False) -> str:
    """The whole report, at most `width` columns wide except where a word is longer.

    Args:
        color: ANSI colours; for terminals only.
    """

    def paint(text: str, sort: str) -> str:
        code = _CODES.get(sort, "") if color and text.strip() else ""
        return f"\033[{code}m{text}\033[0m" if code else text

    lines = list(_lines(report, max(width, 40), paint))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _lines(report: FailureReport, width: int, paint: Callable[[str, str], str]) -> Iterator[str]:
    def title(text: str) -> Iterator[str]:
        yield ""
        yield paint(text, "title")

    for line in wrap(report.verdict, width, subsequent_indent="  "):
        yield paint(line, "verdict")
    if report.says:
        yield from wrap(f"broken: {report.says} ({report.source})", width, subsequent_indent="  ")
    if report.known is not None:
        text = f"known: this is the known finding {report.known.ident}, {report.known.state}"
        yield from wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)
        yield f"  gmemsim findings {report.known.ident}"
    if report.replay:
        yield f"replay: {report.command}"
    context = ", ".join(f"{name} {value}" for name, value in report.context)
    if context:
        yield from wrap(f"run: {context}", width, subsequent_indent="  ")
    if report.traceback:
        yield from title("Raised in your file")
        for line in report.traceback:
            indent = "  " + " " * (len(line) - len(line.lstrip()))
            yield from wrap(line, width, initial_indent=indent, subsequent_indent=f"{indent}  ")
    yield from title("Calls")
    yield from _calls(report, width)
    yield from title(f"What happened ({_shown(report)})")
    yield from lanes(report, width, paint)
    yield from title("Locks at the failure")
    yield from _locks(report.locks, width)
    yield from title("Why")
    yield from _why(report, width)
    yield from title("Nearest passing schedule")
    yield from _nearest(report, width)
    yield from title("What the model does not see")
    for sentence in report.not_seen:
        yield from _item(sentence, width)


def _item(text: str, width: int, depth: int = 1) -> Iterator[str]:
    first = "  " * depth
    yield from wrap(text, width, initial_indent=first, subsequent_indent=f"{first}  ", break_on_hyphens=False)


def _shown(report: FailureReport) -> str:
    total = len(report.steps)
    return f"{len(report.shown)} of {total} steps" if len(report.shown) < total else f"all {total} steps"


def _calls(report: FailureReport, width: int) -> Iterator[str]:
    names = max((len(call.task) for call in report.calls), default=0)
    for call in report.calls:
        number = f"{call.number:>5}" if call.number else " " * 5
        state = "" if call.task == "setup" else f": {outcome_of(call)}"
        yield from _item(f"{call.task:<{names}} {number} {call.text}{state}", width)


def _locks(locks: tuple[LockState, ...], width: int) -> Iterator[str]:
    if not locks:
        yield "  none is held"
    for state in locks:
        holders = "; ".join(map(_holder, state.holders)) or "nobody"
        yield from _item(f"{state.lock}: held by {holders}", width)
        for place, wait in enumerate(state.queue, 1):
            yield from _item(f"{place}. in the queue: {_waiter(wait)}", width, 2)


def _holder(hold: Hold) -> str:
    since = f", since step {hold.since}" if hold.since else ""
    function = f" in {hold.function}" if hold.function else ""
    return f"{hold.task} ({MODES[hold.mode]}{since}{function})"


def _waiter(wait: Wait) -> str:
    function = f" in {wait.function}" if wait.function else ""
    return f"{wait.task} ({MODES[wait.mode]}, since step {wait.since}{function})"


def _why(report: FailureReport, width: int) -> Iterator[str]:
    why = report.why
    if why.text:
        yield from _item(why.text, width)
    elif not why.more:
        yield from _item("The steps alone do not tell; see the event at which it showed.", width)
    if why.conflict is not None:
        yield from _accesses(why.conflict, width)
    for edge in why.cycle:
        yield from _edge(edge, width)
    if why.more:
        yield from _item("Other accesses of two tasks that conflict, the last on each object:", width)
        for pair in why.more:
            turned = " (the other way round in the nearest passing schedule)" if pair.flips else ""
            text = f"{pair.on}: {_brief(pair.first)}, then {_brief(pair.second)}{turned}"
            yield from _item(text, width, 2)


def _accesses(pair: Conflict, width: int) -> Iterator[str]:
    for access in (pair.first, pair.second):
        for mirrored in access.mirrors:
            yield from _item(f"step {access.step} mirrors {mirrored}", width, 2)


def _edge(edge: Edge, width: int) -> Iterator[str]:
    if edge.took is not None:
        yield from _item(f"{edge.task} took {edge.has} at {_place(edge.took)}", width, 2)
    yield from _item(f"{edge.task} waits for {edge.wants}, {_by(edge)}, at {_place(edge.asks)}", width, 2)


def _brief(access: Access) -> str:
    return f"{access.task} at {_place(access)}"


def _by(edge: Edge) -> str:
    return f"which {edge.holder} has" if edge.holds else f"for which {edge.holder} is queued in front"


def _place(access: Access) -> str:
    function = f" in {access.function}" if access.function else ""
    return f"step {access.step}{function}: {access.what}"


def _nearest(report: FailureReport, width: int) -> Iterator[str]:
    nearest = report.nearest
    if nearest is None:
        yield from _item(report.no_nearest, width)
        return
    about = "who runs next" if nearest.label == "sched" else nearest.label
    yield from _item(
        f"The first choice that differs decides about step {nearest.step}: {about} after {nearest.who} (answer "
        f"{nearest.was} here, {nearest.now} there, of {nearest.bound}).",
        width,
    )
    if nearest.before is not None:
        yield from _item(f"both:    {_turn(nearest.before)}", width, 2)
    yield from _item(f"failing: {_turn(nearest.failing)}", width, 2)
    yield from _item(f"passing: {_turn(nearest.passing)}", width, 2)
    yield from _item(nearest.rest, width)


def _turn(turn: Turn) -> str:
    call = f" call {turn.call}" if turn.call else ""
    function = f" in {turn.function}" if turn.function else ""
    events = f" ({'; '.join(turn.events)})" if turn.events else ""
    return f"{turn.task}{call}{function}: {turn.what}{events}"
