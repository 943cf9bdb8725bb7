"""A range lock keeps apart what overlaps, and nothing else."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from gmemsim.contention.point import Point
from gmemsim.contention.range_locks import RANGE_POLICIES, RangeLock
from gmemsim.contention.storm import run
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine

if TYPE_CHECKING:
    from gmemsim.engine.task import Task


@pytest.mark.parametrize("kind", RANGE_POLICIES.values())
def test_overlaps_exclude_and_nothing_else(kind: type[RangeLock]) -> None:
    """Twelve tasks over ranges of eight pages: those that conflict never hold at once, the others may."""
    lock = kind("gmem0.invalidate_lock")
    spans: list[tuple[int, int, bool, int, int]] = []

    async def body(t: Task, low: int, high: int, write: bool) -> None:
        await t.spend(low)
        lock.said[t] = (low, high)
        await (lock.down_write(t) if write else lock.down_read(t))
        since = t.engine.now
        await t.spend(100)
        spans.append((low, high, write, since, t.engine.now))
        await (lock.up_write(t) if write else lock.up_read(t))

    engine = Engine()
    for number in range(12):
        engine.spawn(f"t{number}", body, number, number + 1 + number % 4, number % 3 == 0)
    bare.run(engine)
    assert len(spans) == 12
    together = 0
    for one, other in combinations(spans, 2):
        at_once = one[3] < other[4] and other[3] < one[4]
        overlap = one[0] < other[1] and other[0] < one[1]
        assert not (at_once and overlap and (one[2] or other[2]))
        together += at_once and (one[2] or other[2])
    assert together
    assert not lock.is_locked()


def test_faults_do_not_wait_for_a_conversion_of_other_pages() -> None:
    """Under the rw-semaphore they do."""
    point = Point("inplace", "sw-protected", "refault", "convert", 16, 512, costs="full", seed=1)
    whole = run(point)
    assert whole.lock("invalidate_lock:r").contentions
    for policy in RANGE_POLICIES:
        found = run(
            Point(
                "inplace", "sw-protected", "refault", "convert", 16, 512, policy=policy, costs="full", seed=1
            )
        )
        assert not found.lock("invalidate_lock:r").contentions
        assert found.lock("invalidate_lock:r").acquisitions >= 512
