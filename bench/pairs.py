"""Every pair of operations on the versions and VM types, into docs/pairs.jsonl; goes on where it was stopped.

    python bench/pairs.py [--patch P ...] [--schedules N] [--sampled N] [--jobs N] [--out FILE]
    python docs/generate_pairs.py

A cell is searched by enumerating schedules with few preemptions first, up to --schedules of them; where that was not
all of them with at most two preemptions, --sampled more are drawn with POS. Delete the file to begin anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gmemsim.explore.pairs import Pair, explore_pair, known, pairs
from gmemsim.patches.registry import load_patch

VERSIONS = ("baseline", "v3", "mainline-7.3", "inplace", "hugepage", "hugepage-mutex")
OUT = Path(__file__).parents[1] / "docs" / "pairs.jsonl"


def cells(patches: list[str]) -> Iterator[Pair]:
    for patch in patches:
        version = load_patch(patch)
        yield from pairs(patch, in_place=version.in_place, huge=version.huge_pages)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patch", nargs="*", default=list(VERSIONS))
    parser.add_argument("--schedules", type=int, default=60)
    parser.add_argument("--sampled", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    done: set[tuple[str, ...]] = set()
    if options.out.exists():
        for line in options.out.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            done.add((row["first"], row["second"], row["patch"], row["arch"], row["setup"]))
    todo = [
        pair
        for pair in cells(options.patch)
        if (pair.first, pair.second, pair.patch, pair.arch, pair.setup) not in done
    ]
    print(f"{len(done)} cells are there, {len(todo)} to do", flush=True)
    run = partial(explore_pair, schedules=options.schedules, sampled=options.sampled)
    with (
        options.out.open("a", encoding="utf-8") as out,
        ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool,
    ):
        rows: Iterator[dict[str, Any]] = pool.map(run, todo, chunksize=4)
        for row in rows:
            out.write(json.dumps(row) + "\n")
            out.flush()
            for found in row["violations"]:
                if not known({row["first"], row["second"]}, found):
                    where = f"{row['first']} against {row['second']}, {row['patch']}, {row['arch']}, {row['setup']}"
                    print(f"{where}: {found['rule']}: {found['summary']}", flush=True)


if __name__ == "__main__":
    main()
