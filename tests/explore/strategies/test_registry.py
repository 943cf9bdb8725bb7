"""Names of strategies."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from tests.explore.strategies.schedules import steps

from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import STRATEGIES, make_strategy
from gmemsim.explore.strategies.delay_bound import DelayBound
from gmemsim.explore.strategies.pct import Pct
from gmemsim.explore.strategies.preemption_bound import PreemptionBound


def test_default_comes_first() -> None:
    assert next(iter(STRATEGIES)) == "auto"


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_runs_under_its_name(name: str) -> None:
    cls = STRATEGIES[name]
    assert cls.name == name
    assert cls.summary
    assert "\n" not in cls.summary
    strategy = make_strategy(name, 1)
    assert isinstance(strategy, cls)
    result = search(steps(2, 1), strategy, Limits(schedules=10))
    assert result.strategy == name
    assert result.schedules


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "auto"])
def test_who_draws_at_random_says_so(name: str) -> None:
    """A campaign runs one that does not once, whatever the seeds; the others estimate nothing from what they saw."""
    cls: Any = STRATEGIES[name]
    assert cls.systematic is not ("seed" in signature(cls).parameters)


def test_every_strategy_is_on_the_page() -> None:
    page = Path(__file__).parents[3] / "docs" / "strategies.md"
    if not page.exists():
        pytest.skip("the pages are in the repository, not in the package")
    text = page.read_text(encoding="utf-8")
    assert [name for name in STRATEGIES if f"`{name}" not in text] == []


def test_numbers() -> None:
    pct, preemption, delay = make_strategy("pct:5"), make_strategy("preemption:3"), make_strategy("delay:0")
    assert isinstance(pct, Pct)
    assert pct.depth == 5
    assert isinstance(preemption, PreemptionBound)
    assert preemption.limit == 3
    assert isinstance(delay, DelayBound)
    assert delay.limit == 0


@pytest.mark.parametrize(
    "spec", ["", "pc", "pct:", "pct:x", "pct:-1", "pct:0", "pct:1:2", "random:2", "dfs:", "pct:²"]
)
def test_bad_spec_is_one_clear_line(spec: str) -> None:
    names = r"(\[:N\])?, ".join(STRATEGIES)
    with pytest.raises(ValueError, match=f"{names}|at least 1") as caught:
        make_strategy(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cls", [PreemptionBound, DelayBound])
def test_no_negative_bound(cls: type[PreemptionBound | DelayBound]) -> None:
    with pytest.raises(ValueError, match="at least 0, not -1"):
        cls(-1)


def test_the_largest_number() -> None:
    pct = make_strategy("pct:10000")
    assert isinstance(pct, Pct)
    assert pct.depth == 10_000
    with pytest.raises(ValueError, match="at most 10,000"):
        make_strategy("pct:10001")


@pytest.mark.parametrize("name", STRATEGIES)
def test_before_a_run_nothing_is_counted(name: str) -> None:
    counts = {key: value for key, value in vars(make_strategy(name)).items() if type(value) is int}
    given = {"depth", "limit", "budget", "reduce", "cache"}
    assert {key: value for key, value in counts.items() if key[0] != "_" and key not in given and value} == {}
