"""The sections of the page around the swim-lanes, as HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .cells import outcome_of
from .words import MODES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .model import Access, Edge, FailureReport, Turn


def head_part(report: FailureReport) -> Iterator[str]:
    """Verdict and rule."""
    rest = escape(report.verdict.removeprefix(report.rule))
    yield f"<h1><b>{escape(report.rule)}</b>{rest}</h1>"
    if report.known is not None:
        yield (
            f"<p>This is the known finding <b>{escape(report.known.ident)}</b>: {escape(report.known.title)} "
            f"<span class='soft'>({escape(report.known.state)})</span></p>"
        )
    if report.says:
        yield f"<p>Broken: {escape(report.says)} <span class='soft'>({escape(report.source)})</span></p>"
    if report.context:
        context = ", ".join(f"{escape(name)} <b>{escape(value)}</b>" for name, value in report.context)
        yield f"<p class='soft'>{context}</p>"
    if report.traceback:
        yield f"<pre>{escape(chr(10).join(report.traceback))}</pre>"


def replay_part(report: FailureReport) -> Iterator[str]:
    """How to play it again: a long token, so behind what people read."""
    if report.replay:
        yield "<h2>Again</h2>"
        yield '<div class="replay">'
        yield f'<code id="command">{escape(report.command)}</code>'
        yield '<button type="button" class="plain" id="copy">Copy</button></div>'


def _link(step: int) -> str:
    return f'<a href="#s{step}">step {step}</a>'


def _place(access: Access) -> str:
    function = f" in <code>{escape(access.function)}</code>" if access.function else ""
    return f"{_link(access.step)}{function}: <code>{escape(access.what)}</code>"


def _by(edge: Edge) -> str:
    holder = escape(edge.holder)
    return f"which {holder} has" if edge.holds else f"for which {holder} is queued in front"


def why_part(report: FailureReport) -> Iterator[str]:
    """The reason, with links to the steps."""
    why = report.why
    yield "<h2>Why</h2>"
    text = why.text or ("" if why.more else "The steps alone do not tell; see the event at which it showed.")
    if text:
        yield f"<p>{escape(text)}</p>"
    if why.conflict is not None:
        yield "<ul>"
        for access in (why.conflict.first, why.conflict.second):
            mirrored = "; ".join(map(escape, access.mirrors))
            note = f" <span class='soft'>mirrors {mirrored}</span>" if mirrored else ""
            yield f"<li><b>{escape(access.task)}</b> at {_place(access)}{note}</li>"
        yield "</ul>"
    if why.cycle:
        yield "<ul>"
        for edge in why.cycle:
            took = (
                f" took <code>{escape(edge.has)}</code> at {_place(edge.took)};"
                if edge.took is not None
                else ""
            )
            yield (
                f"<li><b>{escape(edge.task)}</b>{took} waits for <code>{escape(edge.wants)}</code>, "
                f"{_by(edge)}, at {_place(edge.asks)}</li>"
            )
        yield "</ul>"
    if why.more:
        yield "<details><summary>Other accesses of two tasks that conflict, the last on each object</summary><ul>"
        for pair in why.more:
            turned = " (the other way round in the nearest passing schedule)" if pair.flips else ""
            yield (
                f"<li><code>{escape(pair.on)}</code>: {escape(pair.first.task)} at {_place(pair.first)}, then "
                f"{escape(pair.second.task)} at {_place(pair.second)}{turned}</li>"
            )
        yield "</ul></details>"


def calls_part(report: FailureReport) -> Iterator[str]:
    """The workload."""
    yield '<h2>Calls</h2><div class="scroll"><table class="facts"><thead><tr>'
    yield "".join(f'<th scope="col">{name}</th>' for name in ("task", "call", "what", "state"))
    yield "</tr></thead><tbody>"
    for call in report.calls:
        state = "" if call.task == "setup" else outcome_of(call)
        kind = call.state.replace(" ", "-")
        yield (
            f"<tr><td>{escape(call.task)}</td><td>{call.number or ''}</td><td><code>{escape(call.text)}</code></td>"
            f'<td class="state-{kind}">{escape(state)}</td></tr>'
        )
    yield "</tbody></table></div>"


def locks_part(report: FailureReport) -> Iterator[str]:
    """Who has what at the failure, and who waits."""
    yield "<h2>Locks at the failure</h2>"
    if not report.locks:
        yield "<p>None is held.</p>"
        return
    yield '<div class="scroll"><table class="facts"><thead><tr><th scope="col">lock</th><th scope="col">held by</th>'
    yield '<th scope="col">queue, from its head</th></tr></thead><tbody>'
    for state in report.locks:
        holders = "<br>".join(
            f"<b>{escape(hold.task)}</b> {MODES[hold.mode]}"
            + (f", since {_link(hold.since)}" if hold.since else "")
            + (f" in <code>{escape(hold.function)}</code>" if hold.function else "")
            for hold in state.holders
        )
        queue = "<br>".join(
            f"<b>{escape(wait.task)}</b> {MODES[wait.mode]}, since {_link(wait.since)}"
            + (f" in <code>{escape(wait.function)}</code>" if wait.function else "")
            for wait in state.queue
        )
        lock = f"<code>{escape(state.lock)}</code>"
        yield f"<tr><td>{lock}</td><td>{holders or 'nobody'}</td><td>{queue or 'nobody'}</td></tr>"
    yield "</tbody></table></div>"


def nearest_part(report: FailureReport) -> Iterator[str]:
    """The first choice that differs in the nearest passing schedule."""
    yield "<h2>Nearest passing schedule</h2>"
    nearest = report.nearest
    if nearest is None:
        yield f"<p>{report.no_nearest}</p>"
        return
    about = "who runs next" if nearest.label == "sched" else f"<code>{escape(nearest.label)}</code>"
    yield (
        f"<p>The first choice that differs decides about {_link(nearest.step)}: {about} after {escape(nearest.who)} "
        f"(answer {nearest.was} here, {nearest.now} there, of {nearest.bound}).</p>"
    )
    yield '<dl class="turns">'
    for name, turn in (("both", nearest.before), ("failing", nearest.failing), ("passing", nearest.passing)):
        if turn is not None:
            yield f"<dt>{name}</dt><dd>{_turn(turn)}</dd>"
    yield "</dl>"
    yield f"<p>{nearest.rest}</p>"


def _turn(turn: Turn) -> str:
    call = f" call {turn.call}" if turn.call else ""
    function = f" in <code>{escape(turn.function)}</code>" if turn.function else ""
    events = f" <span class='soft'>({escape('; '.join(turn.events))})</span>" if turn.events else ""
    return f"<b>{escape(turn.task)}</b>{call}{function}: <code>{escape(turn.what)}</code>{events}"


def not_seen_part(report: FailureReport) -> Iterator[str]:
    """What the model does not see."""
    yield "<h2>What the model does not see</h2><ul>"
    for sentence in report.not_seen:
        yield f"<li>{escape(sentence)}</li>"
    yield "</ul>"
