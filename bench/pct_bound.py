"""Does PCT find planted bugs of depth 1 to 4 as often as its bound says, and how do the strategies compare on them?

    python bench/pct_bound.py [--scale 1.0]

First table: runs of PCT with d set to the depth of the bug; the share of them that hit it; the bound 1/(n k^(d-1)) with
the n and k that were used; the ratio; and the Wilson interval (95 %) of the share. `above`: the whole interval is at or
above the bound. `at`: the interval holds the bound, the runs cannot tell them apart. The exit code is 1 if an interval
lies below its bound.

Second table: the median number of schedules until the bug is met, over seeds; a strategy that enumerates has no seed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from math import sqrt

from planted import PLANTED

from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.explore.strategies.pct import Pct

#: Runs of the first table, by depth, and of the second: seeds and the most schedules of one search.
RUNS = {1: 4_000, 2: 8_000, 3: 30_000, 4: 60_000}
SEEDS, MOST = 11, 5_000
SEEDED = ("portfolio", "random", "pos", "surw", "pct:2", "pct:3", "pct:4")
ENUMERATING = ("preemption:4", "delay:4", "dfs", "dpor")


def wilson(hits: int, runs: int, z: float = 1.96) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927)."""
    share = hits / runs
    centre = share + z * z / (2 * runs)
    spread = z * sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    scale = 1 + z * z / runs
    return (centre - spread) / scale, (centre + spread) / scale


def hit_rate(program: TaskProgram, depth: int, runs: int) -> tuple[int, Pct]:
    """How many of `runs` runs of PCT meet the bug, not counting the first, which only measures n and k."""
    strategy = Pct(depth, depth)
    search(program, strategy, Limits(schedules=1), keep_going=True)
    result = search(program, strategy, Limits(schedules=runs), keep_going=True, collect_outcomes=True)
    hits = sum(
        count for outcome, count in result.outcomes.items() if outcome.startswith(("crash", "deadlock"))
    )
    return hits, strategy


def to_bug(program: TaskProgram, spec: str, seed: int, most: int) -> int | None:
    """Schedules until the bug; None if there are more than `most`."""
    result = search(program, make_strategy(spec, seed), Limits(schedules=most))
    return result.schedules if result.found else None


def bound_table(scale: float) -> bool:
    """Print the first table; whether no share is below its bound."""
    print("| depth | planted bug | n | k | runs | hits | share | bound | ratio | Wilson 95 % | |")
    print("|--:|---|--:|--:|--:|--:|--:|--:|--:|---|---|")
    fine = True
    for depth, program in PLANTED:
        runs = max(100, int(RUNS[depth] * scale))
        hits, strategy = hit_rate(program, depth, runs)
        floor, share = strategy.floor, hits / runs
        low, high = wilson(hits, runs)
        verdict = "above" if low >= floor else "at" if high >= floor else "BELOW"
        fine &= high >= floor
        print(
            f"| {depth} | {program.name} | {strategy.tasks} | {strategy.choices} | {runs:,} | {hits:,} | {share:.3g} "
            f"| {floor:.3g} | {share / floor:.2f} | {low:.3g} to {high:.3g} | {verdict} |"
        )
    return fine


def median_table(scale: float) -> None:
    """Print the second table."""
    seeds = max(3, int(SEEDS * scale))
    names = (*SEEDED, *ENUMERATING)
    print(f"| depth | planted bug | {' | '.join(names)} |")
    print(f"|--:|---|{'--:|' * len(names)}")
    for depth, program in PLANTED:
        cells = []
        for spec in names:
            count = seeds if spec in SEEDED else 1
            found = [to_bug(program, spec, seed, MOST) for seed in range(count)]
            middle = statistics.median(MOST + 1 if number is None else number for number in found)
            cells.append(f"> {MOST:,}" if middle > MOST else f"{middle:,.0f}")
        print(f"| {depth} | {program.name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the numbers of runs and seeds")
    arguments = parser.parse_args()
    fine = bound_table(arguments.scale)
    print(
        f"\nMedian schedules to the bug, {max(3, int(SEEDS * arguments.scale))} seeds, at most {MOST:,} schedules:\n"
    )
    median_table(arguments.scale)
    sys.exit(not fine)
