"""Write the figures of docs/follow.md: follow every recording, across versions, and altered ones; speed and size.

    python docs/generate_follow.py [DIRECTORY [STATE]]
    python docs/generate_follow.py --speed
    python docs/generate_follow.py --lab FOLDER KERNEL ...

Without the full set of recordings nothing is changed. STATE is a file of bench/follow_recordings.py `--state`. Speed
and size are measured when asked for only, since they are of a machine; so are recordings of the lab, in FOLDER/KERNEL.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
PAGE = HERE / "follow.md"
FIGURES = "<!-- figures -->\n", "<!-- /figures -->"
LAB = "<!-- lab -->\n", "<!-- /lab -->"
SPEED = "<!-- speed -->\n", "<!-- /speed -->"


def replace(begin: str, end: str, figures: str) -> None:
    """Put `figures` between two marks of the page."""
    text = PAGE.read_text()
    head, rest = text.split(begin)
    PAGE.write_text(f"{head}{begin}\n{figures.rstrip()}\n\n{end}{rest.split(end)[1]}")


def made_by(script: str, *arguments: str) -> str:
    """The tables that a script of bench/ writes."""
    with TemporaryDirectory() as folder:
        tables = Path(folder) / "tables.md"
        command = [sys.executable, str(HERE.parent / "bench" / script), *arguments, "--markdown", str(tables)]
        subprocess.run(command, check=True)
        return tables.read_text()


def main() -> None:
    if sys.argv[1:] == ["--speed"]:
        replace(*SPEED, made_by("follow_speed.py", "--longest", "800000"))
        return
    if sys.argv[1:2] == ["--lab"]:
        folder, *kernels = sys.argv[2:]
        asked = [word for kernel in kernels for word in ("--kernel", kernel)]
        replace(*LAB, made_by("follow_lab.py", folder, *asked, "--no-more"))
        return
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[1] / "shared" / "traces"
    if not directory.is_dir():
        print(f"{PAGE.name}: no recordings at {directory}; left as it is")
        return
    state = ["--state", sys.argv[2]] if len(sys.argv) > 2 else []
    replace(*FIGURES, made_by("follow_recordings.py", str(directory), *state).replace("## ", "### "))


if __name__ == "__main__":
    main()
