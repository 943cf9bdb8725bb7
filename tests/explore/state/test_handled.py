"""An exception that an `except` handles while its coroutine is suspended, and that may be raised again, is state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.explore.state.test_live import needs_frames

from gmemsim.engine.cell import Cell
from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies.dfs import DepthFirst
from gmemsim.explore.strategies.stateful import Stateful

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task


def raised_again(engine: Engine) -> Callable[[], object]:
    cell: Cell[int] = Cell("x", 0)
    found: dict[str, int] = {}

    async def body(t: Task) -> None:
        try:
            try:
                raise KeyError(await cell.load(t))
            except KeyError:
                await cell.store(t, await cell.load(t) + 1)
                raise
        except KeyError as error:
            found[t.name] = error.args[0] + await cell.load(t)

    for name in "ab":
        engine.spawn(name, body)
    return lambda: sorted(found.items())


@needs_frames
@pytest.mark.parametrize("reduce", [0, 1, 2])
def test_every_outcome_is_found(reduce: int) -> None:
    program = TaskProgram("raised again", raised_again)
    every = search(program, DepthFirst(), Limits(schedules=None), collect_outcomes=True)
    states = search(program, Stateful(reduce), Limits(schedules=None), collect_outcomes=True)
    assert every.complete
    assert states.complete
    assert len(every.outcomes) == 8
    assert set(states.outcomes) == set(every.outcomes)
