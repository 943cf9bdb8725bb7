"""Write the comparisons that docs/compare.md shows: docs/compare/*.html.

python docs/generate_compare.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "compare"
PAGES = {
    "baseline-v3.html": ("baseline", "v3", "--scenario", "punch", "--arch", "snp", "--small"),
    "v3-inplace.html": ("v3", "inplace", "--scenario", "conv1", "--arch", "snp", "--small"),
}


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, arguments in PAGES.items():
        command = [sys.executable, "-m", "gmemsim", "diff", *arguments, "--html", str(FOLDER / name)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 1:
            raise SystemExit(f"{' '.join(command)}: expected a difference, exit code {done.returncode}")


if __name__ == "__main__":
    main()
