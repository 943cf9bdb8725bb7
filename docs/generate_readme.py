"""Put what commands print into the README, so that what it shows is what they say, and the figures of other pages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent, fill

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
    """The head of the report, the steps, and why."""
    lines = output("explore", "examples/poison_punch.toml", "--patch", "v3", folder=PAGE.parent)
    replay = next(number for number, line in enumerate(lines) if line.startswith("replay:"))
    steps = next(line for line in lines if line.startswith("What happened"))
    return "\n".join([*lines[:replay], "[…]", *part(lines, steps), "[…]", *part(lines, "Why"), "[…]"])


def patch() -> str:
    """The answer to the class that stands in the README, beside its version."""
    with TemporaryDirectory() as folder:
        code = PAGE.read_text().split("wrong on purpose:\n")[1].split("    gmemsim ")[0]
        (Path(folder) / "mine.py").write_text(dedent(code))
        lines = output(
            "explore", "punch", "--patch", "mine.py:ClearTwice", "--against", "v3", folder=Path(folder)
        )
    replay = next(number for number, line in enumerate(lines) if line.startswith("replay:"))
    answer = next(number for number, line in enumerate(lines) if line.startswith("own:"))
    return "\n".join([*lines[:replay], "[…]", *lines[answer:]])


def litmus() -> str:
    """One litmus test, version by version."""
    return "\n".join(
        output("litmus", "first_fault", "--patch", "baseline", "--patch", "v3", "--patch", "inplace")
    )


def figure(page: str, pattern: str) -> tuple[str, ...]:
    """What a page says, by a pattern with groups: pages are made from what was measured, this one only repeats them."""
    found = re.search(pattern, (PAGE.parent / "docs" / page).read_text())
    if found is None:
        raise SystemExit(f"docs/{page}: nothing like {pattern}")
    return found.groups()


def facts() -> str:
    """What was found, how much was searched, and how it was held against kernels."""
    confirmed = sum(any(state.kind == "confirmed" for state in one.states) for one in FINDINGS.values())
    nobody = sum(not one.reported for one in FINDINGS.values())
    searched = [row for row in json.loads((PAGE.parent / "docs" / "zoo.json").read_text()) if row["expected"]]
    found = sum(bool(row["found"]) for row in searched)
    kernels = len(
        set(
            re.findall(
                r"^\| (linux-[\w.-]+) \|", (PAGE.parent / "docs" / "follow.md").read_text(), re.MULTILINE
            )
        )
    )
    accepted, traces = figure("follow.md", r"(\d+) of (?:the )?(\d+)(?: recordings)? are\s+accepted")
    complete, pairs = figure("pairs.md", r"([\d,]+) of ([\d,]+) searches are complete")
    rest = (
        ""
        if accepted == traces
        else " The others should be accepted, too, and the page says where they part."
    )
    lines = (
        f"* Recordings of {kernels} real kernels are followed step by step: {accepted} of {traces} are runs of the "
        "model; altered ones are rejected, but for a few that are runs of the model, too (`docs/follow.md`)."
        + rest,
        f"* {len(FINDINGS)} findings (`gmemsim findings`, `docs/findings`), {confirmed} of them confirmed on stock "
        f"kernels (`reproducers/`, `gmemsim lab`), and {nobody} that nobody reported as far as we know.",
        f"* Known bugs, seeded: `gmemsim zoo` finds {found} of {len(searched)} variants of shipped, reviewed "
        "and made-up bugs, each in an ordinary scenario in which the version without it is clean; the others are "
        "listed with the reason (`docs/zoo.md`).",
        "* Every pair of operations on one page, on every version and VM type that has both, from each state of the "
        f"page: {complete} of {pairs} searches are complete, with nothing but known findings (`docs/pairs.md`). "
        "Triples are a sample (`docs/triples.md`).",
    )
    return "\n".join(fill(line, 118, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def main() -> None:
    text = PAGE.read_text()
    head, rest = text.split("<!-- facts -->\n")
    text = f"{head}<!-- facts -->\n\n{facts()}\n\n<!-- /facts -->{rest.split('<!-- /facts -->')[1]}"
    for name, make in (("deadlock", deadlock), ("patch", patch), ("litmus", litmus)):
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        head, rest = text.split(begin)
        text = f"{head}{begin}\n```text\n{make()}\n```\n\n{end}{rest.split(end)[1]}"
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
