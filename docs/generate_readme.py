"""Put what commands print into the README, so that what it shows is what they say, and the figures of other pages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import fill

from gmemsim.explore.findings.table import FINDINGS

PAGE = Path(__file__).parents[1] / "README.md"


def output(*arguments: str, folder: Path | None = None) -> list[str]:
    """Lines that a command prints in a terminal of 80 columns; a search that finds something ends with 1.

    Args:
        folder: where it is run; None: here.
    """
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "gmemsim", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=folder)
    if done.returncode not in {0, 1}:
        raise SystemExit(done.stderr)
    return [line.rstrip() for line in done.stdout.splitlines()]


def part(lines: list[str], title: str) -> list[str]:
    """A section of a report, from its title to the next empty line."""
    start = lines.index(title)
    return lines[start : lines.index("", start)]


def deadlock() -> str:
    """The head of the report, the locks, and why."""
    lines = output("explore", "zoo-poison_punch", "--patch", "v3")
    replay = next(number for number, line in enumerate(lines) if line.startswith("replay:"))
    sections = [part(lines, title) for title in ("Locks at the failure", "Why")]
    return "\n".join([*lines[:replay], "[…]", *sections[0], "", *sections[1], "[…]"])


def demo() -> str:
    """What `gmemsim demo` prints of the recordings, up to the laws, and its verdict on them."""
    lines = output("demo")
    first = next(number for number, line in enumerate(lines) if line.startswith("guest_memfd before"))
    laws = next(number for number, line in enumerate(lines) if line.startswith("laws of"))
    verdict = [
        line for line in lines if "recordings are runs of the model" in line or line == "(gmemsim follow)."
    ]
    return "\n".join([*lines[first:laws], "[…]", *verdict, "[…]"])


def litmus() -> str:
    """One litmus test, version by version."""
    return "\n".join(
        output("litmus", "first_fault", "--patch", "baseline", "--patch", "v3", "--patch", "inplace")
    )


def facts() -> str:
    """How many findings there are, and how many seeded bugs are found."""
    confirmed = sum(any(state.kind == "confirmed" for state in one.states) for one in FINDINGS.values())
    nobody = sum(not one.reported for one in FINDINGS.values())
    searched = [row for row in json.loads((PAGE.parent / "docs" / "zoo.json").read_text()) if row["expected"]]
    found = sum(bool(row["found"]) for row in searched)
    lines = (
        f"* {len(FINDINGS)} findings (`gmemsim findings`, `docs/findings`), {confirmed} of them confirmed on stock "
        f"kernels by the programs in `reproducers/`, and {nobody} that nobody reported as far as we know.",
        f"* Known bugs, seeded: `gmemsim zoo` finds {found} of {len(searched)} variants of shipped, reviewed "
        "and made-up bugs, each in an ordinary scenario in which the version without it is clean; the others are "
        "listed with the reason (`docs/zoo.md`).",
    )
    return "\n".join(fill(line, 118, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def main() -> None:
    text = PAGE.read_text()
    head, rest = text.split("<!-- facts -->\n")
    text = f"{head}<!-- facts -->\n\n{facts()}\n\n<!-- /facts -->{rest.split('<!-- /facts -->')[1]}"
    for name, make in (("deadlock", deadlock), ("litmus", litmus), ("demo", demo)):
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        head, rest = text.split(begin)
        text = f"{head}{begin}\n```text\n{make()}\n```\n\n{end}{rest.split(end)[1]}"
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
