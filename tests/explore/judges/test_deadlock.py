"""What a run that stops says about why: a cycle, a lost wake-up, or nobody's turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.engine.cell import Cell
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import Deadlock
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.spinlock import QueuedRwLock
from gmemsim.engine.locks.srcu import Srcu
from gmemsim.engine.mailbox import Mailbox
from gmemsim.engine.op import Op
from gmemsim.explore.failure import Failure
from gmemsim.explore.judges.deadlock import Cycles, Holder, WaitEdge, WaitFor, Waiting
from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import search
from gmemsim.explore.strategies.dfs import DepthFirst
from gmemsim.scenarios.rendezvous import Rendezvous

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.task import Task


def failures(setup: Callable[[Engine], None]) -> list[Failure]:
    """Everything that a search of all schedules finds."""

    def program(engine: Engine) -> Callable[[], object]:
        setup(engine)
        return str

    result = search(TaskProgram("x", program), DepthFirst(), keep_going=True)
    assert result.complete
    return [found.failure for found in result.found]


def the_only(setup: Callable[[Engine], None], rule: str) -> WaitFor:
    (failure,) = failures(setup)
    assert failure.rule == rule
    assert isinstance(failure.error, Deadlock)
    stuck = failure.details["wait_for"]
    assert isinstance(stuck, WaitFor)
    return stuck


def test_abba_is_a_cycle_of_two_holders() -> None:
    def setup(engine: Engine) -> None:
        one, two = Mutex("one.lock"), Mutex("two.lock")

        async def body(t: Task, first: Mutex, second: Mutex) -> None:
            await first.lock(t)
            await second.lock(t)
            await second.unlock(t)
            await first.unlock(t)

        engine.spawn("a", body, one, two)
        engine.spawn("b", body, two, one)

    stuck = the_only(setup, "deadlock")
    assert stuck.kind == "cycle"
    assert set(stuck.cycle) == {
        WaitEdge("a", "two.lock", "w", "b", True, "w"),
        WaitEdge("b", "one.lock", "w", "a", True, "w"),
    }
    assert stuck.holders["one.lock"] == (Holder("a", "w"),)
    assert stuck.queues["one.lock"] == (Waiting("b", "w"),)


@pytest.mark.parametrize("kind", [RwSem])
def test_recursive_read_behind_a_queued_writer(kind: type[RwSem]) -> None:
    """No holder stands in the reader's way: the queue does."""

    def setup(engine: Engine) -> None:
        sem = kind("sem", spinning=False)

        async def twice(t: Task) -> None:
            await sem.down_read(t)
            await sem.down_read(t)
            await sem.up_read(t)
            await sem.up_read(t)

        async def write(t: Task) -> None:
            await sem.down_write(t)
            await sem.up_write(t)

        engine.spawn("reader", twice)
        engine.spawn("writer", write)

    stuck = the_only(setup, "deadlock")
    assert stuck.cycle == (
        WaitEdge("reader", "sem", "r", "writer", False, "w"),
        WaitEdge("writer", "sem", "w", "reader", True, "r"),
    )
    assert stuck.holders["sem"] == (Holder("reader", "r"),)
    assert stuck.queues["sem"] == (Waiting("writer", "w"), Waiting("reader", "r"))


def test_queued_rwlock_tells_the_modes_of_its_waiters() -> None:
    def setup(engine: Engine) -> None:
        lock, other = QueuedRwLock("mmu_lock"), Mutex("mutex")

        async def one(t: Task) -> None:
            await lock.write_lock(t)
            await other.lock(t)
            await other.unlock(t)
            await lock.write_unlock(t)

        async def two(t: Task) -> None:
            await other.lock(t)
            await lock.read_lock(t)
            await lock.read_unlock(t)
            await other.unlock(t)

        engine.spawn("one", one)
        engine.spawn("two", two)

    stuck = the_only(setup, "deadlock")
    assert stuck.queues["mmu_lock"] == (Waiting("two", "r"),)
    assert stuck.holders["mmu_lock"] == (Holder("one", "w"),)


def test_grace_period_that_waits_for_its_own_reader() -> None:
    """The deletion of a slot holds slots_lock and waits for a reader that wants slots_lock."""

    def setup(engine: Engine) -> None:
        srcu, slots = Srcu("vm0.srcu"), Mutex("vm0.slots_lock")

        async def delete(t: Task) -> None:
            await slots.lock(t)
            await srcu.synchronize(t)
            await slots.unlock(t)

        async def read(t: Task) -> None:
            index = await srcu.read_lock(t)
            await slots.lock(t)
            await slots.unlock(t)
            await srcu.read_unlock(t, index)

        engine.spawn("delete", delete)
        engine.spawn("read", read)

    stuck = the_only(setup, "deadlock")
    assert [(edge.task, edge.on, edge.behind) for edge in stuck.cycle] == [
        ("delete", "vm0.srcu", "read"),
        ("read", "vm0.slots_lock", "delete"),
    ]
    assert stuck.holders["vm0.srcu"] == (Holder("read", "r"),)


class Forgetful(Mutex):
    """A mutex whose release wakes nobody."""

    async def unlock(self, t: Task) -> None:
        if t.traps:
            await t.point(self._release)
        self.owner = None


def test_release_that_wakes_nobody_is_a_lost_wakeup() -> None:
    def setup(engine: Engine) -> None:
        lock = Forgetful("lock")

        async def body(t: Task) -> None:
            await lock.lock(t)
            await lock.unlock(t)

        engine.spawn("a", body)
        engine.spawn("b", body)

    (failure,) = {failure.rule: failure for failure in failures(setup)}.values()
    assert failure.rule == "lost_wakeup"
    stuck = failure.details["wait_for"]
    assert not stuck.cycle
    assert len(stuck.lost) == 1
    assert stuck.lost[0][1] == "lock"


def test_lock_of_a_task_that_ended_is_no_lost_wakeup() -> None:
    """It is held, by somebody who will never give it back."""

    def setup(engine: Engine) -> None:
        lock = Mutex("lock")

        async def keep(t: Task) -> None:
            await lock.lock(t)

        async def want(t: Task) -> None:
            await lock.lock(t)
            await lock.unlock(t)

        engine.spawn("keep", keep)
        engine.spawn("want", want)

    stuck = the_only(setup, "deadlock")
    assert stuck.kind == "unowned"
    assert stuck.edges == (WaitEdge("want", "lock", "w", "keep", True, "w"),)


def test_barrier_that_one_party_never_reaches_is_nobodys_turn() -> None:
    def setup(engine: Engine) -> None:
        barrier, other = Rendezvous("meet", 2), Cell("x", 0)

        async def meet(t: Task) -> None:
            await barrier.wait(t)

        async def pass_by(t: Task) -> None:
            await other.load(t)

        engine.spawn("meet", meet)
        engine.spawn("pass", pass_by)

    stuck = the_only(setup, "deadlock")
    assert stuck.kind == "unowned"
    assert not stuck.edges
    assert not stuck.lost


def test_whose_message_is_served_does_not_wait_for_itself() -> None:
    """Two callers of an actor: while it serves one, the other is blocked behind it, and nobody is stuck."""

    def setup(engine: Engine) -> None:
        box: Mailbox[int] = Mailbox("psp")
        lock = Mutex("lock")

        async def serve(t: Task) -> None:
            while True:
                sender, _ = await box.receive(t)
                await t.point(Op("store", "work"))
                await box.reply(t, sender, 0)

        async def caller(t: Task) -> None:
            await lock.lock(t)
            await box.call(t, 1)
            await lock.unlock(t)

        engine.spawn("server", serve, daemon=True)
        for name in "ab":
            engine.spawn(name, caller)
        Cycles().attach(engine)

    assert not failures(setup)
