"""Correct locks, with which no oracle may find anything; and the same locks with one line wrong, which are found."""

from __future__ import annotations

import pytest
from tests.lock_designs.registry import (
    DEEP_STRATEGIES,
    DESIGNS,
    STRATEGIES,
    LockDesign,
    search_design,
)
from tests.lock_designs.twins import TWINS

from gmemsim.engine.locks.policies import LOCK_POLICIES

#: Of each strategy.
SCHEDULES = 30
MANY = 1_000

#: Twins that take more than that: a writer has to give up between two steps, behind a reader, with a reader to come.
HARD = {"intent"}


def test_designs_differ() -> None:
    """A design is a class of its own, and says where it is from."""
    assert len(DESIGNS) >= 40
    assert len({design.lock for design in DESIGNS.values()}) == len(DESIGNS)
    assert len({design.source for design in DESIGNS.values()}) == len(DESIGNS)
    assert set(TWINS) <= set(DESIGNS)


def found(design: LockDesign, strategies: tuple[str, ...], schedules: int) -> dict[str, str]:
    """By strategy, the failure; searches end with the first."""
    failures = {}
    for strategy in strategies:
        result = search_design(design, strategy, schedules)
        assert result.schedules == schedules or result.found or result.stopped == "exhausted"
        for one in result.found:
            failures[strategy] = f"{one.failure.rule}: {one.failure.summary}"
    return failures


@pytest.mark.parametrize("name", DESIGNS)
def test_nothing_is_found(name: str) -> None:
    """Neither a deadlock, nor a livelock, nor a lost wake-up, nor a race, nor more waiting than promised."""
    assert found(DESIGNS[name], STRATEGIES, SCHEDULES) == {}


@pytest.mark.parametrize("name", sorted(set(TWINS) - HARD))
def test_one_wrong_line_is_found(name: str) -> None:
    """The same search finds it, and calls it what it is."""
    rules = {text.partition(":")[0] for text in found(TWINS[name].design, STRATEGIES, SCHEDULES).values()}
    assert rules
    assert rules <= TWINS[name].rules


@pytest.mark.long
@pytest.mark.parametrize("name", DESIGNS)
def test_nothing_is_found_in_many_schedules(name: str) -> None:
    """As above."""
    assert found(DESIGNS[name], DEEP_STRATEGIES, MANY) == {}


@pytest.mark.long
@pytest.mark.parametrize("name", TWINS)
def test_one_wrong_line_is_found_in_many_schedules(name: str) -> None:
    """As above, the hard ones too."""
    rules = {text.partition(":")[0] for text in found(TWINS[name].design, DEEP_STRATEGIES, MANY).values()}
    assert rules
    assert rules <= TWINS[name].rules


@pytest.mark.parametrize(("name", "rules"), [("none", {"crash", "guarded_by"}), ("srcu", {"crash"})])
def test_what_does_not_exclude_is_found(name: str, rules: set[str]) -> None:
    """No lock at all is never held where data claims it; a reader of an SRCU domain runs beside the writer."""
    design = LockDesign(name, "no read/write lock", LOCK_POLICIES[name], "none")
    failures = found(design, STRATEGIES, SCHEDULES)
    assert set(failures) == set(STRATEGIES)
    assert {text.partition(":")[0] for text in failures.values()} == rules
