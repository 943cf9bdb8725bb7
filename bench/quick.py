"""A complete search with the inner loops in C beside one with them in Python (`make quick`).

    make quick
    python bench/quick.py [--rounds N]

Each case in a process of its own, by turns, on the same tree; CPU seconds of the process without its start, medians of
the rounds. Both must come to the same number of states. Quote the ratios.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from statistics import median
from time import process_time

CASES = (
    ("v3", "snp", ("touch", "touch", "make slot"), "untouched"),
    ("v3", "snp", ("punch", "delete slot", "close"), "used"),
    ("inplace", "tdx", ("touch", "make slot", "close"), "untouched"),
    ("inplace", "sw-protected", ("host write", "allocate", "memory failure"), "shared"),
)


def work(number: int) -> None:
    """One case, in the process that was started for it."""
    from gmemsim.explore.state import quick
    from gmemsim.studies.matrix import cells, explore_cell

    patch, arch, names, setup = CASES[number]
    for cell in cells(patch, 3):
        if (cell.arch, tuple(cell.names), cell.setup) == (arch, names, setup):
            explore_cell(cell, states=100, schedules=0)
            began = process_time()
            states = explore_cell(cell, states=100_000, schedules=0)["states"]
            print(states, process_time() - began, int(quick.COMPILED))
            return
    raise LookupError(f"no such cell: {CASES[number]}")


def run(number: int, pure: bool) -> tuple[int, float]:
    environment = os.environ | {"GMEMSIM_PURE": "1" if pure else ""}
    command = [sys.executable, __file__, "--work", str(number)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    states, took, compiled = done.stdout.split()
    if int(compiled) == pure:
        sys.exit("nothing is compiled: make quick")
    return int(states), float(took)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        work(options.work)
        return
    print("| cell | states | Python, states/s | C, states/s | ratio |\n|---|--:|--:|--:|--:|")
    for number, (patch, arch, names, setup) in enumerate(CASES):
        plain, quick = [], []
        for _ in range(options.rounds):
            plain.append(run(number, True))
            quick.append(run(number, False))
        (states,) = {one for one, _ in plain + quick}
        slow, fast = (median(took for _, took in one) for one in (plain, quick))
        where = f"{' against '.join(names)} ({setup}; {patch}, {arch})"
        print(
            f"| {where} | {states:,} | {states / slow:,.0f} | {states / fast:,.0f} | {slow / fast:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
