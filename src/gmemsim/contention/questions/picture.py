"""Charts of a study as one SVG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ..svg import steady_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .study import Chart

_MARKS = "os^vDP*X"


def to_svg(charts: Sequence[Chart]) -> bytes:
    """A row of panels; equal charts give equal bytes.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "gmemsim", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(4.2 * len(charts), 3.4), layout="constrained")
        for axes, chart in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts, strict=True):
            for mark, (name, line) in zip(_MARKS, chart.lines.items(), strict=False):
                axes.plot(*zip(*line, strict=True), f"{mark}-", label=name, markersize=3, linewidth=1)
            axes.set_title(chart.title)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xlabel(chart.x)
            axes.set_ylabel(chart.y)
            axes.grid(True, alpha=0.3)
            axes.legend()
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return steady_names(out.getvalue())
