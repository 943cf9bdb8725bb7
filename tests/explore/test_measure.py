"""One run, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmemsim.engine.strategy import FirstRunnable
from gmemsim.explore.measure import attempt
from gmemsim.explore.program import ScenarioProgram
from gmemsim.scenarios.catalogue import load_named

if TYPE_CHECKING:
    from gmemsim.engine.engine import Engine


def test_who_watches_sees_the_engine_before_it_runs() -> None:
    seen: list[tuple[Engine, int]] = []
    program = ScenarioProgram(scenario=load_named("same"), small=True)
    done = attempt(program, FirstRunnable(), watch=lambda engine: seen.append((engine, engine.steps)))
    assert done.failure is None
    assert seen == [(done.run.engine, 0)]
