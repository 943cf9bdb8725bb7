"""A search of states by one process and by several: seconds, and what sharing costs.

    python bench/shared_states.py [--jobs 2] [--scenario NAME ...]

The same search in turn; states have to be the same. Steps are those of all processes: what is more than with one was
run again to go where a part begins, or by two that came to a state at the same time. Seconds are by the clock, so the
machine has to be quiet; the ratio is what counts.
"""

from __future__ import annotations

import argparse
from time import monotonic

from gmemsim.explore.campaign import Campaign, run_campaign
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits
from gmemsim.scenarios.catalogue import load_named


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--scenario", nargs="*", default=["hole", "prefault", "conv1"])
    options = parser.parse_args()
    print(
        "| scenario | states | one, s | several, s | times as fast | steps, several / one |\n|---|--:|--:|--:|--:|--:|"
    )
    for name in options.scenario:
        program = ScenarioProgram(scenario=load_named(name), patch="v3")
        took, found = [], []
        for jobs in (1, options.jobs):
            began = monotonic()
            plan = Campaign(
                program=program,
                strategy="stateful",
                jobs=jobs,
                limits=Limits(schedules=None),
                keep_going=True,
            )
            found.append(run_campaign(plan).search)
            took.append(monotonic() - began)
        one, several = found
        if (one.states, one.complete) != (several.states, several.complete):
            raise SystemExit(
                f"{name}: {one.states} states, and {several.states} with {options.jobs} processes"
            )
        print(
            f"| {name} | {one.states:,} | {took[0]:.1f} | {took[1]:.1f} | {took[0] / took[1]:.2f} | "
            f"{several.steps / one.steps:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
