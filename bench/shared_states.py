"""A search of states by one process and by several: seconds, and what sharing costs.

    python bench/shared_states.py [--jobs 2] [--states 60000] [--scenario NAME ...]

Scenarios of the library on v3, and the triple touch, allocate, punch, which has more than so many states and is ended
there. The same search in turn; where it is complete, states have to be the same. Steps are those of all processes: what
is more than with one was run again to go where a part begins, or by two that came to a state at the same time. Seconds
are by the clock, so the machine has to be quiet; the ratio is what counts.
"""

from __future__ import annotations

import argparse
from time import monotonic

from gmemsim.explore.campaign import Campaign, run_campaign
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.scenario import loads
from gmemsim.studies.operations import Cell, scenario_text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--states", type=int, default=60_000)
    parser.add_argument("--scenario", nargs="*", default=["hole", "prefault"])
    options = parser.parse_args()
    triple = scenario_text(Cell(("touch", "allocate", "punch"), "v3", "snp"))
    cases = {name: load_named(name) for name in options.scenario}
    cases["touch, allocate, punch"] = loads(triple, "triple.toml")
    print(
        "| scenario | states | one, s | several, s | times as fast | steps, several / one |\n|---|--:|--:|--:|--:|--:|"
    )
    for name, scenario in cases.items():
        program = ScenarioProgram(scenario=scenario, patch="v3", arch="snp", small=scenario.name != "cell")
        took, found = [], []
        for jobs in (1, options.jobs):
            began = monotonic()
            plan = Campaign(
                program=program,
                strategy="stateful",
                jobs=jobs,
                limits=Limits(schedules=None, states=options.states),
                keep_going=True,
            )
            found.append(run_campaign(plan).search)
            took.append(monotonic() - began)
        one, several = found
        if (one.complete, one.complete and one.states) != (
            several.complete,
            several.complete and several.states,
        ):
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
