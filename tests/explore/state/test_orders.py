"""The order of the entries counts for dicts that a user's code keeps, and for no other."""

from __future__ import annotations

from dis import get_instructions
from typing import Any

from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.state.orders import Orders, attributes_of_model, attributes_set
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.extend import Oracle, Rule, at_rest
from gmemsim.patches.sources import function_of
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


def test_what_a_function_sets_is_what_dis_says() -> None:
    names: dict[str, Any] = {}
    exec("def many(x):\n" + "".join(f"    x.a{number} = 0\n" for number in range(300)), names)
    functions = [function_of(value) for base in V3.__mro__[:-1] for value in vars(base).values()]
    several = 0
    for function in (names["many"], *functions):
        if function is not None:
            said = [one.argval for one in get_instructions(function) if one.opname == "STORE_ATTR"]
            assert list(attributes_set(function.__code__)) == said
            several += len(said) > 1
    assert several > 1


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
