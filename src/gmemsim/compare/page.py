"""The comparison as one page of HTML: nothing is loaded from anywhere, light and dark, fit for printing."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files
from itertools import groupby
from string import Template
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .diff import Diff
    from .divergence import Lane
    from .rows import Row

_TAG = re.compile("<[^>]*>")


def page(document: dict[str, Any], found: Diff, context: Sequence[str], verdict: str, limits: str) -> str:
    """The whole file.

    Args:
        document: the comparison as JSON has it: names of the sides, locks, header.
        context: what is compared, a line each.
        verdict: the answer in a sentence.
        limits: what the figures are not.
    """
    left, right = escape(str(document["left"])), escape(str(document["right"]))
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=f"{left} and {right}",
        heading=f'<span class="left">{left}</span> and <span class="right">{right}</span>',
        summary=_summary(context, verdict, found),
        changes=_changes(found.changes, left, right),
        lanes=_lanes(found, left, right),
        outcomes=_outcomes(document["outcomes"], left, right),
        locks=_locks(document["locks"], left, right),
        events=_events(found, left, right),
        limits=escape(limits),
    )


def _summary(context: Sequence[str], verdict: str, found: Diff) -> str:
    lines = [f"<li>{escape(line)}</li>" for line in context]
    if found.noise:
        lines.append(
            f"<li>{found.noise} more behaviours differ as much between two halves of one side: noise</li>"
        )
    return f"<p><strong>{escape(verdict)}</strong></p><ul>{''.join(lines)}</ul>"


def _table(head: Iterable[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """`head`: text and class of each column; cells are HTML."""
    columns = list(head)
    top = "".join(f'<th class="{kind}">{text}</th>' for text, kind in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}" data-name="{_TAG.sub(" ", text)}">{cell and f"<span>{cell}</span>"}</td>'
            for cell, (text, kind) in zip(row, columns, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    # Where the page is narrow a row becomes a block, each cell behind the name of its column.
    return f'<table class="rows"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def _changes(rows: Sequence[Row], left: str, right: str) -> str:
    if not rows:
        return ""
    head = (("", "number"), ("in", ""), ("what", ""), (left, "left"), (right, "right"), ("kernel function", ""),
            ("responsible", ""), ("shown by", ""))  # fmt: skip
    cells = (
        (
            str(number),
            _code(row.operation),
            escape(row.text) + ("" if row.certain else ' <span class="soft">(in some runs)</span>'),
            escape(row.left),
            escape(row.right),
            _code(row.function),
            "<br>".join(
                _code(method, side)
                for side, method in (("left", row.left_method), ("right", row.right_method))
                if method
            ),
            f"<code>{escape(_short(row.shown_by))}</code>",
        )
        for number, row in enumerate(rows, 1)
    )
    return "<h2>Differences, the most telling first</h2>" + _table(head, cells)


def _short(text: str, most: int = 40) -> str:
    """The beginning of a token; JSON has all of it."""
    return text if len(text) <= most else text[:most] + "…"


def _lanes(found: Diff, left: str, right: str) -> str:
    at = found.first_divergence
    if at is None or not found.lanes:
        return ""
    sides = "".join(
        f'<div class="lanes"><h3 class="{side}">{name}</h3>{_lane(lanes, at.index)}</div>'
        for side, name, lanes in zip(("left", "right"), (left, right), found.lanes, strict=True)
    )
    return f'<h2>First divergence, at step {at.index}</h2><div class="pair">{sides}</div>'


def _lane(lanes: Sequence[Lane], at: int) -> str:
    """A column for each task, a row for each step; the first from the divergence on is marked."""
    actors = list(dict.fromkeys(lane.actor for lane in lanes))
    first = next((lane.index for lane in lanes if lane.index >= at), -1)
    top = "".join(f"<th>{escape(actor)}</th>" for actor in actors)
    body = "".join(
        f'<tr class="{"at" if alike[0].index == first else ""}"><td>{_numbers(alike)}</td>'
        + "".join(
            f"<td>{escape(alike[0].text) + _times(alike) if actor == alike[0].actor else ''}</td>"
            for actor in actors
        )
        + "</tr>"
        for alike in _alike(lanes, first)
    )
    return f"<table><thead><tr><th>step</th>{top}</tr></thead><tbody>{body}</tbody></table>"


def _alike(lanes: Sequence[Lane], first: int) -> Iterator[list[Lane]]:
    """Steps that say the same in a row are one row; the marked one stands alone."""
    for _, run in groupby(lanes, key=lambda lane: (lane.actor, lane.text, lane.index == first)):
        yield list(run)


def _numbers(alike: Sequence[Lane]) -> str:
    return str(alike[0].index) + (f" to {alike[-1].index}" if len(alike) > 1 else "")


def _times(alike: Sequence[Lane]) -> str:
    return f' <span class="soft">{len(alike)} times</span>' if len(alike) > 1 else ""


def _outcomes(outcomes: dict[str, Any], left: str, right: str) -> str:
    if not outcomes["left"]:
        return ""
    rows = [
        (escape(name), *(f"{outcomes[side].get(name, 0):,}" for side in ("left", "right")))
        for name in sorted({*outcomes["left"], *outcomes["right"]})
    ]
    head = (("operation and outcome", ""), (left, "number left"), (right, "number right"))
    return "<h2>Outcomes, all runs</h2>" + _table(head, rows)


def _code(text: str, kind: str = "") -> str:
    """A name of code, which may break after a dot, an underscore or a slash."""
    text = escape(text).replace("_", "_<wbr>").replace(".", ".<wbr>").replace("/", "/<wbr>")
    return f'<code class="{kind}">{text}</code>'


def _locks(locks: dict[str, Any], left: str, right: str) -> str:
    if not locks["left"]:
        return ""
    rows: list[list[str]] = []
    for name in sorted({*locks["left"], *locks["right"]}):
        for mode in ("read", "write"):
            stats = [locks[side].get(name, {}).get(mode) for side in ("left", "right")]
            if any(each and each["acquisitions"] for each in stats):
                values = [
                    "-" if each is None else f"{each[key]:,}"
                    for key in ("acquisitions", "contentions", "wait_total", "hold_total")
                    for each in stats
                ]
                rows.append([f"<code>{escape(name)}</code>", mode, *values])
    head = [("lock", ""), ("mode", "")]
    for text in ("taken", "waited", "wait, ns", "held, ns"):
        head += [(f"{text}<br>{left}", "number left"), (f"{text}<br>{right}", "number right")]
    return "<h2>Locks of the first runs, virtual time</h2>" + _table(head, rows)


def _events(found: Diff, left: str, right: str) -> str:
    rows = [
        (f"<code>{escape(name)}</code>", f"{a:,}", f"{b:,}", f"{b - a:+,}")
        for name, (a, b) in found.events.items()
        if a != b
    ]
    if not rows:
        return ""
    head = (("event", ""), (left, "number left"), (right, "number right"), ("change", "number"))
    return "<h2>Events</h2>" + _table(head, rows)
