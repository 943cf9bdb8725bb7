"""How many different schedules a strategy reaches: classes among 1,000 schedules of small workloads.

    python bench/classes.py [--schedules N]

v3, VM type sw-protected, `[small]` size, seed 0. In brackets the estimated chance that one more schedule is of a class
not seen yet.
"""

from __future__ import annotations

import argparse

from gmemsim.testing import check

WORKLOADS = ("punch", "conv1", "prefault")
STRATEGIES = ("random", "portfolio", "pos", "surw", "pct:3")


def table(schedules: int) -> list[str]:
    """One row a workload."""
    lines = [f"| workload | {' | '.join(STRATEGIES)} |", f"|---|{'--:|' * len(STRATEGIES)}"]
    for workload in WORKLOADS:
        cells = []
        for strategy in STRATEGIES:
            seen = check(workload, "v3", "sw-protected", strategy=strategy, schedules=schedules).coverage
            cells.append(f"{seen.distinct} ({1 - seen.seen_before:.0%})")
        lines.append(f"| `{workload}` | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--schedules", type=int, default=1_000)
    print("\n".join(table(parser.parse_args().schedules)))


if __name__ == "__main__":
    main()
