"""The files that `gmemsim bench contention` writes: all that were asked for, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import click

from .errors import InputError
from .output_files import check_writable, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..contention.result import Result
    from ..contention.trace import TraceBook


@attrs.define
class Files:
    """Names of the files, each None if it was not asked for; `trace` is what a run has to feed then."""

    csv: Path | None = None
    parquet: Path | None = None
    plot: Path | None = None
    html: Path | None = None
    trace_path: Path | None = None
    trace: TraceBook | None = attrs.field(default=None, init=False)

    @property
    def wanted(self) -> list[Path]:
        """Those that were asked for."""
        paths = (self.csv, self.parquet, self.plot, self.html, self.trace_path)
        return [path for path in paths if path is not None]

    def check(self, inputs: Sequence[str]) -> None:
        """Refuse names and missing packages before anything is run.

        Raises:
            InputError: with what was expected.
        """
        from ..contention.plot import FORMATS
        from ..contention.trace import TraceBook

        check_writable(*self.wanted, inputs=inputs)
        if self.plot is not None and self.plot.suffix[1:] not in FORMATS:
            raise InputError(f"{self.plot}: expected a name that ends in .{', .'.join(FORMATS)}")
        for path, option, module, extra in (
            (self.parquet, "--parquet", "duckdb", "query"),
            (self.plot, "--plot", "matplotlib", "plot"),
            (self.html, "--html", "matplotlib", "plot"),
        ):
            if path is not None:
                _importable(option, module, extra)
        if self.trace_path is not None:
            self.trace = TraceBook()

    def write(self, results: Sequence[Result]) -> None:
        """All of them; every one is made before the first is written."""
        from ..contention.flat import to_csv, to_parquet
        from ..contention.html import to_html
        from ..contention.plot import to_image

        outputs: list[tuple[Path, bytes]] = []
        if self.csv is not None:
            outputs.append((self.csv, to_csv(results).encode()))
        if self.parquet is not None:
            outputs.append((self.parquet, to_parquet(results)))
        if self.plot is not None:
            outputs.append((self.plot, to_image(results, self.plot.suffix[1:])))
        if self.html is not None:
            outputs.append((self.html, to_html(results).encode()))
        if self.trace_path is not None and self.trace is not None:
            import msgspec

            outputs.append((self.trace_path, msgspec.json.encode(self.trace.document(results[0].point))))
        for path, data in outputs:
            write_whole(path, data)
        if self.trace is not None and self.trace.dropped:
            text = f"{self.trace_path}: {self.trace.dropped:,} later slices and instants are left out"
            click.echo(f"gmemsim: {text}", err=True)


def _importable(option: str, module: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise InputError(f"{option} needs {module}: pip install 'gmemsim[{extra}]'")
