"""A coroutine that nobody awaits: where a run ends that drops one."""

from __future__ import annotations

import pytest

from gmemsim.engine.engine import Engine
from gmemsim.engine.strategy import FirstRunnable
from gmemsim.engine.unawaited import NeverAwaited, all_awaited


async def side() -> None:
    """Never runs."""


def test_the_step_that_drops_one_is_told_wherever_the_collector_came_before() -> None:
    """What the collector made a note of was kept by the note, so that the run went on, or not, by chance."""
    engine = Engine(strategy=FirstRunnable())
    with pytest.raises(NeverAwaited, match="side is called"), all_awaited(engine=engine):  # noqa: PT012 # its end raises
        kept = [side()]
        objects: list[list[object]] = [[] for _ in range(10_000)]  # more than the collector waits for
        kept.clear()
        assert engine.ruined is not None
        assert objects
