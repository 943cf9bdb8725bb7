"""Classes of equivalent schedules, counted on programs whose number of classes is known."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import pytest

from gmemsim.engine.op import Op
from gmemsim.explore.classes import ClassCounter, Coverage
from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import search
from gmemsim.explore.strategies.dfs import DepthFirst

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task


def steps(*programs: list[Op]) -> TaskProgram:
    """One task a list of operations."""

    async def body(t: Task, ops: list[Op]) -> None:
        for op in ops:
            await t.point(op)

    def setup(engine: Engine) -> Callable[[], object]:
        for number, ops in enumerate(programs):
            engine.spawn(f"t{number}", body, ops)
        return str

    return TaskProgram("steps", setup)


def classes(program: TaskProgram) -> Coverage:
    counter = ClassCounter()
    result = search(program, DepthFirst(), observers=[counter])
    assert result.complete
    return counter.coverage()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_writes_to_one_object_are_all_ordered(count: int) -> None:
    program = [Op("store", "x")] * count
    assert classes(steps(program, program)).distinct == comb(2 * count, count)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Op("load", "x", mode="r"), Op("load", "x", mode="r")),
        (Op("store", "x"), Op("store", "y")),
        (Op("store", "file", 0, 4), Op("store", "file", 4, 8)),
    ],
    ids=["reads", "objects", "ranges"],
)
def test_independent_steps_make_one_class(first: Op, second: Op) -> None:
    coverage = classes(steps([first] * 3, [second] * 3))
    assert coverage.distinct == 1
    # Every order of the two starts and six steps ran.
    assert coverage.runs == comb(8, 4)


def test_overlapping_ranges_depend() -> None:
    assert classes(steps([Op("store", "file", 0, 5)], [Op("store", "file", 4, 8)])).distinct == 2


def test_read_is_ordered_against_writes_only() -> None:
    # Two readers and a writer: each reader is before or behind the writer, by itself.
    read, write = Op("load", "x", mode="r"), Op("store", "x")
    assert classes(steps([read], [read], [write])).distinct == 4


def test_other_draws_are_part_of_the_class() -> None:
    async def body(t: Task) -> None:
        await t.point(Op("step", "x"))
        t.draw("coin", 3)

    def setup(engine: Engine) -> Callable[[], object]:
        engine.spawn("t0", body)
        return str

    assert classes(TaskProgram("coin", setup)).distinct == 3


def test_estimates() -> None:
    coverage = Coverage(runs=10, distinct=6, once=3, twice=2)
    assert coverage.seen_before == pytest.approx(0.7)
    assert coverage.at_least == 6 + 3 * 2 // (2 * 3)
    assert Coverage(0, 0, 0, 0).seen_before == 0
