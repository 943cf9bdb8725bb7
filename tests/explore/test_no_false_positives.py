"""No oracle fires on the patch versions as they are, whatever the workload and the schedule.

What the versions themselves get wrong is in `findings`; memory errors that run into it are kept apart here.
"""

from __future__ import annotations

import pytest
from tests.explore.repairs import without_abba
from tests.explore.workloads import Machine, Plan, run_random

from gmemsim.actors.release import RELEASES
from gmemsim.engine.errors import StepLimit
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.oracles import Violation
from gmemsim.patches.registry import PATCHES

#: Seeds per patch version.
MANY = 400


@pytest.mark.parametrize("patch", sorted(PATCHES))
def test_random_workloads(patch: str) -> None:
    """Faults, host accesses, punches, allocations, conversions, pre-faults, slots, closes, pins, launches."""
    for seed in range(MANY):
        oracles, plan = run_random(seed, patch, poison=False)
        assert not oracles.violations, (seed, plan)
        assert {note.kind for note in oracles.notes} <= {"hole", "DOUBLE_VALIDATE", "TDX_LOST_PAGE"}, (
            seed,
            plan,
        )


@pytest.mark.parametrize("patch", sorted(PATCHES))
def test_random_workloads_with_memory_errors(patch: str) -> None:
    """The same with memory errors, on a version whose error hook does not deadlock against PUNCH_HOLE."""
    kernel = without_abba(PATCHES[patch])
    for seed in range(MANY, MANY + MANY // 4):
        oracles, plan = run_random(seed, kernel)
        assert not oracles.violations, (seed, plan)


def test_random_workloads_on_an_old_release() -> None:
    """Linux 6.12: nothing but the stale kind and the endless pre-fault that this release is known for."""
    for seed in range(120):
        found = ""
        try:
            run_random(seed, "baseline", poison=False, release="6.12", max_steps=20_000)
        except Violation as violation:
            found = violation.rule
        except StepLimit:
            found = "endless"
        assert found in {"", "I20", "I28", "endless"}, seed


@pytest.mark.parametrize("release", sorted(RELEASES))
def test_every_release_runs_quietly(release: str) -> None:
    """One fixed workload on every release."""
    plan = Plan(
        [("access", 0, 0, 0, True), ("access", 0, 0, 1, False)],
        [("fallocate", 0, 0, 2, True), ("convert", 0, 1, 2, False), ("convert", 0, 1, 2, True)],
        [("fallocate", 0, 0, 3, False)],
    )
    for seed in range(60):
        machine = Machine(PATCHES["baseline"], "private", release=RELEASES[release])
        assert not machine.run(plan, RandomStrategy(seed)).violations


def test_rest_is_looked_at_between_operations() -> None:
    """With one thread, every operation ends at rest, and nothing is wrong there."""
    plan = Plan(
        [
            ("touch", 0, 0, True),
            ("pin", 0, 0),
            ("access", 0, 0, 0, False),
            ("fallocate", 0, 0, 3, True),
            ("touch", 0, 0, False),
            ("unpin",),
            ("discard", 0, 0, 3),
            ("fail", 0, 0),
            ("access", 0, 0, 0, False),
            ("munmap", 0),
            ("delete", 0, 0),
            ("create", 0, 1, 0, 3, 0),
            ("close", 0),
        ]
    )
    for patch in PATCHES.values():
        assert not Machine(patch, "shared").run(plan).violations
