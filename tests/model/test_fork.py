"""fork(2): descriptors are copied before mappings (`copy_process`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.rig import Rig

from gmemsim.actors.inode import Process
from gmemsim.engine.op import Op
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.patches.v3 import V3

if TYPE_CHECKING:
    from gmemsim.engine.task import Task


def test_who_waits_for_mmap_lock_has_copied_the_descriptors() -> None:
    seen = set()
    for seed in range(20):
        r = Rig(V3, "shared")
        file = r.files[0]
        before = file.count.value

        async def holds(t: Task, r: Rig = r) -> int:
            await r.process.mmap_lock.down_write(t)
            for _ in range(20):
                await t.point(Op("step", "nothing"))
            copied: int = r.files[0].count.value
            await r.process.mmap_lock.up_write(t)
            return copied

        async def fork(t: Task, r: Rig = r) -> None:
            await r.kernel.fork(t, r.process, Process("child"), {"gmem0": r.files[0]})

        held, _ = r.run_all(holds, fork, strategy=RandomStrategy(seed))
        seen.add(held - before)
    assert 1 in seen
