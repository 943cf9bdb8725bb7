"""Zoo entry by zoo entry: in how many seeds of twenty each strategy finds the bug within a budget of schedules.

    python bench/shares.py [--seeds 20] [--schedules 200] [--seconds 20] [--jobs 1] [--strategies S ...] [ID ...]

The share is what a strategy is worth on that bug; the last lines add up, and say for each pair of strategies how many
entries the first finds in at least half of the seeds and the second does not. That is what a portfolio is chosen by: a
member that nobody else makes up for stays, one that finds nothing of its own does not. A search of states (`stateful`)
has no seed and is run once, until it is complete or the budget is used up.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import permutations
from multiprocessing import get_context
from typing import Any

from gmemsim.patches.zoo.entry import Bug
from gmemsim.patches.zoo.registry import BUGS
from gmemsim.studies.study import Plan
from gmemsim.studies.zoo import Zoo

STRATEGIES = ("random", "pos", "pct:2", "pct:3", "surw", "preemption:2", "portfolio", "stateful")


def share(bug_and_strategy: tuple[Bug, str], seeds: int, schedules: int, seconds: float) -> dict[str, Any]:
    """One cell: the entry in the first version and VM type that has it."""
    bug, strategy = bug_and_strategy
    # A run of a search of states is mostly cut short: it costs a tenth.
    budget = 10 * schedules if strategy == "stateful" else schedules
    plan = Plan(strategies=strategy, repetitions=seeds, schedules=budget, seconds=seconds)
    return Zoo().ask(next(Zoo().asked(bug, (), (), plan)), plan).row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ids", nargs="*")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--strategies", nargs="*", default=STRATEGIES)
    options = parser.parse_args()
    bugs = [
        bug
        for bug in BUGS.values()
        if bug.expressible and bug.rules and not bug.unfound and (not options.ids or bug.name in options.ids)
    ]
    cells = [(bug, strategy) for bug in bugs for strategy in options.strategies]
    run = partial(share, seeds=options.seeds, schedules=options.schedules, seconds=options.seconds)
    shares: dict[tuple[str, str], float] = {}
    print(f"| bug | {' | '.join(options.strategies)} |")
    print(f"|---|{'--:|' * len(options.strategies)}", flush=True)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        line: list[str] = []
        for (bug, strategy), row in zip(cells, pool.map(run, cells), strict=True):
            shares[bug.name, strategy] = row["hits"] / row["searches"]
            line.append(f"{row['hits']}/{row['searches']}")
            if len(line) == len(options.strategies):
                print(f"| {bug.name} | {' | '.join(line)} |", flush=True)
                line = []
    total = [sum(shares[bug.name, strategy] for bug in bugs) / len(bugs) for strategy in options.strategies]
    print(f"| mean share | {' | '.join(f'{mean:.2f}' for mean in total)} |\n")
    for one, other in permutations(options.strategies, 2):
        alone = [bug.name for bug in bugs if shares[bug.name, one] >= 0.5 > shares[bug.name, other]]
        if alone:
            print(f"{one} and not {other}: {len(alone)} ({', '.join(alone)})")


if __name__ == "__main__":
    main()
