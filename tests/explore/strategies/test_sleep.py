"""Sleep sets with remembered states: the same states, outcomes and violations, by fewer steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.explore.strategies.micro_programs import FLAVOURS, micro_program

from gmemsim.engine import bare
from gmemsim.engine.cell import Cell
from gmemsim.engine.engine import Engine as BareEngine
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Limits, SearchResult, search
from gmemsim.explore.strategies import make_strategy, stateful
from gmemsim.explore.strategies.sleep import Step, StepWatch
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.scenarios.scenario import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task
    from gmemsim.explore.runs import Program

#: States that a micro-program may have, so that the tests stay quick.
SMALL = 300


def explore(program: Program, reduce: int, states: int | None = None) -> SearchResult:
    return explored(program, Stateful(reduce), states)


def explored(program: Program, strategy: Stateful, states: int | None = None) -> SearchResult:
    limits = Limits(schedules=None, states=states, steps=2_000)
    return search(program, strategy, limits, keep_going=True, collect_outcomes=True)


def failures(result: SearchResult) -> set[tuple[str, str, str]]:
    return {found.sort for found in result.found}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_same_states_and_outcomes_by_fewer_steps(flavour: str) -> None:
    for seed in range(2):
        program = micro_program(seed, flavour)
        plain = explore(program, 0, SMALL)
        if not plain.complete:
            continue
        for reduce in (1, 2):
            strategy = Stateful(reduce)
            reduced = explored(program, strategy)
            assert reduced.complete, program.name
            assert reduced.states == plain.states, program.name
            assert reduced.outcomes.keys() == plain.outcomes.keys(), program.name
            assert failures(reduced) == failures(plain), program.name
            assert reduced.steps <= plain.steps, program.name
            if strategy.restores and reduce == 2:
                # On a run that cannot be taken back nothing is left out.
                assert reduced.steps < plain.steps, program.name


def test_a_fault_against_a_hole_with_every_oracle() -> None:
    scenario = load(Path(__file__).with_name("pair.toml"))
    program = ScenarioProgram(scenario=scenario, patch="v3")
    plain, exact = explore(program, 0), explore(program, 1)
    assert plain.complete
    assert exact.complete
    assert plain.outcomes.keys() == exact.outcomes.keys()
    assert exact.states == plain.states
    assert exact.rules == plain.rules
    assert exact.steps < plain.steps


def test_wider_independence_leaves_rules_out_by_name() -> None:
    scenario = load(Path(__file__).with_name("pair.toml"))
    result = explore(ScenarioProgram(scenario=scenario, patch="v3"), 2, 20)
    assert "I1" in result.left_out
    assert "I1" not in result.rules
    assert "guarded_by" in result.rules


def test_wrong_independence_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = [micro_program(seed, "range") for seed in range(6)]
    plain = [explore(program, 0) for program in programs]

    def anything(one: Step, other: Step, *, silent: bool) -> bool:
        return True

    monkeypatch.setattr(stateful, "independent", anything)
    reduced = [explore(program, 2) for program in programs]
    assert [one.outcomes.keys() for one in reduced] != [one.outcomes.keys() for one in plain]


def polling(flags: int, *, ends: bool) -> TaskProgram:
    """Two tasks poll cells that a third one sets, or does not; a fourth one only reads."""

    def setup(engine: Engine) -> Callable[[], object]:
        cells = [Cell(f"flag{number}", 0) for number in range(flags)]

        async def polls(t: Task, cell: Cell[int]) -> None:
            while not await cell.load(t):
                pass

        async def sets(t: Task) -> None:
            for cell in cells:
                if ends:
                    await cell.store(t, 1)
                else:
                    await cell.load(t)

        for number, cell in enumerate(cells):
            engine.spawn(f"poll{number}", polls, cell)
        engine.spawn("set", sets)
        return str

    return TaskProgram("polling", setup)


@pytest.mark.parametrize("reduce", [0, 1, 2])
@pytest.mark.parametrize("flags", [1, 2])
def test_livelock_is_one_only_if_no_step_leaves_it(flags: int, reduce: int) -> None:
    """Steps that sleep count when the graph of states is asked for a loop without a way out."""
    good = explore(polling(flags, ends=True), reduce)
    assert good.complete
    assert not good.found
    bad = explore(polling(flags, ends=False), reduce)
    assert {found.failure.rule for found in bad.found} == {"livelock"}


def test_numbers_on_the_command_line() -> None:
    strategy = make_strategy("stateful:2")
    assert isinstance(strategy, Stateful)
    assert strategy.reduce == 2
    with pytest.raises(ValueError, match="0, 1, 2 or 3"):
        make_strategy("stateful:4")


def test_whoever_is_told_of_events_is_told_all_the_same() -> None:
    told: list[object] = []
    engine = BareEngine(rec=lambda task, event: told.append(event))

    async def body(t: Task) -> None:
        assert t.rec is not None
        t.rec(t, "event")

    StepWatch(engine)
    engine.spawn("a", body)
    bare.run(engine)
    assert told == ["event"]
