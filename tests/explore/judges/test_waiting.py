"""Who is passed over in a queue, and how often a policy allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from gmemsim.engine.locks.folio_lock import FolioLock, FolioLockClass
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rivals import FifoFair, ReaderPreferring
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.spinlock import QueuedRwLock
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.explore.judges.waiting import BoundedWaiting, bound_of
from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import Limits, SearchResult, search

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task


class AtRandom(RandomStrategy):
    """Uniform."""

    name: ClassVar[str] = "at random"
    summary: ClassVar[str] = ""
    complete = False
    bound = ""


def crowd(
    make: Callable[[], Any], readers: int, writers: int, rounds: int
) -> Callable[[Engine], Callable[[], object]]:
    """Tasks that take one lock again and again; of a lock without modes, everybody writes."""

    def setup(engine: Engine) -> Callable[[], object]:
        lock = make()
        prefix = "down_" if hasattr(lock, "down_write") else ""

        async def body(t: Task, mode: str) -> None:
            for _ in range(rounds):
                if prefix:
                    await getattr(lock, f"down_{mode}")(t)
                    await getattr(lock, f"up_{mode}")(t)
                elif hasattr(lock, "write_lock"):
                    await getattr(lock, f"{mode}_lock")(t)
                    await getattr(lock, f"{mode}_unlock")(t)
                else:
                    await lock.lock(t)
                    await lock.unlock(t)

        for number in range(readers):
            engine.spawn(f"r{number}", body, "read")
        for number in range(writers):
            engine.spawn(f"w{number}", body, "write")
        return str

    return setup


def watched(
    make: Callable[[], Any], watch: BoundedWaiting, seeds: int = 150, readers: int = 2, writers: int = 2
) -> SearchResult:
    program = TaskProgram("crowd", crowd(make, readers, writers, 6))
    return search(program, AtRandom(1), Limits(schedules=seeds), observers=[watch])


@pytest.mark.parametrize(
    "make",
    [
        lambda: QueuedRwLock("mmu_lock"),
        lambda: FifoFair("lock"),
        lambda: Mutex("mutex"),
        lambda: FolioLock("gmem0.folio", 0, FolioLockClass("folio")),
        lambda: RwSem("sem"),
        lambda: ReaderPreferring("lock"),
    ],
    ids=["queued", "fifo", "mutex", "folio", "rwsem", "reader-preferring"],
)
def test_locks_keep_what_they_promise(make: Callable[[], Any]) -> None:
    watch = BoundedWaiting()
    assert not watched(make, watch).found


def test_who_was_woken_and_has_not_run_is_not_passed_over() -> None:
    """Readers that are let in together run in any order."""
    assert not watched(lambda: QueuedRwLock("mmu_lock"), BoundedWaiting({"mmu_lock": 0}), readers=3).found


class Unfair(QueuedRwLock):
    """Grants to who came last."""

    def _pass_on(self, t: Task) -> None:
        self._queue.reverse()
        super()._pass_on(t)
        self._queue.reverse()


def test_queue_turned_round_is_seen() -> None:
    (found,) = watched(lambda: Unfair("mmu_lock"), BoundedWaiting(), readers=0, writers=3).found
    assert found.failure.rule == "bounded_waiting"
    details = found.failure.details
    assert details["lock"] == "mmu_lock"
    assert details["bound"] == 0
    assert len(details["passed"]) == 1
    assert details["waiter"] not in details["passed"]


def test_semaphore_can_be_held_to_a_number() -> None:
    """Writers barge past a sleeping waiter, which its policy allows; a number of one's own makes it a failure."""
    free = BoundedWaiting()
    assert not watched(lambda: RwSem("sem"), free).found
    assert free.most["sem"] > 1
    (found,) = watched(lambda: RwSem("sem"), BoundedWaiting({"sem": 1})).found
    assert found.failure.details["bound"] == 1


def test_bounds() -> None:
    assert bound_of(QueuedRwLock("x")) == 0
    assert bound_of(FifoFair("x")) == 0
    for lock in (Mutex("x"), FolioLock("x", 0, FolioLockClass("x")), RwSem("x"), ReaderPreferring("x")):
        assert bound_of(lock) is None


def test_downgrade_passes_nobody_over() -> None:
    """A writer that becomes a reader keeps the lock: who sleeps in the queue is where it was."""

    def setup(engine: Engine) -> Callable[[], object]:
        lock = FifoFair("lock")

        async def downgrader(t: Task) -> None:
            await lock.down_write(t)
            await lock.downgrade_write(t)
            await lock.up_read(t)

        async def writer(t: Task) -> None:
            await lock.down_write(t)
            await lock.up_write(t)

        engine.spawn("downgrader", downgrader)
        engine.spawn("writer", writer)
        return str

    watch = BoundedWaiting()
    result = search(TaskProgram("downgrade", setup), AtRandom(1), Limits(schedules=50), observers=[watch])
    assert not result.found
