"""Lines and short spinlocks: one CPU after another, at the distance of the two, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.arch.platform_costs import PlatformCosts
from gmemsim.engine import bare
from gmemsim.engine.cpus import HANDOVER_LINES, Cpus, Line
from gmemsim.engine.engine import Engine
from gmemsim.engine.locks.folio_lock import FolioLock, FolioLockClass
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rivals import FifoFair
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.rwsem_fine import FineRwSem
from gmemsim.engine.locks.rwsem_rt import RtRwSem
from gmemsim.engine.locks.spinlock import QueuedRwLock
from gmemsim.engine.locks.srcu import Srcu

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gmemsim.engine.task import Task

COSTS = PlatformCosts().replace(
    line=100, line_remote=300, spinlock=20, rwsem=20, mutex=20, folio_lock=20, srcu=10
)


def times(cpus: Cpus, *bodies: Callable[[Task], Coroutine[Any, Any, None]]) -> list[int]:
    """When each of the tasks, all of which begin at 0 on CPUs of their own, was through."""
    engine = Engine(cpus=cpus, wake_ns=2000)
    ends = [0] * len(bodies)

    async def until_end(t: Task, number: int) -> None:
        await bodies[number](t)
        ends[number] = t.engine.now

    for number in range(len(bodies)):
        engine.spawn(f"cpu{number}", until_end, number)
    bare.run(engine)
    return ends


def test_a_line_serves_one_cpu_after_another() -> None:
    cpus, line = Cpus(COSTS, 4), Line()

    async def body(t: Task) -> None:
        await t.spend(cpus.reach(t, line, "x", 7))

    # The first finds it in nobody's cache; the others wait for those before them, and for the line to come.
    assert times(cpus, body, body, body) == [7, 114, 221]
    assert cpus.spent == {"x": 107 + 214}


def test_a_line_at_hand_costs_the_operation_only() -> None:
    cpus, line = Cpus(COSTS, 1), Line()

    async def body(t: Task) -> None:
        for _ in range(3):
            await t.spend(cpus.reach(t, line, "x", 7))

    assert times(cpus, body) == [21]
    assert cpus.spent == {}


def test_sockets_are_blocks_and_farther() -> None:
    cpus = Cpus(COSTS, 4, sockets=2)
    assert [cpus.socket(cpu) for cpu in range(5)] == [0, 0, 1, 1, 1]
    assert [cpus.distance(0, cpu) for cpu in range(4)] == [0, 100, 300, 300]
    assert cpus.distance(-1, 2) == 0
    assert Cpus(COSTS, 4).distance(0, 3) == 100


@pytest.mark.parametrize("grain", [RwSem, FineRwSem, RtRwSem, FifoFair])
def test_an_uncontended_rwsem_costs_its_pair(grain: Any) -> None:
    lock, other = grain("l", line_ns=100), grain("o", line_ns=100)

    async def read(t: Task) -> None:
        for _ in range(2):
            await lock.down_read(t)
            await lock.up_read(t)

    async def write(t: Task) -> None:
        await other.down_write(t)
        await other.up_write(t)

    assert times(Cpus(COSTS, 1), read) == [40]
    assert times(Cpus(COSTS, 1), write) == [20]


@pytest.mark.parametrize("grain", [RwSem, FineRwSem, RtRwSem, FifoFair])
def test_a_writer_takes_the_line_from_readers(grain: Any) -> None:
    lock = grain("l", line_ns=100)

    async def read(t: Task) -> None:
        await lock.down_read(t)
        await lock.up_read(t)

    async def write(t: Task) -> None:
        await t.spend(1000)
        await lock.down_write(t)
        await lock.up_write(t)

    assert times(Cpus(COSTS, 2), read, write) == [20, 1120]


def test_a_queued_spinlock_is_handed_over() -> None:
    lock = QueuedRwLock("l")

    async def body(t: Task) -> None:
        await lock.write_lock(t)
        await t.spend(1000)
        await lock.write_unlock(t)

    first, second = times(Cpus(COSTS, 2), body, body)
    # 10 to lock; the second's attempt took the line away, so the release gets it back: 100 and 10.
    assert first == 10 + 1000 + 100 + 10
    # The hand-over, its own work, and the release on a line that it has.
    assert second == first + HANDOVER_LINES * 100 + 1000 + 10


def test_readers_of_a_rwlock_come_in_one_behind_the_other() -> None:
    lock = QueuedRwLock("l")
    got: list[int] = []

    async def writer(t: Task) -> None:
        await lock.write_lock(t)
        await t.spend(5000)
        await lock.write_unlock(t)

    async def reader(t: Task) -> None:
        await t.spend(1000)
        await lock.read_lock(t)
        got.append(t.engine.now)
        await t.spend(9000)
        await lock.read_unlock(t)

    times(Cpus(COSTS, 3), writer, reader, reader)
    assert got[1] - got[0] == HANDOVER_LINES * 100


def test_a_mutex_is_spun_for_and_then_slept_for() -> None:
    lock, gate = Mutex("l"), FolioLock("f", 0, FolioLockClass("f"))
    got: dict[str, int] = {}

    async def owner(t: Task) -> None:
        await lock.lock(t)
        await t.spend(1000)
        await lock.unlock(t)

    async def spinner(t: Task) -> None:
        await t.spend(100)
        await lock.lock(t)
        got["spinner"] = t.engine.now
        await lock.unlock(t)

    assert max(times(Cpus(COSTS, 2), owner, spinner)) < 2000
    assert 1000 < got["spinner"] < 1400  # without a wake-up

    async def holder(t: Task) -> None:
        await gate.lock(t)
        await t.spend(5000)
        await gate.unlock(t)

    async def sleeper(t: Task) -> None:
        await lock.lock(t)
        await t.spend(200)
        await gate.lock(t)  # the owner of the mutex sleeps from here on
        await gate.unlock(t)
        await lock.unlock(t)

    async def late(t: Task) -> None:
        await t.spend(100)
        await lock.lock(t)
        got["late"] = t.engine.now
        await lock.unlock(t)

    ends = times(Cpus(COSTS, 3), holder, sleeper, late)
    assert got["late"] >= ends[1] + 2000  # woken


def test_folio_lock_srcu_and_sections() -> None:
    lock = FolioLock("f", 0, FolioLockClass("f"))
    srcu = Srcu("s")
    cpus = Cpus(COSTS, 2)

    async def folio(t: Task) -> None:
        await lock.lock(t)
        await lock.unlock(t)

    async def section(t: Task) -> None:
        index = await srcu.read_lock(t)
        await srcu.read_unlock(t, index)

    assert times(Cpus(COSTS, 1), folio) == [20]
    assert times(Cpus(COSTS, 2), section, section) == [10, 10]

    async def short(t: Task) -> None:
        await cpus.section("zone", "zone_lock").run(t, 500)

    # 20 + 500; then a hand-over of two lines before the second's 520.
    assert times(cpus, short, short) == [520, 520 + 200 + 520]
    counted = cpus.lock_class("zone_lock").statistics().write
    assert (counted.acquisitions, counted.contentions, counted.wait_total, counted.hold_total) == (
        2,
        1,
        720,
        1040,
    )


def test_an_interrupt_takes_time_from_those_it_reaches() -> None:
    cpus = Cpus(COSTS, 3)
    engine = Engine(cpus=cpus)

    async def body(t: Task) -> None:
        assert cpus.interrupt(t, range(3), 50) == 2

    engine.spawn("a", body)
    bare.run(engine)
    assert [cpus.stolen(cpu) for cpu in range(3)] == [0, COSTS.ipi_receive + 50, COSTS.ipi_receive + 50]
    assert cpus.stolen(1) == 0


def test_a_stock_is_filled_by_the_batch() -> None:
    cpus = Cpus(COSTS, 2)
    filled = [cpus.empty("pcp", 0, 3) for _ in range(7)]
    assert filled == [True, False, False, True, False, False, True]
    assert sum(cpus.empty("pcp", 1, 63) for _ in range(630)) == 10


def test_an_exploring_run_charges_nothing() -> None:
    assert Engine(exploring=True, cpus=Cpus(COSTS, 1)).cpus is None
