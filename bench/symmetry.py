"""What exchanging tasks that do the same saves, and whether it is right: every state looked at, and compared.

    python bench/symmetry.py [--cells N] [--states N] [--seed S] [--patch P ...]

Cells of the triples in which two of the three operations are the same, drawn at random. Each is searched with every
state (`stateful`) and with those once that differ only in which of the two tasks is where (`stateful:3`). States that
were taken for one must have the same steps before them, and both searches must find the same; else the script ends
with 1. Cells with more than --states are counted and not compared. The two vCPUs of "touch, touch" are never
exchanged: a vCPU has a number, and its place in its VM's list.
"""

from __future__ import annotations

import argparse
from random import Random
from time import process_time

from gmemsim.explore.exchanges import compare
from gmemsim.explore.judges.livelock import judge
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.scenarios.scenario import loads
from gmemsim.studies.matrix import cells
from gmemsim.studies.operations import Cell, scenario_text


def drawn(patches: list[str], seed: int) -> list[Cell]:
    found = [
        cell
        for patch in patches
        for cell in cells(patch, 3)
        if len(set(cell.names)) == 2 and cell.names.count("touch") < 2 and cell.arch != "default"
    ]
    Random(seed).shuffle(found)
    return found


def row(cell: Cell, states: int) -> tuple[str, bool]:
    """A line of the table, and whether something is wrong; empty if there are too many states."""
    program = ScenarioProgram(
        scenario=loads(scenario_text(cell), "cell.toml"), patch=cell.patch, arch=cell.arch, small=False
    )
    limits = Limits(schedules=None, states=states)
    found, seconds = [], []
    for reduce in (0, 3):
        began = process_time()
        result = search(program, Stateful(reduce), limits, keep_going=True, judge=judge)
        seconds.append(process_time() - began)
        if not result.complete:
            return "", False
        found.append((result.states, {one.sort for one in result.found}))
    done = compare(program, states)
    wrong = bool(done.unlike) or not done.alike or found[0][1] != found[1][1] or found[1][0] != done.left
    where = f"{' against '.join(cell.names)} ({cell.setup}; {cell.patch}, {cell.arch})"
    line = (
        f"| {where} | {done.states:,} | {done.left:,} | {len(done.unlike)} | {seconds[0] / seconds[1]:.2f} |"
    )
    return line, wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--states", type=int, default=6_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patch", nargs="*", default=["v3", "mainline-7.3", "inplace"])
    options = parser.parse_args()
    print("| cell | states | looked at | unlike | times as fast |\n|---|--:|--:|--:|--:|", flush=True)
    larger = wrong = 0
    for cell in drawn(options.patch, options.seed)[: options.cells]:
        line, bad = row(cell, options.states)
        larger += not line
        wrong += bad
        if line:
            print(line, flush=True)
    print(f"\n{larger} of {options.cells} have more than {options.states:,} states; wrong: {wrong}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
