"""What steps announce, over the library: a range that is none would hide a step from the reduction."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from gmemsim.engine.errors import EngineError
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.explore.program import ScenarioProgram
from gmemsim.scenarios.catalogue import load_named

if TYPE_CHECKING:
    from gmemsim.engine.op import Op
    from gmemsim.engine.task import Task


@pytest.mark.parametrize(
    ("scenario", "patch", "arch"),
    [
        ("punch", "baseline", "sw-protected"),
        ("conv1_punch1", "v3", "snp"),
        ("conv1_punch1", "v3", "tdx"),
        ("launch", "v3", "snp"),
        ("launch", "mainline-7.3", "tdx"),
        ("lazy_accept", "v3", "tdx"),
        ("hole", "v3", "snp"),
        ("hole", "v2", "tdx"),
        ("mmap_punch", "v3", "default"),
        ("memory_failure", "v1", "default"),
        ("slot_delete", "v3", "sw-protected"),
        ("two_vms", "v3", "snp"),
        ("inplace_convert", "inplace", "sw-protected"),
        ("inplace_hypercall", "inplace", "snp"),
        ("inplace_share", "inplace-v8", "sw-protected"),
        ("inplace_populate", "inplace", "snp"),
    ],
)
def test_every_range_is_one(scenario: str, patch: str, arch: str) -> None:
    ops: dict[Op, None] = {}
    touched: list[Op] = []
    for seed in range(2):
        program = ScenarioProgram(scenario=load_named(scenario), patch=patch, arch=arch, rules=frozenset())
        made = program.build(RandomStrategy(seed), max_steps=3_000)

        def look(task: Task) -> None:
            ops[task.pending] = None

        made.engine.ask_touched(touched)
        made.engine.watch_steps(look)
        with suppress(EngineError):
            made.run()
    assert len(ops) > 5
    assert touched
    assert [op for op in (*ops, *touched) if not 0 <= op.lo < op.hi] == []
