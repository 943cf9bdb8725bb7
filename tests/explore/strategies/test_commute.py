"""Steps of the whole model that claim to be independent commute, and reduction loses no outcome of real scenarios."""

from __future__ import annotations

import pytest
from tests.explore.strategies import commute
from tests.explore.strategies.commute import swap_neighbours
from tests.explore.strategies.micro_programs import FLAVOURS, micro_program

from gmemsim.arch.registry import ARCHES
from gmemsim.engine.locks.policies import LOCK_POLICIES
from gmemsim.engine.op import Footprint
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies.dpor import Dpor
from gmemsim.explore.strategies.dpor_order import conflict
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.scenarios.catalogue import load_named, names


def program(scenario: str, patch: str, arch: str | None = None) -> ScenarioProgram:
    return ScenarioProgram(scenario=load_named(scenario), patch=patch, arch=arch, rules=frozenset())


@pytest.mark.parametrize(
    ("scenario", "patch", "arch", "seed"),
    [
        ("slot_delete", "v3", "sw-protected", 1),
        ("slot_delete", "v3", "default", 12),
        ("slot_delete", "baseline", "tdx", 14),
        ("conv1_punch1", "mainline-7.3", "tdx", 1),
        ("conv1_punch1", "v2", "snp", 2),
        ("hole", "v3", "sw-protected", 7),
        ("disjoint", "v3", "sw-protected", 6),
        ("munmap", "v3", "default", 9),
        ("prefault", "v3", "snp", 5),
        ("prefault", "v3", "tdx", 4),
        ("populate_busy", "baseline", "snp", 3),
        ("herd", "tracked", "sw-protected", 1),
        ("memory_failure", "v1", "default", 5),
        ("signals", "v3", None, 3),
    ],
)
def test_independent_neighbours_commute(scenario: str, patch: str, arch: str | None, seed: int) -> None:
    compared = 0
    for number in range(seed, seed + 2):
        count, wrong = swap_neighbours(program(scenario, patch, arch), number, 12)
        assert not wrong, wrong[0]
        compared += count
    assert compared


@pytest.mark.parametrize("patch", ["v3", "inplace", "hugepage"])
def test_independent_neighbours_commute_in_every_scenario(patch: str) -> None:
    """A few pairs of one run of each, on each VM type that it is for: wide where the rows above are deep."""
    compared = 0
    for name in names():
        for arch in load_named(name).head.vm_types:
            if arch in ARCHES or patch == "inplace":
                count, wrong = swap_neighbours(program(name, patch, arch), 1, 4)
                assert not wrong, f"{name} on {arch}: {wrong[0]}"
                compared += count
    assert compared > 250


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_independent_neighbours_of_micro_programs_commute(flavour: str) -> None:
    compared = 0
    for seed in range(12):
        count, wrong = swap_neighbours(micro_program(seed, flavour), seed, 4)
        assert not wrong, wrong[0]
        compared += count
    assert compared


@pytest.mark.parametrize(("scenario", "arch"), [("slot_delete", "default"), ("disjoint", "sw-protected")])
def test_touch_that_is_not_told_is_noticed(scenario: str, arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """About one run in ten holds such a pair, so many are tried: which ones they are changes with every new step."""

    def announced_only(a: Footprint, b: Footprint) -> bool:
        return conflict(a[:1], b[:1])

    monkeypatch.setattr(commute, "conflict", announced_only)
    assert any(swap_neighbours(program(scenario, "v3", arch), seed, 1_000)[1] for seed in range(1, 100))


@pytest.mark.parametrize(
    ("scenario", "patch"),
    [
        ("munmap", "v3"),
        ("munmap", "baseline"),
        ("poison_host", "v3"),
        ("stop_on_exit", "v3"),
    ],
)
def test_reduction_and_remembered_states_agree(scenario: str, patch: str) -> None:
    """Plain depth-first search has no chance here; the two others have nothing in common but the model."""
    outcomes = []
    for strategy in (Dpor(), Stateful()):
        result = search(
            program(scenario, patch),
            strategy,
            Limits(schedules=4_000),
            keep_going=True,
            collect_outcomes=True,
        )
        assert result.complete
        outcomes.append(result.outcomes.keys())
    assert outcomes[0] == outcomes[1]


def test_every_policy_is_among_the_micro_programs() -> None:
    names = {name for name in LOCK_POLICIES if name not in ("rwsem", "rwsem-fine")}
    seen = set()
    for seed in range(60):
        built = micro_program(seed, "policy")
        seen.add(built.name.split()[-1])
    assert seen >= names
