"""Searches that leave something out find of every seeded bug what a search of every state finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from gmemsim.explore.judges.livelock import judge
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.zoo.registry import BUGS
from gmemsim.studies.zoo import places, program_of

if TYPE_CHECKING:
    from gmemsim.explore.runs import Program
    from gmemsim.explore.search import SearchResult

#: Places that are through within a second or two; the others are for `make check-long`.
QUICK: Final = frozenset(
    {
        "launch-finish-repeated",
        "mf-delayed-treated-as-failure",
        "prefault-vs-memslot-delete",
        "tdx-seamcall-ioctl-contention",
    }
)
PLACES: Final = [
    pytest.param(
        ident,
        patch,
        arch,
        id=f"{ident}, {patch}, {arch}",
        marks=() if ident in QUICK else pytest.mark.long,
    )
    for ident, bug in BUGS.items()
    for patch, arch in places(bug)
]
#: Of states, of runs where states are not remembered (of the quick places), and of the steps of a run.
STATES: Final = 40_000
RUNS: Final = 5_000
FEW_RUNS: Final = 200
STEPS: Final = 5_000


def ask(program: Program, strategy: str, runs: int) -> SearchResult:
    """Everything that a strategy finds."""
    made = make_strategy(strategy, 0)
    limits = (
        Limits(schedules=None, states=STATES, steps=STEPS)
        if strategy.startswith("stateful")
        else Limits(schedules=runs, steps=STEPS)
    )
    return search(program, made, limits, keep_going=True, collect_outcomes=True, judge=judge)


def failures(result: SearchResult, without: Any = ()) -> set[tuple[str, str]]:
    """Rule and kind of everything found, of some rules not."""
    return {found.sort[:2] for found in result.found if found.sort[0] not in without}


@pytest.mark.parametrize(("ident", "patch", "arch"), PLACES)
def test_what_is_left_out_loses_nothing(ident: str, patch: str, arch: str) -> None:
    """Sleep sets and `dpor`: the same outcomes, and the same failures of rules for which they are exact."""
    program = program_of(BUGS[ident], patch, arch)
    runs = FEW_RUNS if ident in QUICK else RUNS
    whole = ask(program, "stateful", runs)
    if not whole.complete:
        assert ident not in QUICK
        pytest.skip(f"more than {STATES:,} states")
    compared = 0
    for strategy in ("stateful:1", "stateful:2", "dpor", "dfs"):
        other = ask(program, strategy, runs)
        if not other.complete:
            continue
        compared += 1
        assert failures(other, other.left_out) == failures(whole, other.left_out), strategy
        assert failures(other) <= failures(whole), strategy
        assert set(other.outcomes) == set(whole.outcomes), strategy
        if not other.left_out:
            assert failures(other) == failures(whole), strategy
    assert compared > 1
