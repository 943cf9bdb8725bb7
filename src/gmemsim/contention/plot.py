"""Throughput and tail latency over vCPUs as a picture, a row of panels a storm."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from .intervals import by_point, interval
from .storms import STORMS
from .svg import steady_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .result import Result

FORMATS = ("svg", "png", "pdf")
_STYLES = {"baseline": "o-", "v3": "s--", "tracked": "^-", "tracked-shared": "v:"}


def to_image(results: Sequence[Result], kind: str) -> bytes:
    """The picture in one of `FORMATS`; equal results give equal bytes.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    keys = list(dict.fromkeys(r.point.setting for r in results))
    with mpl.rc_context({"svg.hashsalt": "gmemsim", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(3.4 * len(keys), 5.2), layout="constrained")
        grid = figure.subplots(2, len(keys), squeeze=False)
        for column, key in enumerate(keys):
            mine = [r for r in results if r.point.setting == key]
            top, bottom = grid[0][column], grid[1][column]
            top.set_title("\n".join([", ".join(key[:2]), *key[2:]]))
            _panel(top, mine, f"{STORMS[mine[0].point.storm].unit} per virtual ms", lambda r: r.faults_per_ms)
            _panel(bottom, mine, "p99 latency, virtual µs", lambda r: r.p99 / 1000)
        grid[0][0].legend()
        out = io.BytesIO()
        metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
        figure.savefig(out, format=kind, metadata=metadata, dpi=90)
    return steady_names(out.getvalue()) if kind == "svg" else out.getvalue()


def _panel(axes: Any, results: Sequence[Result], axis: str, value: Any) -> None:
    for label in dict.fromkeys(r.point.label for r in results):
        mine = by_point(r for r in results if r.point.label == label)
        found = [interval([value(r) for r in runs]) for runs in mine.values()]
        bars = [each.half or 0.0 for each in found] if any(each.half is not None for each in found) else None
        axes.errorbar(
            [point.vcpus for point in mine],
            [each.mean for each in found],
            yerr=bars,
            fmt=_STYLES.get(label, "d-"),
            label=label,
            markersize=3,
            linewidth=1,
            capsize=2,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("vCPUs")
    axes.set_ylabel(axis)
    axes.grid(True, alpha=0.3)
