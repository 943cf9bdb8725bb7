"""Put what commands print into the README, so that what it shows is what they say: the deadlock, and the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def main() -> None:
    text = PAGE.read_text()
    for name, make in (("deadlock", deadlock), ("litmus", litmus), ("demo", demo)):
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        head, rest = text.split(begin)
        text = f"{head}{begin}\n```text\n{make()}\n```\n\n{end}{rest.split(end)[1]}"
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
