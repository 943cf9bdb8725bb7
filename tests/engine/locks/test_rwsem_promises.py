"""P1 to P8 of the specification after every step of random schedules (C14), and what must add up at the end."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.engine.locks.lab import GRAINS, World, at_rest, run

from gmemsim.audit.events import Contended, Lock, LockRequest, Unlock
from gmemsim.engine.locks.rwsem_age import AGES
from gmemsim.engine.locks.rwsem_fine import FineRwSem
from gmemsim.engine.locks.rwsem_fine_core import HANDOFF, FineCore
from gmemsim.engine.locks.rwsem_invariants import violations
from gmemsim.engine.strategy import RandomStrategy

if TYPE_CHECKING:
    from gmemsim.engine.task import Task


def programs(seed: int) -> list[str]:
    """Four to six tasks with one to four operations each; in half of them one task kills its neighbour."""
    random = Random(seed)
    tasks = random.randint(4, 6)
    texts = ["".join(random.choices("rrwwtTdkK", k=random.randint(1, 4))) for _ in range(tasks)]
    if seed % 2:
        texts[-1] = "!!"
    return texts


class Watcher:
    """Looks at a lock after every step."""

    def __init__(self) -> None:
        self.promised_to: Any = None
        self.entitled: set[Task] = set()
        self.holders: set[Task] = set()
        self.handoffs = 0

    def look(self, world: World, task: Task) -> None:
        lock: Any = world.lock
        fine = isinstance(lock, FineCore)
        assert not violations(lock, fine and at_rest(world))
        holders = {*lock._readers, *([lock._writer] if lock._writer else [])}
        if self.promised_to is not None:
            # P5: from the moment HANDOFF is set, only queued tasks get the lock; if the head has it, no other
            # writer.
            fresh = holders - self.holders
            assert fresh <= self.entitled, f"{fresh} passed the hand-off"
            if lock._writer in fresh and self.promised_to.handoff_set:
                assert lock._writer is self.promised_to.task
        promised = bool(lock.count & HANDOFF) if fine else lock.handoff
        self.handoffs += promised and self.promised_to is None
        self.promised_to = lock.queue[0] if promised and lock.queue else None
        self.entitled = {waiter.task for waiter in lock.queue}
        if fine:
            # A reader whose R1 came before HANDOFF has the lock already, though it does not know yet.
            self.entitled |= {reader for reader, value in lock._biases.items() if not value & HANDOFF}
        self.holders = holders


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("grain", GRAINS)
def test_c14_promises_hold_after_every_step(grain: str, block: int) -> None:
    handoffs = 0
    for seed in range(block * 60, block * 60 + 60):
        watcher = Watcher()
        world = run(GRAINS[grain], programs(seed), RandomStrategy(seed), watcher.look, record=True)
        assert not world.deadlock, seed
        handoffs += watcher.handoffs
        check_books(world)
        check_pairs(world)
    assert handoffs > 10, "the schedules are too tame to say anything about hand-offs"


def check_books(world: World) -> None:
    """P3 and the counters: every entry ends once, every acquisition is counted once."""
    lock: Any = world.lock
    statistics = lock.statistics()
    paths = statistics.paths
    ended = paths.rlock + paths.rlock_fail + paths.wlock + paths.wlock_fail
    if isinstance(lock, FineCore):
        assert ended + paths.rlock_fast == lock._wait_timeout._arrivals
    else:
        assert ended == sum(isinstance(event, Contended) for _, event in world.events)
    reads = sum(entry.endswith(":r") for entry in world.log)
    assert statistics.read.acquisitions == reads
    assert statistics.write.acquisitions == len(world.log) - reads
    assert statistics.read.contentions == paths.rlock
    assert statistics.write.contentions == paths.wlock + paths.opt_lock
    assert statistics.holders == statistics.waiters == ()
    assert (statistics.read.wait_total, statistics.write.hold_total) == (0, 0)  # no time in exploring runs
    cancelled = sum(entry.endswith(" -4") for entry in world.results)
    assert cancelled == paths.rlock_fail + paths.wlock_fail


def check_pairs(world: World) -> None:
    """C11: a contention begins at most once a request, in its mode, and ends with the lock or a cancellation."""
    paths = world.lock.statistics().paths  # type: ignore[attr-defined] # an rwsem
    begun = 0
    for name in {name for name, _ in world.events}:
        requested = held = ""
        for event in (event for who, event in world.events if who == name):
            if isinstance(event, LockRequest):
                assert not held
                requested = event.mode
            elif isinstance(event, Contended):
                assert requested == event.mode
                requested = ""
                begun += 1
            elif isinstance(event, Lock):
                assert not held
                requested, held = "", event.mode
            elif isinstance(event, Unlock):
                assert held == event.mode
                held = ""
        assert not held
    assert begun == paths.rlock + paths.rlock_fail + paths.wlock + paths.wlock_fail


@pytest.mark.parametrize("age", [age for age in AGES if age != "2026"])
def test_older_rules_keep_the_promises_of_a_state(age: str) -> None:
    for seed in range(40):
        world = run(
            lambda label: FineRwSem(label, age=AGES[age]),
            programs(seed),
            RandomStrategy(seed),
            lambda world, task: pytest.fail("; ".join(broken)) if (broken := check(world)) else None,
        )
        assert not world.deadlock, seed


def check(world: World) -> list[str]:
    lock = world.lock
    assert isinstance(lock, FineCore)
    return violations(lock, at_rest(world))


@pytest.mark.parametrize("grain", GRAINS)
def test_p7_a_downgrade_lets_no_writer_in_between(grain: str) -> None:
    for seed in range(60):
        world = run(GRAINS[grain], ["d", "w", "dd", "wr", "k"], RandomStrategy(seed))
        names = world.log
        for position, entry in enumerate(names):
            if "v:" in entry:
                writer = entry.replace("v:r", ":w")
                since = len(names) - 1 - names[::-1].index(writer, len(names) - position)
                assert not any(other.endswith(":w") for other in names[since + 1 : position])


@pytest.mark.parametrize("modes", ["rw", "ww"])
def test_numbers_of_waiters_begin_anew_with_an_empty_queue(modes: str) -> None:
    """How many waited before the queue was empty is no state."""
    queued: list[int] = []
    numbers: set[tuple[bool, int]] = set()

    def look(world: World, t: Task) -> None:
        queue = cast("Any", world.lock)._queue
        if queue and not queued[-1]:
            numbers.add((queue[0].write, queue[0].number))
        queued.append(len(queue))

    for seed in range(20):
        queued = [0]
        run(GRAINS["coarse"], [mode * 4 for mode in modes], RandomStrategy(seed), look)
    assert numbers == {(mode == "w", 1) for mode in modes}
