"""Results as one HTML page that loads nothing: pictures, and the tables of every point."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from ..audit.lock_table import format_ns
from .contended import perf_report
from .lock_stat import lock_stat
from .plot import to_image
from .storms import STORMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .result import Result

_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:.6em 0}th,td{padding:.15em .7em;text-align:right;border-bottom:1px solid #ddd}
th{border-bottom:2px solid #888}td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}
pre{overflow-x:auto;font-size:12px;background:#f6f6f6;padding:.6em}summary{cursor:pointer;margin:.3em 0}
svg{max-width:100%;height:auto}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}pre{background:#262626}svg{background:#fff}
th,td{border-color:#444}}
"""


def to_html(results: Sequence[Result]) -> str:
    """The page; equal results make equal pages.

    Raises:
        ImportError: matplotlib is not installed.
    """
    picture = to_image(results, "svg").decode()
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>gmemsim: lock contention</title>',
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
        "<h1>Lock contention on guest_memfd</h1>",
        "<p>Virtual time under the model's cost table: for orderings, ratios and scaling.</p>",
        picture[picture.index("<svg") :],
    ]
    for key in dict.fromkeys(r.point.setting for r in results):
        mine = [r for r in results if r.point.setting == key]
        parts.append(f"<h2>{escape(', '.join(key))}</h2>")
        parts.append(_summary(mine))
        parts += [_details(result) for result in mine]
    return "\n".join((*parts, "</body></html>", ""))


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _summary(mine: Sequence[Result]) -> str:
    unit = STORMS[mine[0].point.storm].unit
    headings = ("vCPUs", "version", f"{unit}/ms", "p50", "p90", "p99", "max", "waited for most")
    more = ("retries", "false retries", "hook calls", "no-op hook calls")
    rows = [
        (
            str(r.point.vcpus),
            _who(r),
            f"{r.faults_per_ms:,.1f}",
            *map(format_ns, (r.p50, r.p90, r.p99, r.longest)),
            str(r.bottleneck),
            *map(str, (r.waste.all_retries, r.waste.false_retries, r.waste.prepares, r.waste.no_ops)),
        )
        for r in mine
    ]
    return _table((*headings, *more), rows)


def _who(r: Result) -> str:
    return f"{r.point.label}, seed {r.point.seed}" if r.point.seed else r.point.label


def _details(r: Result) -> str:
    locks = _table(
        ("lock", "mode", "taken", "waited", "wait total", "wait p50", "wait p99", "wait max", "held total", "held p50",
         "held p99", "held max", "most waiters", "longest convoy", "convoy time", "overtaken by"),
        (
            (
                *name.rsplit(":", 1),
                *map(str, (found.acquisitions, found.contentions)),
                *map(format_ns, (found.wait_total, found.wait_p50, found.wait_p99, found.wait_max)),
                *map(format_ns, (found.hold_total, found.hold_p50, found.hold_p99, found.hold_max)),
                *map(str, (found.queue_max, found.convoy)),
                format_ns(found.convoy_ns),
                str(found.overtaken),
            )
            for name, found in r.locks.items()
        ),
    )  # fmt: skip
    sites = _table(
        ("lock", "function", "waits", "wait total", "wait max", "holds", "held total", "held max"),
        (
            (
                f"{site.lock}:{site.mode}",
                site.caller,
                str(site.waits),
                *map(format_ns, (site.wait_total, site.wait_max)),
                str(site.holds),
                *map(format_ns, (site.hold_total, site.hold_max)),
            )
            for site in r.sites
        ),
    )
    title = escape(f"{_who(r)}, {r.point.vcpus} vCPUs")
    field = f"<pre>{escape(perf_report(r.perf))}</pre><pre>{escape(lock_stat(r))}</pre>"
    return f"<details><summary>{title}</summary>{locks}{sites}{field}</details>"
