"""Write docs/reach.md and docs/speed.md from the benchmarks under bench/.

python docs/generate_speed.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCH = HERE.parent / "bench"
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->"


def output(script: str) -> str:
    """What a benchmark prints."""
    done = subprocess.run([sys.executable, str(BENCH / script)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write(page: str, *scripts: str) -> None:
    """Put the outputs between the markers of a page."""
    path = HERE / page
    head, rest = path.read_text().split(BEGIN)
    figures = "\n\n".join(f"`python bench/{script}`\n\n{output(script)}" for script in scripts)
    path.write_text(f"{head}{BEGIN}\n{figures}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    write("reach.md", "reach.py")
    write("speed.md", "engine_step.py", "peers.py", "fault_rate.py", "memory.py", "huge_size.py", "diff.py")
