"""Put the output of `gmemsim demo` into the README, so that what it shows is what the command prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- demo -->\n", "<!-- /demo -->"


def demo() -> str:
    """What `gmemsim demo` prints in a terminal of 80 columns."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "gmemsim", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    laws = next(number for number, line in enumerate(lines) if line.startswith("laws of"))
    verdict = [
        line for line in lines if "recordings are runs of the model" in line or line == "(gmemsim follow)."
    ]
    return "\n".join([*lines[:laws], "[…]", *verdict, "[…]"])


def main() -> None:
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n```text\n{demo()}\n```\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
