"""What is left out is left out of the model only, and not where a user's code takes part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gmemsim.actors import gmem_populate
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.state.ignored import attributes_of_model, locals_left_out, only_counts
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.extend import Oracle, Rule, at_rest
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.guest import access as guest_access

if TYPE_CHECKING:
    from types import FunctionType


async def kvm_gmem_populate(ident: int) -> int:
    return ident


async def access() -> None:
    for _ in range(2):
        pass


def of(function: FunctionType) -> tuple[frozenset[str], bool]:
    code = function.__code__
    return locals_left_out(code, code.co_name), only_counts(code, code.co_name)


def test_of_the_model() -> None:
    assert of(gmem_populate.kvm_gmem_populate) == (frozenset({"ident"}), False)  # type: ignore[arg-type] # it is a function
    assert of(guest_access) == (frozenset(), True)  # type: ignore[arg-type] # as above


def test_of_a_user() -> None:
    """A local of the same name in a function of the same name may decide what comes."""
    assert of(kvm_gmem_populate) == (frozenset(), False)  # type: ignore[arg-type] # as above
    assert of(access) == (frozenset(), False)  # type: ignore[arg-type] # as above


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
