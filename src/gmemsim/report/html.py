"""A failure report as one self-contained HTML page: swim-lanes, and beside them everything that the text says.

The page loads nothing: style, script and data are in it. Without scripts every step is shown. All text is escaped;
what a scenario or a patch calls its tasks and locks cannot become markup.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .cells import lines_of, marks_of
from .page_details import details_of
from .page_parts import calls_part, head_part, locks_part, nearest_part, not_seen_part, replay_part, why_part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .model import FailureReport, Step

#: Steps that a page holds beside those that matter: the last ones.
ROWS: Final = 250
#: Colours of locks, and tracks of bars in a lane.
_COLOURS: Final = 8
_TRACKS: Final = 6
_BADGES: Final = {
    "!": ("m1", "failure"),
    "*": ("m2", "reason"),
    "?": ("m3", "choice"),
    "<": ("m4", "preempts"),
}
_KINDS: Final = {
    "lock": "locks",
    "fault": "vCPU fault",
    "gmem": "guest_memfd",
    "cache": "page cache",
    "mmu": "MMU invalidation",
    "attr": "attributes, conversion",
    "arch": "arch",
    "host": "host",
    "engine": "engine",
    "other": "other",
}


def render_html(report: FailureReport) -> str:
    """The page. Equal reports make equal pages."""
    rows = _rows(report)
    body = "\n".join(
        (
            *head_part(report),
            *_lanes(report, rows),
            *why_part(report),
            *calls_part(report),
            *locks_part(report),
            *nearest_part(report),
            *replay_part(report),
            *not_seen_part(report),
        )
    )
    count = max(len(report.tasks), 1)
    # From this width on, in pixels, there is room for the details beside the lanes.
    side = 83 + 224 * count + 430
    data = {str(step.number): details_of(report, step) for step in rows}
    template = Template((files(__package__) / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"{report.rule}: {report.program}"),
        count=str(count),
        side=str(side),
        side_less=str(side - 1),
        body=body,
        data=_json(data),
    )


def _json(data: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    text = msgspec.json.encode(data).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _rows(report: FailureReport) -> list[Step]:
    last = len(report.steps) - ROWS
    linked = {access.step for pair in report.why.more for access in (pair.first, pair.second)}
    wanted = report.shown | linked
    return [step for step in report.steps if step.number in wanted or step.number > last]


class _Bars:
    """Which lock has which colour, and which track it has in each lane."""

    def __init__(self, report: FailureReport) -> None:
        self.report = report
        locks = list(dict.fromkeys(hold.lock for hold in report.holds))
        self.colours = {lock: number % _COLOURS for number, lock in enumerate(locks)}
        self.tracks: dict[tuple[str, str], int] = {}
        for hold in report.holds:
            if (hold.task, hold.lock) not in self.tracks:
                taken = sum(task == hold.task for task, _ in self.tracks)
                self.tracks[hold.task, hold.lock] = min(taken, _TRACKS - 1)
        self.width = max(self.tracks.values(), default=-1) + 1

    def of(self, task: str, step: int) -> str:
        """The bars of what a task has at a step, both ends of a hold included."""
        found: dict[str, str] = {}
        for hold in self.report.holds:
            if hold.task == task and hold.since <= step and (not hold.until or step <= hold.until):
                shared = " r" if hold.mode == "r" else ""
                track = self.tracks[task, hold.lock]
                found[hold.lock] = f'<i class="k{self.colours[hold.lock]} t{track}{shared}"></i>'
        return "".join(found.values())

    def asleep(self, task: str, step: int) -> bool:
        """Whether a task sleeps while another one takes the step."""
        return any(
            wait.task == task and wait.since < step and (not wait.until or step <= wait.until)
            for wait in self.report.waits
        )


def _lanes(report: FailureReport, rows: list[Step]) -> Iterator[str]:
    total = len(report.steps)
    bars = _Bars(report)
    yield "<h2>What happened</h2>"
    yield '<div class="bar">'
    yield f'<span class="soft">{len(report.shown)} of {total} steps matter; time goes down, a row a step.</span>'
    if len(rows) > len(report.shown):
        yield '<label><input type="checkbox" id="all"> show the others too</label>'
    yield "</div>"
    yield from _legend(report, rows, bars)
    yield '<div class="figure">'
    yield f'<div class="lanes" style="--tracks: {bars.width}" tabindex="0" role="region" aria-label="Swim-lanes">'
    yield "<table>"
    names = "".join(f'<th scope="col">{escape(task)}</th>' for task in report.tasks)
    yield f'<thead><tr><th scope="col">step</th>{names}</tr></thead><tbody>'
    at = 0
    known = {step.number for step in rows}
    previous = 0
    while at < len(rows):
        step = rows[at]
        missing = step.number - previous - 1
        if missing:
            yield _gap(report, f"<span>… {missing} step{_s(missing)} not on this page</span>", "")
        if step.number not in report.shown:
            count = 0
            while at + count < len(rows) and rows[at + count].number not in report.shown:
                if count and rows[at + count].number - 1 not in known:
                    break
                count += 1
            yield _gap(
                report,
                f'<button type="button">… {count} step{_s(count)}<span class="follow">: show</span></button>',
                " fold",
            )
            for hidden in rows[at : at + count]:
                yield _row(report, hidden, bars)
            at += count
        else:
            yield _row(report, step, bars)
            at += 1
        previous = rows[at - 1].number
    yield "</tbody></table></div>"
    yield '<section id="details" class="hint" aria-live="polite" aria-label="Details of the selected step"></section>'
    yield "</div>"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _gap(report: FailureReport, inner: str, more: str) -> str:
    return f'<tr class="gap{more}"><td colspan="{len(report.tasks) + 1}">{inner}</td></tr>'


def _row(report: FailureReport, step: Step, bars: _Bars) -> str:
    marks = marks_of(report, step)
    classes = [
        name
        for name, here in (
            ("minor", step.number not in report.shown),
            ("failed", "!" in marks),
            ("named", "*" in marks),
            ("chosen", "?" in marks),
        )
        if here
    ]
    badges = "".join(
        f'<span class="badge {cls}">{word}</span>' for mark, (cls, word) in _BADGES.items() if mark in marks
    )
    cells = "".join(_cell(report, step, task, bars) for task in report.tasks)
    attribute = f' class="{" ".join(classes)}"' if classes else ""
    number = step.number
    return f'<tr id="s{number}" data-n="{number}"{attribute}><td class="n"><b>{number}</b>{badges}</td>{cells}</tr>'


def _cell(report: FailureReport, step: Step, task: str, bars: _Bars) -> str:
    inner = bars.of(task, step.number)
    if task != step.task:
        return f'<td class="z">{inner}</td>' if bars.asleep(task, step.number) else f"<td>{inner}</td>"
    lines, _ = lines_of(report, step)
    text = "".join(
        f'<span class="{line.sort}{" " + line.kind if line.kind else ""}">{_breakable(line.text)}</span>'
        for line in lines
    )
    return f'<td class="act">{inner}<button type="button" class="lane">{text}</button></td>'


def _breakable(text: str) -> str:
    """The text, escaped, with places where a long name may be broken."""
    return escape(text).replace("(", "(<wbr>").replace(".", ".<wbr>")


def _legend(report: FailureReport, rows: list[Step], bars: _Bars) -> Iterator[str]:
    kinds = {line.kind for step in rows for line in lines_of(report, step)[0] if line.kind}
    yield '<div class="legend" aria-label="Legend">'
    for kind, says in _KINDS.items():
        if kind in kinds:
            yield f'<span class="{kind}"><span class="swatch" style="--c: var(--e)"></span>{says}</span>'
    yield '<span><span class="swatch z"></span>asleep</span>'
    yield "<span>○ a step that has no event</span><span>(r) shared, (w) exclusive</span>"
    yield "</div>"
    if bars.colours:
        yield '<div class="legend" aria-label="Locks held"><span>Bars are locks held:</span>'
        for lock, colour in bars.colours.items():
            yield f'<span><span class="swatch k{colour}"></span>{escape(lock)}</span>'
        if any(hold.mode == "r" for hold in report.holds):
            yield '<span><span class="swatch r" style="--c: var(--soft)"></span>dashed: shared</span>'
        yield "</div>"
