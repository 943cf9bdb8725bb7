"""The order of the entries counts for dicts that a user's code keeps, and for no other."""

from __future__ import annotations

from typing import Any

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.state.orders import Orders, attributes_of_model
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.extend import Oracle, Rule, at_rest
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named


class Mine(V3):
    pass


class Looks(Oracle):
    """Looks at nothing."""

    rules = (Rule("looks", says="nothing is ever wrong", source="this test"),)

    @at_rest("looks")
    def look(self) -> None:
        """It does not."""


def test_who_may_ask_for_the_order_of_a_dict() -> None:
    punch = load_named("punch")
    for program, ordered in (
        (ScenarioProgram(scenario=punch, patch="v3"), False),
        (ScenarioProgram(scenario=punch, patch=Mine), True),
        (ScenarioProgram(scenario=punch, patch="v3", oracles=(Looks,)), True),
    ):
        assert program.build(Stateful()).engine.ordered is ordered


class Keeps(V3):
    """With a dict of its own."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.queue: dict[int, bool] = {}


def test_whose_dict_it_is() -> None:
    assert attributes_of_model(V3) is None
    names = attributes_of_model(Keeps)
    assert names is not None
    assert "costs" in names
    assert "queue" not in names


def test_the_models_dicts_and_those_in_them_have_no_order() -> None:
    orders = Orders(counts=True)
    inner = {1: 2}
    outer = {"inner": inner}
    mine = {3: 4}
    orders.keeps(Keeps, [("costs", outer), ("queue", mine)])
    assert not orders.counts_in(outer)
    assert not orders.counts_in(inner)
    assert orders.counts_in(mine)
    assert not Orders(counts=False).counts_in(mine)
