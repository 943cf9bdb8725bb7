"""The whole grid of `gmemsim bench contention`: every storm, background and patch, as CSV and pictures.

    python bench/contention.py DIRECTORY [--arch snp,sw-protected] [--pages 2048]

Writes ARCH.csv (all figures, with and without the lines of f_count and mmu_lock) and ARCH.svg. Virtual time: two runs
write the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gmemsim.contention.flat import to_csv
from gmemsim.contention.plot import to_image
from gmemsim.contention.point import Point
from gmemsim.contention.sweep import points, run_all


def say(number: int, point: Point) -> None:
    """Progress, for a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{number}: {point}", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--arch", default="snp,sw-protected")
    parser.add_argument("--pages", type=int, default=2048)
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    for arch in arguments.arch.split(","):
        results = []
        for lines in (False, True):
            common = Point(pages=arguments.pages, other_lines=lines)
            results += run_all(points(arches=(arch,), common=common), progress=say)
        (arguments.directory / f"{arch}.csv").write_text(to_csv(results))
        (arguments.directory / f"{arch}.svg").write_bytes(to_image(results, "svg"))


if __name__ == "__main__":
    main()
