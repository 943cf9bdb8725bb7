"""How small failures become: every planted bug that the library's scenarios show, shrunk; medians at the end.

Run it from the top of the repository: `python bench/shrink.py` (small scenarios), `python bench/shrink.py --full`, or
`python bench/shrink.py --zoo`: the seeded bugs of the zoo in their own scenarios, as the portfolio finds them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

import attrs

from gmemsim.engine.strategy import RandomStrategy
from gmemsim.explore.judges.livelock import judge
from gmemsim.explore.measure import Attempt, attempt
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Found, Limits, search
from gmemsim.explore.shrink import Shrunk, shrink
from gmemsim.explore.strategies import make_strategy
from gmemsim.explore.token import encode
from gmemsim.patches.zoo.registry import BUGS
from gmemsim.scenarios.catalogue import load_named, names
from gmemsim.scenarios.errors import ScenarioError
from gmemsim.studies.zoo import program_of

#: Random schedules per scenario.
SEEDS = 5


def failing(kernel: type, small: bool) -> tuple[ScenarioProgram, Attempt] | None:
    """The first scenario and schedule that shows the bug: threads that convert and punch at once go first."""
    for name in ("conv1_punch1", "punch", *names()):
        program = ScenarioProgram(scenario=load_named(name), patch=kernel, small=small)
        try:
            for seed in range(SEEDS):
                run = attempt(program, RandomStrategy(seed))
                if run.failure is not None and run.failure.rule not in {"crash", "step_limit"}:
                    return program, run
        except ScenarioError:
            continue
    return None


def zoo() -> Iterator[tuple[str, ScenarioProgram, Found]]:
    """Every bug of the zoo that a scenario shows; a livelock has no end that could be kept."""
    for bug in BUGS.values():
        if not bug.expressible or bug.policy is not None or bug.unfound:
            continue
        for patch in bug.versions[:1]:
            program = program_of(bug, patch, bug.vm_types[0])
            assert isinstance(program, ScenarioProgram)
            result = search(program, make_strategy("portfolio", 0), Limits(schedules=2_000), judge=judge)
            for found in result.found:
                if found.failure.rule not in {"crash", "livelock"}:
                    yield bug.name, program, found


def planted(small: bool) -> Iterator[tuple[str, ScenarioProgram, Found]]:
    """Every planted bug of the oracles' tests that the library shows."""
    from explore.mutants import MUTANTS  # type: ignore[import-not-found] # the tests are on the path

    for kernel in sorted({mutant.kernel for mutant in MUTANTS}, key=lambda kernel: kernel.__name__):
        found = failing(kernel, small)
        if found is not None:
            program, run = found
            assert run.failure is not None
            yield kernel.__name__, program, Found(run.failure, run.tape, 1, run.measure.steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="scenarios at full size")
    parser.add_argument("--zoo", action="store_true", help="the zoo's bugs in their scenarios")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

    results: list[Shrunk] = []
    seconds: list[float] = []
    tokens: list[int] = []
    print(
        f"{'bug':42}{'scenario':24}{'rule':20}{'calls':>12}{'steps':>14}{'preemptions':>14}{'runs':>6}{'s':>7}"
    )
    for name, program, found in zoo() if options.zoo else planted(not options.full):
        began = perf_counter()
        result = shrink(program, found)
        seconds.append(perf_counter() - began)
        results.append(result)
        named = result.program
        assert isinstance(named, ScenarioProgram)
        tokens.append(len(encode(attrs.evolve(named), result.found.tape)))
        print(
            f"{name:42}{program.scenario.name:24}{found.failure.rule:20}"
            f"{f'{result.operations_before} -> {result.operations_after}':>12}"
            f"{f'{result.before.steps} -> {result.after.steps}':>14}"
            f"{f'{result.before.preemptions} -> {result.after.preemptions}':>14}"
            f"{result.attempts:>6}{seconds[-1]:>7.2f}{'' if result.finished else ' budget spent'}",
            flush=True,
        )
    print(f"{len(results)} bugs; medians:")
    for text, before, after in (
        ("calls", [r.operations_before for r in results], [r.operations_after for r in results]),
        ("steps", [r.before.steps for r in results], [r.after.steps for r in results]),
        ("preemptions", [r.before.preemptions for r in results], [r.after.preemptions for r in results]),
    ):
        print(f"  {text}: {median(before)} -> {median(after)} (most: {max(before)} -> {max(after)})")
    print(f"  runs: {median(r.attempts for r in results)}, seconds: {median(seconds):.2f}")
    print(f"  characters of the token: {median(tokens)} (most: {max(tokens)})")


if __name__ == "__main__":
    main()
