"""What each reduction saves: states, runs, steps and CPU time of searches with it and without.

    python bench/reductions.py [--seconds 60] [--only NAME]

`stateful` remembers states and leaves nothing out; `stateful:1` has sleep sets that are the same for every oracle,
`stateful:2` those that are the same for the model; `dpor` has source sets, wakeup trees, sleep sets, remembered states,
and waits in place of waiting loops. All that come to an end have to come to the same outcomes, failures included, or
the script stops. A `>` is before what was done when the time was up.
"""

from __future__ import annotations

import argparse
from time import process_time

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, SearchResult, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.scenarios.catalogue import load_named

STRATEGIES = ("stateful", "stateful:1", "stateful:2", "dpor")
CASES = (
    ("hole", "baseline", "snp"),
    ("hole", "v3", "snp"),
    ("hole", "v3", None),
    ("hole", "inplace", "snp"),
    ("prefault", "v3", None),
    ("zoo-poison_punch", "v3", None),
    ("zoo-poison_punch", "mainline-7.3", None),
    ("stop_on_exit", "v3", None),
    ("prepare_fails", "v3", None),
    ("populate_twice", "v3", None),
    ("prefault_early", "v3", None),
    ("bind_errors", "v3", None),
)


def cell(result: SearchResult, took: float) -> str:
    """States or runs, steps, and seconds; with a sign if the time was up."""
    sign = "" if result.complete else "> "
    states = f"{sign}{result.states:,} / " if result.states else ""
    return f"{states}{sign}{result.schedules:,} / {sign}{result.steps:,} / {sign}{took:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="for one search")
    parser.add_argument("--only", default="", help="cases with this in their name")
    options = parser.parse_args()
    print(f"| scenario | {' | '.join(STRATEGIES)} |\n|---|{'--:|' * len(STRATEGIES)}", flush=True)
    for name, patch, arch in CASES:
        if options.only not in name:
            continue
        program = ScenarioProgram(scenario=load_named(name), patch=patch, arch=arch)
        line: list[str] = []
        whole: list[SearchResult] = []
        for spec in STRATEGIES:
            limits = Limits(schedules=None, seconds=options.seconds)
            began = process_time()
            result = search(program, make_strategy(spec), limits, keep_going=True, collect_outcomes=True)
            line.append(cell(result, process_time() - began))
            if result.complete:
                whole.append(result)
        for result in whole[1:]:
            if result.outcomes.keys() != whole[0].outcomes.keys():
                raise SystemExit(f"{name} on {patch}: {result.strategy} came to other outcomes")
        where = f"{name} on {patch}{'' if arch is None else f', {arch}'}"
        print(f"| {where} | {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
