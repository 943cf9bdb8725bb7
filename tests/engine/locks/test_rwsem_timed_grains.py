"""Timed runs: both grains of the rw-semaphore give the lock to the same tasks at the same times."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from gmemsim.arch.costs import CostTable
from gmemsim.contention.point import Point
from gmemsim.contention.storm import run
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.locks.rwsem import RwSem

from .lab import GRAINS

if TYPE_CHECKING:
    from gmemsim.engine.task import Task


def history(grain: str, seed: int) -> list[tuple[str, str, int]]:
    """Who got the lock when, in a random program of readers and writers that hold, sleep and let go."""
    rng = Random(seed)
    lock, inner = GRAINS[grain]("l"), RwSem("inner")
    got: list[tuple[str, str, int]] = []
    plans = [
        [
            (
                rng.randrange(4000),
                rng.choice("rrw"),
                rng.choice((50, 900, 3000)),
                rng.random() < 0.4,
            )
            for _ in range(30)
        ]
        for _ in range(rng.randrange(2, 9))
    ]

    async def body(t: Task, number: int) -> None:
        for pause, mode, hold, sleeps in plans[number]:
            await t.spend(pause)
            await (lock.down_write(t) if mode == "w" else lock.down_read(t))
            got.append((t.name, mode, t.engine.now))
            if sleeps:
                # A reader behind a writer of the other lock sleeps, and nobody spins on a sleeping owner.
                await (inner.down_read(t) if mode == "w" else inner.down_write(t))
                await t.spend(hold)
                await (inner.up_read(t) if mode == "w" else inner.up_write(t))
            else:
                await t.spend(hold)
            await (lock.up_write(t) if mode == "w" else lock.up_read(t))

    engine = Engine(wake_ns=2000)
    for number in range(len(plans)):
        engine.spawn(f"t{number}", body, number)
    bare.run(engine)
    return got


@pytest.mark.parametrize("seed", range(12))
def test_the_grains_queue_alike(seed: int) -> None:
    coarse, fine = (history(grain, seed) for grain in GRAINS)
    assert len(coarse) > 50
    assert coarse == fine


@pytest.mark.parametrize("vcpus", [4, 16])
def test_a_storm_takes_the_same_time_at_both_grains(vcpus: int) -> None:
    costs = CostTable.default("snp")
    coarse, fine = (
        run(Point("tracked", "snp", "first-touch", "none", vcpus, 256, policy=policy), costs)
        for policy in ("rwsem", "rwsem-fine")
    )
    assert coarse.virtual_ns == fine.virtual_ns
    assert coarse.locks == fine.locks
