"""Three operations at once on the in-place versions, into docs/triples.jsonl; goes on where it was stopped.

    python bench/triples.py [--patch P] [--arch A ...] [--schedules N] [--limit CELLS] [--seconds S] [--out FILE]

One process. A line is written whole, when its cell is done.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from gmemsim.explore.triples import explore_triple, triples

OUT = Path(__file__).parents[1] / "docs" / "triples.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patch", default="inplace")
    parser.add_argument("--arch", nargs="*", default=["snp", "tdx", "sw-protected"])
    parser.add_argument("--schedules", type=int, default=60)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    done = set()
    if options.out.exists():
        for line in options.out.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            done.add((*row["names"], row["setup"], row["patch"], row["arch"]))
    begin = time.monotonic()
    count = 0
    with options.out.open("a", encoding="utf-8") as out:
        for arch in options.arch:
            for cell in triples(options.patch, arch):
                if (*cell.names, cell.setup, cell.patch, cell.arch) in done:
                    continue
                if count == options.limit:
                    return
                if options.seconds is not None and time.monotonic() - begin > options.seconds:
                    return
                row = explore_triple(cell, schedules=options.schedules)
                out.write(json.dumps(row) + "\n")
                out.flush()
                count += 1
                for found in row["violations"]:
                    where = f"{', '.join(cell.names)}; {cell.setup}; {cell.patch}, {cell.arch}"
                    page = found["known"] or "NEW"
                    print(f"{where}: {page}: {found['rule']}: {found['summary']}", flush=True)


if __name__ == "__main__":
    main()
