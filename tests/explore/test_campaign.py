"""Campaigns: batches, processes, and what they merge."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from gmemsim.explore import campaign as module
from gmemsim.explore.campaign import Campaign, CampaignResult, Progress, run_campaign
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits
from gmemsim.scenarios.scenario import loads

SCENARIO = """
[scenario]
name = "mf_punch"
summary = "A memory failure against a punch"
question = "Can they wait for each other?"

[[vm]]
id = "vm0"

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
gfn = 0x10000

[[task]]
name = "first"
ops = [{ op = "allocate", file = "gmem0" }, { op = "FIRST", file = "gmem0" }]

[[task]]
name = "punch"
ops = [{ op = "punch", file = "gmem0" }]
"""


def program(first: str) -> ScenarioProgram:
    return ScenarioProgram(scenario=loads(SCENARIO.replace("FIRST", first), "mf.toml"), patch="v3")


def run(jobs: int = 1, first: str = "punch", **changes: Any) -> CampaignResult:
    plan = Campaign(
        program=program(first),
        strategy="random",
        seed=3,
        limits=Limits(schedules=50),
        jobs=jobs,
        outcomes=True,
    )
    return run_campaign(attrs.evolve(plan, **changes))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 20)


def test_batches_add_up() -> None:
    result = run()
    done = result.search
    assert done.schedules == 50
    assert done.stopped == "schedules"
    assert not done.complete
    assert sum(done.outcomes.values()) == 50
    assert result.coverage is not None
    assert result.coverage.runs == 50
    assert 1 < result.coverage.distinct <= 50
    assert result.lock_graph.runs == 50


def test_batches_differ() -> None:
    """The second batch does not repeat the first one's schedules."""
    one = run(limits=Limits(schedules=20))
    two = run(limits=Limits(schedules=40))
    assert one.coverage is not None
    assert two.coverage is not None
    assert two.coverage.distinct > one.coverage.distinct


def test_processes_change_nothing() -> None:
    alone, spread = run(1), run(2)
    assert spread.coverage == alone.coverage
    assert spread.search.outcomes == alone.search.outcomes
    assert set(spread.lock_graph.edges) == set(alone.lock_graph.edges)


def test_processes_report_the_same_violation() -> None:
    alone = run(1, "memory_failure")
    spread = run(2, "memory_failure")
    (found,), (same,) = alone.search.found, spread.search.found
    assert found.failure.signature == same.failure.signature == ("deadlock", found.failure.kind)
    assert found.schedule == same.schedule
    assert found.tape.raw == same.tape.raw
    assert alone.search.schedules == spread.search.schedules


def test_systematic_strategy_is_one_search() -> None:
    result = run(strategy="dpor", limits=Limits(schedules=5_000))
    assert result.search.complete
    assert result.search.stopped == "exhausted"


def test_seconds_end_a_campaign() -> None:
    result = run(limits=Limits(schedules=None, seconds=0.05))
    assert result.search.stopped == "seconds"


def test_progress_grows() -> None:
    seen: list[Progress] = []
    plan = Campaign(program=program("punch"), strategy="random", limits=Limits(schedules=45))
    run_campaign(plan, seen.append)
    schedules = [progress.schedules for progress in seen]
    assert schedules == sorted(schedules)
    assert schedules[-1] == 45
    assert seen[-1].depth > 0
    assert seen[-1].classes > 1


def test_unknown_strategy() -> None:
    with pytest.raises(ValueError, match="zigzag"):
        run(strategy="zigzag")
