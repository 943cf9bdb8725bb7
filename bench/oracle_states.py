"""States of a few scenarios with each oracle's memory in turn, beside those of the model alone.

    python bench/oracle_states.py [--states 60000]

The state of a search holds what the oracles remember of the past. `model` leaves all of it out; the other columns add
the ledger of the invariants, or one more oracle each to that, or all.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from gmemsim.explore.judges.linearizability import PageHistories
from gmemsim.explore.judges.races import GuardedBy
from gmemsim.explore.judges.waiting import BoundedWaiting
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.scenarios.catalogue import load_named

CASES = (
    ("hole", "v3", "snp"),
    ("prefault", "v3", None),
    ("zoo-poison_punch", "v3", None),
)
WATCHERS = {"guarded_by": GuardedBy, "bounded_waiting": BoundedWaiting, "linearizability": PageHistories}


@contextmanager
def forgetting(*classes: type) -> Iterator[None]:
    """These oracles look on, and what they remember is no state."""
    kept = {cls: cls.__digest__ for cls in classes}  # type: ignore[attr-defined]
    for cls in classes:
        cls.__digest__ = lambda self: ()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for cls, method in kept.items():
            cls.__digest__ = method  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--states", type=int, default=60_000)
    options = parser.parse_args()
    columns = ["model", "ledger", *WATCHERS, "all"]
    print(
        f"| scenario | {' | '.join(columns)} | all / model |\n|---|{'--:|' * (len(columns) + 1)}", flush=True
    )
    for name, patch, arch in CASES:
        program = ScenarioProgram(scenario=load_named(name), patch=patch, arch=arch)
        counts: list[int] = []
        line: list[str] = []
        for column in columns:
            silent = [cls for watcher, cls in WATCHERS.items() if column not in (watcher, "all")]
            with forgetting(*silent):
                strategy = Stateful(ledger=column != "model")
                limits = Limits(schedules=None, states=options.states)
                result = search(program, strategy, limits, keep_going=True)
            counts.append(result.states)
            line.append(f"{result.states:,}" if result.complete else f"> {result.states:,}")
        where = f"{name} on {patch}{'' if arch is None else f', {arch}'}"
        print(f"| {where} | {' | '.join(line)} | {counts[-1] / counts[0]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
