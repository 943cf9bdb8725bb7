"""Unbinding without the lock needs no memory error where two VMs have files of one inode (no ioctl makes that yet)."""

from __future__ import annotations

import pytest
from tests.explore.workloads import Machine, Plan

from gmemsim.engine.strategy import RandomStrategy
from gmemsim.oracles import Violation
from gmemsim.patches.registry import load_patch

#: PUNCH_HOLE through one file, while the other file is dying and its slot is deleted.
PLAN = Plan([("fallocate", 0, 0, 1, True)], [("close", 1)], [("delete", 1, 0)])


def broken(patch: str, seeds: int) -> str:
    """The rule that one of the schedules breaks."""
    for seed in range(seeds):
        machine = Machine(load_patch(patch), "private", pages=1)
        machine.add_vm("vm1", "private", 1, share=machine.inode)
        try:
            machine.run(PLAN, RandomStrategy(seed), max_steps=5_000)
        except Violation as violation:
            return violation.rule
    return ""


@pytest.mark.parametrize(("patch", "shows"), [("baseline", True), ("v3", True), ("mainline-7.3", False)])
def test_a_hole_through_the_other_file(patch: str, *, shows: bool) -> None:
    """Its invalidation never ends, or goes on with a slot that is freed."""
    assert broken(patch, 50) in ({"I15", "use_after_free"} if shows else {""})
