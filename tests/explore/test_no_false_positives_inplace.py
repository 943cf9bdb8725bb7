"""No oracle fires on the versions that convert in place, whatever the workload and the schedule."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from tests.explore.workloads import LAUNCHED, Plan
from tests.model.inplace_rig import ARCHES, InplaceRig

from gmemsim.engine.strategy import RandomStrategy
from gmemsim.patches.registry import IN_PLACE

#: Seeds per patch version.
MANY = 100


def random_plan(random: Random, pages: int, kind: str) -> Plan:
    """Two vCPUs and one to three VMM threads that convert, punch, map, pin, bind and close."""

    def span() -> tuple[int, int]:
        start = random.randrange(pages)
        return start, random.randrange(start, pages) + 1

    def guest() -> tuple[Any, ...]:
        if random.random() < 0.2:
            return "prefault", 0, random.randrange(2), random.randrange(pages), 1
        return "access", 0, random.randrange(2), random.randrange(pages), random.random() < 0.4

    def vmm() -> tuple[Any, ...]:
        choices: list[tuple[Any, ...]] = [
            ("convert", 0, *span(), private) for private in (False, True, False, True)
        ]
        choices += [
            ("fallocate", 0, *span(), True),
            ("fallocate", 0, *span(), False),
            ("touch", 0, random.randrange(pages), False),
            ("touch", 0, random.randrange(pages), True),
            ("pin", 0, random.randrange(pages)),
            ("unpin",),
            ("discard", 0, *span()),
            ("delete", 0, 0),
            ("create", 0, 0, 0, pages, 0),
            ("close", 0),
            ("munmap", 0),
        ]
        if kind in LAUNCHED:
            choices += [("populate", 0, random.randrange(pages), random.randrange(1, 3))] * 2
            choices.append(("launch", 0))
        return random.choice(choices)

    threads = [[guest() for _ in range(random.randrange(1, 4))] for _ in range(2)]
    threads += [[vmm() for _ in range(random.randrange(1, 4))] for _ in range(random.randrange(1, 4))]
    return Plan(*threads, faults={"need_resched": 1} if random.random() < 0.3 else {})


@pytest.mark.parametrize("patch", ["inplace-v8", "inplace"])
def test_random_workloads(patch: str) -> None:
    """One file that begins private or shared, on every VM type, launched or not."""
    converted = 0
    for seed in range(MANY):
        random = Random(seed)
        kind = random.choice(sorted(ARCHES))
        machine = InplaceRig(
            IN_PLACE[patch],
            kind,
            shared=random.random() < 0.5,
            pages=random.choice((1, 2, 3)),
            finalized=random.random() < 0.7,
        )
        began = machine.kinds
        plan = random_plan(random, machine.pages, kind)
        oracles = machine.run(plan, RandomStrategy(seed), max_steps=40_000)
        assert not oracles.violations, (seed, plan)
        assert {note.kind for note in oracles.notes} <= {"DOUBLE_VALIDATE", "TDX_LOST_PAGE"}, (seed, plan)
        converted += machine.kinds != began
    assert converted > MANY // 4
