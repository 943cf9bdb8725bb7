"""Write the figures of docs/follow.md: follow every recording, across versions, and altered ones.

    python docs/generate_follow.py [DIRECTORY [STATE]]

Without the full set of recordings nothing is changed. STATE is a file of bench/follow_recordings.py `--state`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
PAGE = HERE / "follow.md"
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->"


def main() -> None:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[1] / "shared" / "traces"
    if not directory.is_dir():
        print(f"{PAGE.name}: no recordings at {directory}; left as it is")
        return
    with TemporaryDirectory() as folder:
        tables = Path(folder) / "tables.md"
        script = HERE.parent / "bench" / "follow_recordings.py"
        command = [sys.executable, str(script), str(directory), "--markdown", str(tables)]
        if len(sys.argv) > 2:
            command += ["--state", sys.argv[2]]
        subprocess.run(command, check=True)
        figures = tables.read_text().replace("## ", "### ")
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{figures.rstrip()}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
