"""Mutex, spin locks, folio lock and SRCU: exclusion under random schedules, statistics, misuse."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.locks.stage import BLOCKED, Stage

from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import Deadlock, ModelError
from gmemsim.engine.locks.folio_lock import PAGE_LOCK_UNFAIRNESS, FolioLock, FolioLockClass
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.spinlock import QueuedRwLock, SpinLock
from gmemsim.engine.locks.srcu import Srcu
from gmemsim.engine.strategy import RandomStrategy

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gmemsim.engine.op import Op
    from gmemsim.engine.task import Task

    Body = Callable[[Task], Coroutine[Any, Any, None]]

EXCLUSIVE: dict[str, Callable[[], Any]] = {
    "mutex": lambda: Mutex("x"),
    "spin": lambda: SpinLock("x"),
    "folio": lambda: FolioLock("x", 3, FolioLockClass("folio")),
}


def play(seed: int | None, *bodies: Body, wake_ns: int = 0) -> Engine:
    """A run under the random schedule of `seed`, or a timed one."""
    engine = Engine(None if seed is None else RandomStrategy(seed), max_steps=100_000, wake_ns=wake_ns)
    for name, body in zip("abcdefgh", bodies, strict=False):
        engine.spawn(name, body)
    bare.run(engine)
    return engine


async def pause(t: Task, op: Op) -> None:
    if t.traps:
        await t.point(op)


@pytest.mark.parametrize("kind", EXCLUSIVE)
@pytest.mark.parametrize("block", range(3))
def test_one_task_at_a_time(kind: str, block: int) -> None:
    # Three tasks that come back again and again: two of them woken and overtaken is the hard case.
    for seed in range(block * 150, block * 150 + 150):
        lock = EXCLUSIVE[kind]()
        inside: list[str] = []

        async def body(t: Task, lock: Any = lock, inside: list[str] = inside) -> None:
            for _ in range(5):
                await lock.lock(t)
                assert inside == []
                inside.append(t.name)
                await pause(t, t.pending)
                inside.remove(t.name)
                await lock.unlock(t)

        play(seed, body, body, body, body)
        statistics = lock.cls.statistics() if kind == "folio" else lock.statistics()
        assert statistics.write.acquisitions == 20
        assert statistics.write.contentions <= 20
        assert tuple(lock.holders()) == ()


@pytest.mark.parametrize("kind", EXCLUSIVE)
def test_wait_and_hold_add_up(kind: str) -> None:
    lock = EXCLUSIVE[kind]()
    seen = {"wait": 0, "hold": 0}
    random = Random(7)

    async def body(t: Task) -> None:
        for _ in range(10):
            await t.spend(random.randrange(2_000))
            asked = t.engine.now
            await lock.lock(t)
            got = t.engine.now
            await t.spend(random.randrange(2_000))
            await lock.unlock(t)
            seen["wait"] += got - asked
            seen["hold"] += t.engine.now - got

    play(None, body, body, body, wake_ns=300)
    statistics = (lock.cls if kind == "folio" else lock).statistics()
    assert statistics.write.acquisitions == 30
    assert (statistics.write.wait_total, statistics.write.hold_total) == (seen["wait"], seen["hold"])
    assert 0 < statistics.write.wait_max <= statistics.write.wait_total


@pytest.mark.parametrize("kind", ["mutex", "folio"])
def test_trylock_takes_a_free_lock_only(kind: str) -> None:
    stage = Stage(lambda label: EXCLUSIVE[kind]())
    assert stage.do("a", "trylock") is True
    assert stage.do("b", "trylock") is False
    assert stage.do("c", "lock") is BLOCKED
    stage.do("a", "unlock")
    assert stage.go("c") is None
    assert stage.mentions("c")[-1] == "Lock w"
    stage.close()


@pytest.mark.parametrize("kind", ["mutex", "folio"])
def test_a_mutex_is_not_recursive(kind: str) -> None:
    stage = Stage(lambda label: EXCLUSIVE[kind]())
    stage.do("a", "lock")
    with pytest.raises(ModelError, match="twice"):
        stage.do("a", "lock")


@pytest.mark.parametrize("kind", EXCLUSIVE)
def test_unlocking_what_is_not_locked_is_an_error(kind: str) -> None:
    stage = Stage(lambda label: EXCLUSIVE[kind]())
    with pytest.raises(ModelError, match="x"):
        stage.do("a", "unlock")


def test_only_the_owner_unlocks_a_mutex_but_anybody_a_folio() -> None:
    for kind, mine in (("mutex", True), ("folio", False)):
        stage = Stage(lambda label, kind=kind: EXCLUSIVE[kind]())  # type: ignore[misc] # the default binds it
        stage.do("a", "lock")
        if mine:
            with pytest.raises(ModelError, match="owned by"):
                stage.do("b", "unlock")
        else:
            assert stage.do("b", "unlock") is None
        stage.close()


@pytest.mark.parametrize("kind", EXCLUSIVE)
def test_a_lock_that_nobody_gives_back_is_a_deadlock(kind: str) -> None:
    lock = EXCLUSIVE[kind]()

    async def body(t: Task) -> None:
        await lock.lock(t)

    with pytest.raises(Deadlock, match=r"b waits for x.* held by a"):
        play(None, body, body)


def test_a_mutex_waiter_is_overtaken_once() -> None:
    stage = Stage(lambda label: Mutex("x"))
    stage.do("a", "lock")
    assert stage.do("w", "lock") is BLOCKED
    stage.do("a", "unlock")
    assert stage.do("b", "lock") is None
    assert stage.go("w") is BLOCKED
    stage.do("b", "unlock")
    assert stage.do("c", "lock") is BLOCKED
    assert stage.go("w") is None
    stage.close()


def test_two_overtaken_mutex_waiters_do_not_wait_for_each_other() -> None:
    # Both were woken and overtaken; only one of them can be promised the lock, and the promise must be kept.
    stage = Stage(lambda label: Mutex("x"))
    stage.do("d", "lock")
    assert [stage.do("a", "lock"), stage.do("b", "lock")] == [BLOCKED, BLOCKED]
    for _ in range(2):
        stage.do("d", "unlock")
        assert stage.do("d", "lock") is None
    assert stage.go("a") is BLOCKED
    stage.do("d", "unlock")
    assert stage.go("b") is BLOCKED
    assert stage.go("a") is None
    stage.do("a", "unlock")
    assert stage.go("b") is None
    stage.close()


def test_a_folio_waiter_is_overtaken_five_times() -> None:
    stage = Stage(lambda label: EXCLUSIVE["folio"]())
    stage.do("a", "lock")
    assert stage.do("w", "lock") is BLOCKED
    stage.do("a", "unlock")
    for _ in range(PAGE_LOCK_UNFAIRNESS):
        assert stage.do("b", "lock") is None
        assert stage.go("w") is BLOCKED
        stage.do("b", "unlock")
    assert stage.do("b", "lock") is BLOCKED
    assert stage.go("w") is None
    stage.close()


def test_a_folio_waiter_that_lost_queues_at_the_tail() -> None:
    """And the hand-over that it is due comes when it is the first again, not before."""
    stage = Stage(lambda label: EXCLUSIVE["folio"]())
    stage.do("a", "lock")
    assert [stage.do("w", "lock"), stage.do("x", "lock")] == [BLOCKED, BLOCKED]
    stage.do("a", "unlock")
    assert stage.do("b", "lock") is None
    assert stage.go("w") is BLOCKED
    stage.do("b", "unlock")
    assert stage.go("x") is None
    stage.do("x", "unlock")
    assert stage.go("w") is None
    stage.do("w", "unlock")
    # Five losses, each with one more waiter in front: it is marked, and still waits for its turn.
    stage.do("a", "lock")
    assert stage.do("w", "lock") is BLOCKED
    for _ in range(PAGE_LOCK_UNFAIRNESS - 1):
        stage.do("a", "unlock")
        assert stage.do("a", "lock") is None
        assert stage.go("w") is BLOCKED
    assert stage.do("x", "lock") is BLOCKED
    stage.do("a", "unlock")
    assert stage.do("a", "lock") is None
    assert stage.go("w") is BLOCKED
    stage.do("a", "unlock")
    assert stage.go("x") is None
    stage.do("x", "unlock")
    assert stage.do("a", "trylock") is False
    assert stage.go("w") is None
    stage.close()


def test_a_new_folio_is_locked_without_a_step() -> None:
    cls = FolioLockClass("folio")
    lock = FolioLock("x", 0, cls)
    stage = Stage(lambda label: lock)
    lock.take_new(stage.task("a"))
    assert lock.locked
    assert stage.do("b", "trylock") is False
    stage.do("a", "unlock")
    assert cls.statistics().write.acquisitions == 1
    assert not cls.waiters
    stage.close()


@pytest.mark.parametrize("block", range(2))
def test_the_queued_rwlock_excludes(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        lock = QueuedRwLock("x")
        readers: set[str] = set()
        writers: set[str] = set()

        async def body(
            t: Task, lock: QueuedRwLock = lock, readers: set[str] = readers, writers: set[str] = writers
        ) -> None:
            for turn in range(4):
                if (turn + t.ident) % 3:
                    await lock.read_lock(t)
                    assert not writers
                    readers.add(t.name)
                    await pause(t, t.pending)
                    readers.remove(t.name)
                    await lock.read_unlock(t)
                else:
                    await lock.write_lock(t)
                    assert not writers | readers
                    writers.add(t.name)
                    await pause(t, t.pending)
                    writers.remove(t.name)
                    await lock.write_unlock(t)

        play(seed, body, body, body, body)
        statistics = lock.statistics()
        assert statistics.read.acquisitions + statistics.write.acquisitions == 16
        assert not lock.contended()


def test_a_waiting_writer_closes_the_queued_rwlock_to_readers() -> None:
    stage = Stage(QueuedRwLock)
    stage.do("a", "read_lock")
    assert stage.do("w", "write_lock") is BLOCKED
    assert stage.do("b", "read_lock") is BLOCKED
    assert stage.do("c", "read_lock") is BLOCKED
    assert stage.lock.contended()
    stage.do("a", "read_unlock")
    assert stage.go("w") is None
    assert stage.lock.writer is stage.task("w")
    stage.do("w", "write_unlock")
    assert [stage.go("b"), stage.go("c")] == [None, None]
    assert stage.lock.read_held(stage.task("b"))
    stage.close()


def test_the_queued_rwlock_refuses_misuse() -> None:
    stage = Stage(QueuedRwLock)
    with pytest.raises(ModelError, match="without holding"):
        stage.do("a", "read_unlock")
    with pytest.raises(ModelError, match="held by"):
        stage.do("b", "write_unlock")
    stage.do("c", "read_lock")
    with pytest.raises(ModelError, match="twice"):
        stage.do("c", "read_lock")
    stage.do("d", "read_lock")
    with pytest.raises(ModelError, match="recursively"):
        stage.do("d", "write_lock")


def test_a_grace_period_waits_for_the_sections_that_were_open() -> None:
    for seed in range(150):
        srcu = Srcu("x")
        open_now: set[tuple[str, int]] = set()

        async def reader(t: Task, srcu: Srcu = srcu, open_now: set[tuple[str, int]] = open_now) -> None:
            for turn in range(4):
                index = await srcu.read_lock(t)
                open_now.add((t.name, turn))
                await pause(t, t.pending)
                open_now.remove((t.name, turn))
                await srcu.read_unlock(t, index)

        async def writer(t: Task, srcu: Srcu = srcu, open_now: set[tuple[str, int]] = open_now) -> None:
            for _ in range(2):
                before = set(open_now)
                await srcu.synchronize(t)
                assert not before & open_now

        play(seed, reader, reader, writer, writer)
        statistics = srcu.statistics()
        assert statistics.read.acquisitions == 8
        assert statistics.read.contentions == 0
        assert statistics.write.acquisitions == 4
        assert statistics.waiters == ()


def test_an_srcu_reader_never_waits_for_a_grace_period() -> None:
    stage = Stage(Srcu)
    index = stage.do("a", "read_lock")
    assert stage.do("w", "synchronize") is BLOCKED
    late = stage.do("b", "read_lock")
    assert late != index
    stage.do("a", "read_unlock", index)
    # The second flip waits for b's bank: longer than needed, never too short.
    assert stage.go("w") is BLOCKED
    stage.do("b", "read_unlock", late)
    assert stage.go("w") is None
    stage.close()


def test_srcu_refuses_misuse() -> None:
    stage = Stage(Srcu)
    with pytest.raises(ModelError, match="not in"):
        stage.do("a", "read_unlock", 0)
    stage.do("b", "read_lock")
    stage.do("b", "read_lock")
    with pytest.raises(ModelError, match="inside its own read section"):
        stage.do("b", "synchronize")
