"""How many interleavings of N tasks with K steps each way of scheduling reaches.

    python bench/reach.py [--runs 4000] [--markdown FILE]

Stock Trio runs every runnable task once per batch, forward or reversed, so tasks that can all run never get two steps
apart; the engine's strategies choose one task a step. The depth-first search must reach them all.
"""

from __future__ import annotations

import argparse
from math import factorial
from pathlib import Path

import trio

from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.op import Op
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.engine.task import Task
from gmemsim.explore.strategies.dfs import DepthFirst

SHAPES = ((2, 3), (3, 3), (3, 4))
STEP = Op("step", "x")


def possible(tasks: int, steps: int) -> int:
    """Interleavings of `tasks` sequences of `steps` steps."""
    return int(factorial(tasks * steps) // factorial(steps) ** tasks)


async def _model(t: Task, order: list[int], number: int, steps: int) -> None:
    for step in range(steps):
        if step:
            await t.point(STEP)
        order.append(number)


def _run(strategy: RandomStrategy | DepthFirst, tasks: int, steps: int) -> tuple[int, ...]:
    order: list[int] = []
    engine = Engine(strategy)
    for number in range(tasks):
        engine.spawn(f"t{number}", _model, order, number, steps)
    bare.run(engine)
    return tuple(order)


def random_search(tasks: int, steps: int, runs: int) -> int:
    """Distinct orders in `runs` random schedules."""
    return len({_run(RandomStrategy(seed), tasks, steps) for seed in range(runs)})


def depth_first(tasks: int, steps: int) -> tuple[int, int]:
    """Distinct orders and schedules of a complete depth-first search."""
    strategy = DepthFirst()
    found: set[tuple[int, ...]] = set()
    while strategy.begin(Engine(strategy)):
        found.add(_run(strategy, tasks, steps))
    return len(found), strategy.schedules


def stock_trio(tasks: int, steps: int, runs: int) -> int:
    """Distinct orders in `runs` runs of ordinary Trio tasks with a checkpoint between steps."""

    async def worker(order: list[int], number: int) -> None:
        for step in range(steps):
            if step:
                await trio.lowlevel.checkpoint()
            order.append(number)

    async def main() -> tuple[int, ...]:
        order: list[int] = []
        async with trio.open_nursery() as nursery:
            for number in range(tasks):
                nursery.start_soon(worker, order, number)
        return tuple(order)

    return len({trio.run(main) for _ in range(runs)})


def table(runs: int) -> list[str]:
    """The reach table in Markdown."""
    lines = [
        f"| tasks x steps | possible | stock Trio, {runs} runs | random strategy, {runs} runs "
        "| depth-first (schedules) |",
        "|---|--:|--:|--:|--:|",
    ]
    for tasks, steps in SHAPES:
        every = possible(tasks, steps)
        reached, schedules = depth_first(tasks, steps)
        if reached != every:
            raise SystemExit(
                f"depth-first search reached {reached} of {every} interleavings of {tasks} x {steps}"
            )
        stock = stock_trio(tasks, steps, runs)
        drawn = random_search(tasks, steps, runs)
        lines.append(
            f"| {tasks} x {steps} | {every:,} | {stock:,} | {drawn:,} | {reached:,} ({schedules:,}) |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    text = "\n".join(table(options.runs))
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text + "\n")


if __name__ == "__main__":
    main()
