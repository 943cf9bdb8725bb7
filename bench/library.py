"""Every library scenario on every version and VM type, into docs/library.md; goes on where it was stopped.

    python bench/library.py --state FILE [--patch P ...] [--schedules N] [--known N] [--no-write]

Exit code 1 if something showed that is not known, or if a known finding did not show.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import process_time

import attrs
import msgspec

from gmemsim.explore.findings.table import FINDINGS
from gmemsim.scenarios.catalogue import names
from gmemsim.studies.library import (
    VERSIONS,
    CellResult,
    LibraryCell,
    cells,
    explore_cell,
    missing,
    must_show,
)

OUT = Path(__file__).parents[1] / "docs" / "library.md"

HEAD = """# The library on every version

Every scenario of the library on every version as it is, and on every VM type that the scenario is for: {count} cells,
{schedules} schedules each with strategy `portfolio` ({known} where a known finding has to show), {total} in all, with
all oracles, in the scenarios' small sizes (one or two of everything). A violation that is no known finding would be a
defect of a version, or of the model. A known finding that does not show any more, on no VM type of a version that it
is of, would be an error too. The huge-page versions run the same scenarios, whose files ask for no huge pages.
pKVM, a projection, is not among the VM types.

`python bench/library.py --state FILE --schedules {schedules} --known {known}` wrote this page ({seconds} s of processor
time); `make check-long` runs the same with other numbers. No violation in these schedules says nothing of others.

| version | VM type | scenarios | schedules | violations | runs that showed a known finding |
|---|---|--:|--:|--:|---|
"""


class Row(msgspec.Struct):
    """A finished cell in the state file."""

    cell: tuple[str, str, str]
    schedules: int
    known: dict[str, int]
    unknown: dict[str, int]
    seconds: float

    def result(self) -> CellResult:
        """As `explore_cell` gave it."""
        return CellResult(LibraryCell(*self.cell), self.schedules, self.known, self.unknown, self.seconds)


def page(results: list[CellResult], schedules: int, known_schedules: int, seconds: float) -> str:
    lines = [
        HEAD.format(
            count=f"{len(results):,}",
            schedules=schedules,
            known=known_schedules,
            total=f"{sum(result.schedules for result in results):,}",
            seconds=f"{seconds:,.0f}",
        ).rstrip("\n")
    ]
    places = dict.fromkeys((result.cell.patch, result.cell.arch) for result in results)
    for patch, arch in places:
        here = [result for result in results if (result.cell.patch, result.cell.arch) == (patch, arch)]
        known: dict[str, int] = {}
        for result in here:
            for name, runs in result.known.items():
                known[name] = known.get(name, 0) + runs
        text = ", ".join(f"{name}: {runs}" for name, runs in sorted(known.items()))
        unknown = sum(sum(result.unknown.values()) for result in here)
        total = sum(result.schedules for result in here)
        lines.append(f"| {patch} | {arch} | {len(here)} | {total:,} | {unknown} | {text} |")
    lines += ["", "## Known findings", ""]
    for one in FINDINGS.values():
        here = {result.cell.scenario for result in results if one.ident in result.known}
        if here or one.library:
            lines.append(
                f"* [{one.ident}](findings/{one.ident}.md) ({one.state}): "
                f"showed in {', '.join(sorted(here)) or 'none'}; "
                f"has to show in {', '.join(one.library) or 'none'}, on {len(one.versions)} versions."
            )
    lines += ["", "## What showed and is not known", ""]
    for result in results:
        cell = result.cell
        lines += [
            f"* {cell.patch}, {cell.arch}, {cell.scenario}: {text} ({runs} runs)"
            for text, runs in result.unknown.items()
        ]
    lines += [f"* {name} did not show on {patch} in {scenario}" for name, patch, scenario in missing(results)]
    if lines[-1] == "":
        lines.append("Nothing.")
    return "\n".join([*lines, "", "## Scenarios", "", ", ".join(names()) + "."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patch", nargs="*", default=VERSIONS)
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--known", type=int, default=300, help="schedules where a known finding has to show")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--no-write", action="store_true", help="print the page only")
    options = parser.parse_args()

    def wanted(cell: LibraryCell) -> int:
        return int(options.known if must_show(cell) else options.schedules)

    done: dict[LibraryCell, CellResult] = {}
    seconds = 0.0
    if options.state.exists():
        for line in options.state.read_bytes().splitlines():
            result = msgspec.json.decode(line, type=Row).result()
            if result.schedules == wanted(result.cell):
                done[result.cell] = result
                seconds += result.seconds
    with options.state.open("ab") as state:
        for cell in cells(options.patch):
            if cell in done:
                continue
            began = process_time()
            result = attrs.evolve(explore_cell(cell, wanted(cell)), seconds=process_time() - began)
            done[cell] = result
            seconds += result.seconds
            row = Row(attrs.astuple(cell), result.schedules, result.known, result.unknown, result.seconds)
            state.write(msgspec.json.encode(row) + b"\n")
            state.flush()
            for text in result.unknown:
                print(f"{cell.patch} {cell.scenario} {cell.arch}: {text}", file=sys.stderr, flush=True)
    results = [done[cell] for cell in cells(options.patch)]
    text = page(results, options.schedules, options.known, seconds)
    if options.no_write:
        print(text)
    else:
        OUT.write_text(text, encoding="utf-8")
    sys.exit(bool(missing(results) or any(result.unknown for result in results)))


if __name__ == "__main__":
    main()
