"""The rw-semaphore in timed runs: deadlines in jiffies (C15), wake-ups, spinning, the cache line, and the totals."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.locks.lab import GRAINS

from gmemsim.audit.events import Contended
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.rwsem_queue import WaitTimeout
from gmemsim.engine.locks.rwsem_spin import POLL, read_phase_limit
from gmemsim.engine.locks.spinlock import SpinLock
from gmemsim.engine.op import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from gmemsim.engine.locks.rwsem_stats import RwSemStatistics
    from gmemsim.engine.task import Task

WAKE = 2_000
MS = 1_000_000


class Play:
    """A timed run: bodies, and when each of them got what it asked for."""

    def __init__(self, **options: int) -> None:
        self.events: list[tuple[int, str, Any]] = []
        self.engine = Engine(
            wake_ns=options.get("wake_ns", WAKE),
            rec=lambda t, event: self.events.append((t.engine.now, t.name, event)),
        )
        self.got: dict[str, int] = {}

    def __call__(self, **bodies: Callable[[Task], Coroutine[Any, Any, None]]) -> None:
        for name, body in bodies.items():
            self.engine.spawn(name, body)
        bare.run(self.engine)

    def contended(self, name: str) -> list[int]:
        """When `name` began to contend."""
        return [when for when, who, event in self.events if who == name and isinstance(event, Contended)]

    def write(
        self,
        lock: Any,
        *,
        at: int,
        hold: int,
        then: Callable[[Task], Coroutine[Any, Any, None]] | None = None,
    ) -> Callable[[Task], Coroutine[Any, Any, None]]:
        async def body(t: Task) -> None:
            await t.spend(at)
            await lock.down_write(t)
            self.got[t.name] = self.engine.now
            await t.spend(hold)
            if then is not None:
                await then(t)
            await lock.up_write(t)

        return body

    def read(self, lock: Any, *, at: int, hold: int) -> Callable[[Task], Coroutine[Any, Any, None]]:
        async def body(t: Task) -> None:
            await t.spend(at)
            await lock.down_read(t)
            self.got[t.name] = self.engine.now
            await t.spend(hold)
            await lock.up_read(t)

        return body


@pytest.mark.parametrize(
    ("hz", "at", "last"),
    [
        # Enqueued at `at`, in jiffy at // tick. Not passed up to and including jiffy + ceil(4 ms / tick).
        (1000, 0, 5 * MS - 1),
        (1000, MS - 1, 5 * MS - 1),
        (1000, MS, 6 * MS - 1),
        (250, 0, 8 * MS - 1),
        (250, 4 * MS - 1, 8 * MS - 1),
        (250, 4 * MS, 12 * MS - 1),
        (100, 0, 20 * MS - 1),
        (100, 10 * MS - 1, 20 * MS - 1),
        (100, 10 * MS, 30 * MS - 1),
    ],
)
@pytest.mark.parametrize("grain", GRAINS)
def test_c15_a_deadline_passes_strictly_after_its_jiffy(grain: str, hz: int, at: int, last: int) -> None:
    for lateness, handoffs in ((0, 0), (1, 1)):
        play = Play(wake_ns=0)
        lock = GRAINS[grain]("x", hz=hz, spinning=False)

        async def other(t: Task, last: int = last, lateness: int = lateness, lock: Any = lock) -> None:
            # The lock is free at the moment in question, and read-held again when the woken writer has its
            # turn.
            await t.spend(last + lateness)
            await lock.up_read_non_owner(t, t.engine.tasks[0])
            await lock.down_read(t)
            await t.spend(10)
            await lock.up_read(t)

        async def first(t: Task, lock: Any = lock) -> None:
            await lock.down_read(t)

        play(a=first, w=play.write(lock, at=at, hold=0), b=other)
        assert lock.statistics().paths.wlock_handoff == handoffs
        assert lock.statistics().paths.rlock_steal == 1


@pytest.mark.parametrize("hz", [100, 250, 300, 1000])
def test_c15_the_time_out_is_four_milliseconds_and_the_rest_of_a_tick(hz: int) -> None:
    tick = 1_000_000_000 // hz
    engine = Engine()
    task = engine.spawn("a", Play().read(None, at=0, hold=0))
    for now in (0, 1, tick - 1, tick, 7 * tick + 5):
        engine.now = now
        waiter = WaitTimeout(hz).enqueue(task, write=True)
        assert 4 * MS < waiter.deadline - now <= 4 * MS + 2 * tick
    task.handle.close()


@pytest.mark.parametrize("hz", [0, -250, 2_000_000])
def test_a_senseless_timer_frequency_is_refused(hz: int) -> None:
    with pytest.raises(ValueError, match="hz is"):
        RwSem("x", hz=hz)


def test_p6_the_head_waits_for_its_deadline_and_the_holders_of_that_moment() -> None:
    # Readers that come as soon as the lock is free overtake the writer, until its first attempt after 8 ms.
    play = Play()
    lock = RwSem("x", spinning=False)
    last = 0

    async def reader(t: Task) -> None:
        nonlocal last
        for _ in range(200):
            await lock.down_read(t)
            if "w" not in play.got:
                last = play.engine.now
            await t.spend(100_000)
            await lock.up_read(t)

    play(a=reader, w=play.write(lock, at=1, hold=0))
    assert lock.statistics().paths.rlock_steal > 50
    assert lock.statistics().paths.handoffs == 1
    assert last == pytest.approx(8 * MS, abs=100_000)
    assert play.got["w"] == last + 100_000 + WAKE


def test_a_woken_waiter_pays_for_the_wake_up_and_a_spinner_does_not() -> None:
    for spinning, extra in ((True, 0), (False, WAKE)):
        play = Play()
        lock = RwSem("x", spinning=spinning)
        play(a=play.write(lock, at=0, hold=50_000), s=play.write(lock, at=10, hold=1))
        assert play.got == {"a": 0, "s": 50_000 + extra}
        assert play.contended("s") == ([] if spinning else [10])
        statistics = lock.statistics()
        assert statistics.write.wait_total == 50_000 - 10 + extra
        assert statistics.paths.spin_total == (50_000 - 10 if spinning else 0)


def test_readers_never_spin() -> None:
    play = Play()
    lock = RwSem("x")
    play(
        a=play.write(lock, at=0, hold=50_000),
        b=play.read(lock, at=10, hold=1),
        c=play.read(lock, at=20, hold=1),
    )
    assert play.got == {"a": 0, "b": 50_000 + WAKE, "c": 50_000 + WAKE}


def test_spinners_are_served_in_order_and_before_the_queue() -> None:
    play = Play()
    lock = RwSem("x")
    play(
        a=play.write(lock, at=0, hold=50_000),
        r=play.read(lock, at=10, hold=1),
        s=play.write(lock, at=20, hold=5_000),
        u=play.write(lock, at=30, hold=5_000),
    )
    assert play.got == {"a": 0, "s": 50_000, "u": 55_000, "r": 60_000 + WAKE}


@pytest.mark.parametrize("readers", [1, 2, 45])
def test_a_spinner_bears_a_read_phase_for_a_limited_time(readers: int) -> None:
    play = Play()
    lock = RwSem("x")
    bodies = {f"r{number}": play.read(lock, at=0, hold=100_000) for number in range(readers)}
    play(**bodies, s=play.write(lock, at=10, hold=0))
    limit = read_phase_limit(10, readers)
    assert limit == 10 + (20 + min(readers, 30)) * 500
    (gave_up,) = play.contended("s")
    assert limit < gave_up <= limit + POLL
    assert play.got["s"] == 100_000 + WAKE
    assert lock.statistics().paths.opt_fail == 1


def test_a_spinner_takes_over_from_readers_that_leave_in_time() -> None:
    play = Play()
    lock = RwSem("x")
    play(a=play.read(lock, at=0, hold=5_000), s=play.write(lock, at=10, hold=0))
    assert 5_000 <= play.got["s"] <= 5_000 + POLL
    assert play.contended("s") == []


def test_nobody_spins_in_a_read_phase_that_a_spinner_gave_up() -> None:
    play = Play()
    lock = RwSem("x")
    play(
        a=play.read(lock, at=0, hold=100_000),
        s=play.write(lock, at=10, hold=0),
        u=play.write(lock, at=50_000, hold=0),
    )
    assert play.contended("u") == [50_000]
    assert lock.statistics().paths.opt_nospin == 1
    # The next read phase is a new one.
    assert not lock.nonspinnable


class Bed:
    """Something to sleep on."""

    label = "bed"

    def holders(self) -> Iterable[str]:
        return ()


def test_a_spinner_stops_when_the_owner_goes_to_sleep() -> None:
    play = Play()
    lock = RwSem("x")

    async def nap(t: Task) -> None:
        await t.park(Bed(), Op("wait", "bed"))
        await t.spend(30_000)

    async def alarm(t: Task) -> None:
        await t.spend(20_000)
        t.engine.wake(t.engine.tasks[0])

    play(
        a=play.write(lock, at=0, hold=10_000, then=nap),
        s=play.write(lock, at=10, hold=0),
        late=play.write(lock, at=15_000, hold=0),  # comes while the owner sleeps: may not spin at all
        last=play.write(lock, at=25_000, hold=10_000),  # the owner runs again: may spin, and barge
        alarm=alarm,
    )
    assert play.contended("s") == [10_000]
    assert play.contended("late") == [15_000]
    assert play.contended("last") == []
    assert play.got["last"] == 50_000
    assert play.got["s"] == 60_000 + WAKE
    assert play.engine.tasks[0].on_block == ()


def test_an_owner_that_spins_is_not_asleep() -> None:
    play = Play()
    lock = RwSem("x")
    spin = SpinLock("y")

    async def with_spin_lock(t: Task) -> None:
        await spin.lock(t)
        await spin.unlock(t)

    async def hog(t: Task) -> None:
        await spin.lock(t)
        await t.spend(20_000)
        await spin.unlock(t)

    play(hog=hog, a=play.write(lock, at=0, hold=10, then=with_spin_lock), s=play.write(lock, at=5, hold=0))
    assert play.contended("s") == []
    assert play.got["s"] == 20_000


def test_the_head_with_a_hand_off_spins_on_a_running_writer() -> None:
    # v waits past its deadline, sets HANDOFF at its failed attempt, and stays awake for the release after
    # that.
    play = Play()
    lock = RwSem("x")
    play(
        a=play.read(lock, at=0, hold=9 * MS),
        v=play.write(lock, at=1, hold=0),
        b=play.write(lock, at=9 * MS + 100, hold=50_000),  # in v's wake-up: spins on nobody, takes the lock
    )
    assert play.got["b"] == 9 * MS + 100
    assert play.got["v"] == 9 * MS + 100 + 50_000
    assert lock.statistics().paths.handoffs == 1
    assert lock.statistics().paths.sleep_writer == 1


def test_a_downgrade_starts_the_spinners_limit() -> None:
    play = Play()
    lock = RwSem("x")

    async def owner(t: Task) -> None:
        await lock.down_write(t)
        await t.spend(40_000)
        await lock.downgrade_write(t)
        await t.spend(40_000)
        await lock.up_read(t)

    play(a=owner, s=play.write(lock, at=10, hold=0))
    (gave_up,) = play.contended("s")
    assert read_phase_limit(40_000, 1) < gave_up <= read_phase_limit(40_000, 1) + POLL
    statistics = lock.statistics()
    assert (statistics.write.hold_total, statistics.read.hold_total) == (40_000, 40_000)


@pytest.mark.parametrize("grain", GRAINS)
def test_readers_share_one_cache_line(grain: str) -> None:
    play = Play()
    lock = GRAINS[grain]("x", line_ns=80)
    bodies = {f"r{number}": play.read(lock, at=0, hold=0) for number in range(8)}
    play(**bodies)
    assert sorted(play.got.values()) == [80 * (number + 1) for number in range(8)]
    assert play.engine.now == 2 * 8 * 80
    statistics = lock.statistics()
    assert statistics.read.wait_total == statistics.read.contentions == 0
    # Each acquisition waited for those before it; each release queued behind the last acquisition.
    assert statistics.line_total == sum(80 * (number + 1) for number in range(8)) + 8 * 8 * 80


def test_no_cache_line_by_default_and_none_for_writers() -> None:
    play = Play()
    play(a=play.read(RwSem("x"), at=0, hold=0))
    assert play.engine.now == 0
    play = Play()
    play(a=play.write(RwSem("x", line_ns=80), at=0, hold=0))
    assert play.engine.now == 0


def test_the_line_is_idle_between_readers_that_are_far_apart() -> None:
    play = Play()
    lock = RwSem("x", line_ns=80)
    play(a=play.read(lock, at=0, hold=1_000), b=play.read(lock, at=500, hold=1_000))
    assert play.got == {"a": 80, "b": 580}
    assert lock.statistics().line_total == 4 * 80


@pytest.mark.parametrize("line_ns", [0, 80])
@pytest.mark.parametrize("grain", GRAINS)
def test_wait_line_and_hold_add_up_to_what_tasks_see(grain: str, line_ns: int) -> None:
    for seed in range(12):
        random = Random(seed)
        engine = Engine(wake_ns=WAKE)
        lock: Any = GRAINS[grain]("x", line_ns=line_ns)
        waits = {"r": 0, "w": 0}
        holds = {"r": 0, "w": 0}
        count = {"r": 0, "w": 0}

        async def body(
            t: Task,
            random: Random = random,
            lock: Any = lock,
            waits: dict[str, int] = waits,
            holds: dict[str, int] = holds,
            count: dict[str, int] = count,
        ) -> None:
            for _ in range(12):
                await t.spend(random.randrange(20_000))
                mode = random.choice("rrw")
                down, up = (lock.down_read, lock.up_read) if mode == "r" else (lock.down_write, lock.up_write)
                asked = t.engine.now
                await down(t)
                got = t.engine.now
                await t.spend(random.randrange(15_000))
                await up(t)
                waits[mode] += got - asked
                holds[mode] += t.engine.now - got
                count[mode] += 1

        for name in "abcdef":
            engine.spawn(name, body)
        bare.run(engine)
        statistics: RwSemStatistics = lock.statistics()
        assert (statistics.read.acquisitions, statistics.write.acquisitions) == (count["r"], count["w"])
        assert (statistics.read.hold_total, statistics.write.hold_total) == (holds["r"], holds["w"])
        assert statistics.write.wait_total == waits["w"]
        release_lines = statistics.line_total - (waits["r"] - statistics.read.wait_total)
        assert release_lines >= count["r"] * line_ns
        if not line_ns:
            assert statistics.read.wait_total == waits["r"]
            assert statistics.line_total == 0
        assert statistics.paths.spin_total <= statistics.write.wait_total


def test_timed_runs_draw_nothing() -> None:
    play = Play()
    lock = RwSem("x")
    play(**{name: play.write(lock, at=0, hold=1_000) for name in "abcd"})
    assert len(play.engine.tape) == 0
