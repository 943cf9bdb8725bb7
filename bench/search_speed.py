"""Speed of searching beside an earlier commit: states and schedules a second, and the engine's step.

    python bench/search_speed.py [--base 241fddb] [--rounds N] [--seconds S]

The earlier commit is taken out of the repository's own history into a temporary folder. Both trees then run the same
cases in turn, each case in a process of its own; times are CPU seconds of that process, so that a busy machine does
the least harm, and figures are medians of the rounds. Quote the ratios.

States: the state-caching search. `invariants` leaves out the watchers of lock claims, waiting and linearizability on
both sides, since at 241fddb what they remember made every state a new one; `all` is with every oracle, and there the
earlier commit has no end. Schedules: the uniform random strategy on the small form of a scenario, all oracles on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

HERE = Path(__file__).resolve()
RANDOM = ("punch", "conv1", "populate_busy")
CASES = (
    *(f"states invariants {name}" for name in ("hole", "prefault", "conv1")),
    *(f"states all {name}" for name in ("hole", "prefault", "conv1")),
    "states small model",
    *(f"schedules {name}" for name in RANDOM),
    "step ring",
    "step timed",
    "step exploring",
)


def program(scenario: str, every: bool) -> Any:
    """A scenario on v3, or on the version in place if it converts there."""
    from gmemsim.explore import program as programs
    from gmemsim.scenarios.catalogue import load_named

    if not every:
        build = programs.ScenarioRun.__init__

        def without(self: Any, session: Any, *, watch: bool = False, **options: Any) -> None:
            build(self, session, watch=False, **options)

        programs.ScenarioRun.__init__ = without  # type: ignore[method-assign] # both commits have it
    return programs.ScenarioProgram(scenario=load_named(scenario), patch="v3")


def states(what: Any, seconds: float) -> dict[str, float]:
    """The state-caching search until it is complete, or so many seconds have gone."""
    from gmemsim.explore.search import Limits, search
    from gmemsim.explore.strategies.stateful import Stateful

    strategy = Stateful()
    began = process_time()
    result = search(what, strategy, Limits(schedules=None, seconds=seconds))
    took = process_time() - began
    return {
        "rate": strategy.states / took,
        "states": strategy.states,
        "complete": result.complete,
        "again": result.steps / strategy.states,
    }


def schedules(what: Any, seconds: float) -> dict[str, float]:
    """Random schedules, a warm-up first."""
    from gmemsim.explore.search import Limits, search
    from gmemsim.explore.strategies import make_strategy

    search(what, make_strategy("random", 1), Limits(schedules=20))
    began = process_time()
    result = search(what, make_strategy("random", 2), Limits(schedules=None, seconds=seconds))
    took = process_time() - began
    return {"rate": result.schedules / took}


def step(which: str) -> dict[str, float]:
    """A step of `bench/engine_step.py`, best of several."""
    import engine_step

    case = {"ring": engine_step.ring, "timed": engine_step.timed, "exploring": engine_step.exploring}[which]
    best = 0.0
    for _ in range(7):
        began = process_time()
        steps = case()
        best = max(best, steps / (process_time() - began))
    return {"rate": best}


def work(case: str, seconds: float) -> dict[str, float]:
    """One case, in the process that was started for it."""
    kind, *rest = case.split()
    if kind == "step":
        return step(rest[0])
    if kind == "schedules":
        return schedules(program(rest[0], True), seconds)
    if rest[0] == "small":
        from explore_spin import Size, small_model

        return states(small_model(Size(2, 1, 1), ""), 10 * seconds)
    return states(program(rest[1], rest[0] == "all"), 10 * seconds)


def run(tree: Path, case: str, seconds: float) -> dict[str, float]:
    """One case in a process on one tree; the cases themselves come from this tree's `bench` both times."""
    environment = os.environ | {"PYTHONPATH": str(tree / "src")}
    done = subprocess.run(
        [sys.executable, str(HERE), "--work", case, "--seconds", str(seconds)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="241fddb")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=2, help="of a case; searches of states get ten times that"
    )
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(work(options.work, options.seconds)))
        return
    root = HERE.parent.parent
    cases = [case for case in CASES if options.only in case]
    found: dict[str, tuple[list[dict[str, float]], list[dict[str, float]]]] = {
        case: ([], []) for case in cases
    }
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", options.base], cwd=root, check=True, capture_output=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        for _ in range(options.rounds):
            for case in cases:
                for tree, results in zip((Path(folder), root), found[case], strict=True):
                    results.append(run(tree, case, options.seconds))
    print(f"| case | {options.base} | now | x | states, and steps for each |")
    print("|---|--:|--:|--:|---|")
    for case, (before, after) in found.items():
        old, new = (median(one["rate"] for one in results) for results in (before, after))
        told = [
            f"{one['states']:,.0f}{'' if one['complete'] else ' (no end)'}, {one['again']:.1f}"
            for one in (before[-1], after[-1])
            if "states" in one
        ]
        print(
            f"| {case} | {old:,.0f}/s | {new:,.0f}/s | {new / old:.2f} | {'; then '.join(told)} |", flush=True
        )


if __name__ == "__main__":
    main()
