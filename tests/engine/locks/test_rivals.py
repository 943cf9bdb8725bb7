"""The rival policies: one protocol, exclusion under random schedules, totals, and what tells the policies apart."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.engine.locks.lab import World, run
from tests.engine.locks.stage import BLOCKED, Stage

from gmemsim.engine import bare, trio_runtime
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import ModelError
from gmemsim.engine.locks.policies import LOCK_POLICIES
from gmemsim.engine.locks.rival_none import NoLock
from gmemsim.engine.locks.rival_percpu import PerCpuRwSem
from gmemsim.engine.locks.rival_srcu import SrcuRwLock
from gmemsim.engine.locks.rivals import FifoFair, PhaseFair, ReaderPreferring, WriterPreferring
from gmemsim.engine.locks.stats import LockClass
from gmemsim.engine.strategy import RandomStrategy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gmemsim.engine.locks.rwsem_protocol import RwLock
    from gmemsim.engine.task import Task

KILLABLE = {"rwsem", "rwsem-fine", "rwsem-rt", "fifo", "reader-preferring", "writer-preferring", "phase-fair"}
EXCLUDING = {name for name, policy in LOCK_POLICIES.items() if policy.excludes}


@pytest.fixture(params=LOCK_POLICIES)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    scene = Stage(LOCK_POLICIES[request.param])
    yield scene
    scene.close()


def test_what_is_in_the_registry() -> None:
    assert next(iter(LOCK_POLICIES)) == "rwsem"
    assert set(LOCK_POLICIES) - {"srcu", "none"} == EXCLUDING


@pytest.mark.parametrize("name", LOCK_POLICIES)
def test_the_constructor_is_the_same_everywhere(name: str) -> None:
    cls = LockClass("shared")
    lock = LOCK_POLICIES[name]("x", cls, line_ns=5)
    assert (lock.label, lock.cls) == ("x", cls)
    assert not lock.is_locked()
    assert lock.statistics().name == "x"


@pytest.mark.parametrize("name", LOCK_POLICIES)
def test_random_schedules_exclude_and_come_to_an_end(name: str) -> None:
    programs = ["rwr", "wtd", "rTr", "drw", "rrr"]
    if name in KILLABLE:
        programs[2:] = ["kKk", "!!", "rwd"]
    for seed in range(60):
        world = run(LOCK_POLICIES[name], programs, RandomStrategy(seed))
        assert not world.deadlock, seed
        statistics = world.lock.statistics()
        reads = sum(entry.endswith(":r") for entry in world.log)
        assert (statistics.read.acquisitions, statistics.write.acquisitions) == (
            reads,
            len(world.log) - reads,
        )
        assert statistics.holders == statistics.waiters == ()
        assert not world.lock.is_locked()


@pytest.mark.parametrize("name", LOCK_POLICIES)
def test_the_end_of_a_timed_run_adds_up(name: str) -> None:
    engine = Engine(wake_ns=2_000)
    lock: Any = LOCK_POLICIES[name]("x", line_ns=80)
    random = Random(3)
    waits = {"r": 0, "w": 0}
    holds = {"r": 0, "w": 0}

    async def body(t: Task) -> None:
        for _ in range(10):
            await t.spend(random.randrange(40_000))
            mode = random.choice("rrw")
            down, up = (lock.down_read, lock.up_read) if mode == "r" else (lock.down_write, lock.up_write)
            asked = engine.now
            await down(t)
            got = engine.now
            await t.spend(random.randrange(10_000))
            await up(t)
            waits[mode] += got - asked
            holds[mode] += engine.now - got

    for task in "abcde":
        engine.spawn(task, body)
    bare.run(engine)
    statistics = lock.statistics()
    assert statistics.read.acquisitions + statistics.write.acquisitions == 50
    assert (statistics.read.hold_total, statistics.write.hold_total) == (holds["r"], holds["w"])
    assert statistics.write.wait_total == waits["w"]
    assert waits["r"] - statistics.read.wait_total <= statistics.line_total
    if name in {"percpu", "srcu", "none"}:
        assert statistics.line_total == 0


def test_the_lock_shows_who_holds_it(stage: Stage) -> None:
    lock: RwLock = stage.lock
    stage.do("a", "down_read")
    assert lock.read_held(stage.task("a"))
    assert not lock.write_held(stage.task("a"))
    assert list(lock.holders()) == ["a"]
    assert lock.is_locked()
    stage.do("a", "up_read")
    while stage.do("b", "down_write") is BLOCKED:
        stage.go("b")  # a grace period
    assert lock.write_held(stage.task("b"))
    assert list(lock.holders()) == ["b"]
    stage.do("b", "downgrade_write")
    assert lock.read_held(stage.task("b"))
    stage.do("b", "up_read")
    assert not lock.is_locked()


@pytest.mark.parametrize(
    ("operation", "match"),
    [("up_read", "read-unlocks"), ("up_write", "write-"), ("downgrade_write", "write-")],
)
def test_misuse_is_an_error(stage: Stage, operation: str, match: str) -> None:
    stage.do("a", "down_read")
    with pytest.raises(ModelError, match=match):
        stage.do("b", operation)


@pytest.mark.parametrize("name", sorted(EXCLUDING))
def test_an_upgrade_is_a_deadlock_everywhere(name: str) -> None:
    assert {deadlock for _, _, deadlock in run_all(name, ["u"])} == {True}


def run_all(name: str, programs: list[str]) -> set[Any]:
    return {run(LOCK_POLICIES[name], programs, RandomStrategy(seed)).outcome for seed in range(20)}


@pytest.mark.parametrize("name", LOCK_POLICIES)
def test_both_runtimes_take_the_same_steps(name: str) -> None:
    logs: list[list[Any]] = []
    for runtime in ("bare", "trio"):
        engine = Engine(RandomStrategy(5), rec=lambda t, event: logs[-1].append((t.name, event)))
        world = World(engine, LOCK_POLICIES[name]("x"))
        logs.append([])
        for task, program in zip("abcd", ["rwr", "wtd", "rTr", "drw"], strict=True):
            engine.spawn(task, world.task, program)
        if runtime == "bare":
            bare.run(engine)
        else:
            trio.run(trio_runtime.run, engine)
        logs[-1].append(engine.tape.raw)
    assert logs[0] == logs[1]


# A reads; a writer comes; then a reader. Who is in, and who is next when a leaves? Then the writer is in, and
# the other reader, another writer and a third reader wait: who follows it?
@pytest.mark.parametrize(
    ("policy", "joins", "after_the_writer"),
    [
        (FifoFair, False, ["b"]),
        (ReaderPreferring, True, ["c"]),
        (WriterPreferring, False, ["v"]),
        (PhaseFair, False, ["b", "c"]),
    ],
)
def test_whom_a_policy_admits(policy: Any, joins: bool, after_the_writer: list[str]) -> None:
    stage = Stage(policy)
    stage.do("a", "down_read")
    assert stage.do("w", "down_write") is BLOCKED
    assert stage.do("b", "down_read") is (None if joins else BLOCKED)
    assert stage.do("b2", "down_read_trylock") is joins
    if joins:
        stage.do("b2", "up_read")
        stage.do("b", "up_read")
    stage.do("a", "up_read")
    assert stage.go("w") is None
    assert stage.do("v", "down_write") is BLOCKED
    assert stage.do("c", "down_read") is BLOCKED
    stage.do("w", "up_write")
    assert list(stage.lock.holders()) == after_the_writer
    assert all(stage.go(who) is None for who in after_the_writer)
    stage.close()


def test_phases_take_turns() -> None:
    stage = Stage(PhaseFair)
    stage.do("w1", "down_write")
    stage.do("w2", "down_write")
    stage.do("r1", "down_read")
    stage.do("r2", "down_read")
    stage.do("w1", "up_write")
    assert [stage.go(who) for who in ("r1", "r2", "w2")] == [None, None, BLOCKED]
    assert stage.do("r3", "down_read") is BLOCKED  # a writer is present: the next phase is its
    stage.do("r1", "up_read")
    stage.do("r2", "up_read")
    assert [stage.go(who) for who in ("w2", "r3")] == [None, BLOCKED]
    stage.close()


@pytest.mark.parametrize("policy", [FifoFair, WriterPreferring, PhaseFair])
def test_a_cancelled_writer_lets_the_readers_behind_it_in(policy: Any) -> None:
    stage = Stage(policy)
    stage.do("a", "down_read")
    stage.do("w", "down_write_killable")
    stage.do("b", "down_read")
    stage.engine.signal(stage.task("w"))
    assert stage.go("w") == -4
    assert stage.go("b") is None
    stage.close()


def test_readers_in_a_stream_starve_the_writer_only_if_preferred() -> None:
    for policy, starves in ((ReaderPreferring, True), (FifoFair, False)):
        stage = Stage(policy)
        stage.do("a", "down_read")
        stage.do("w", "down_write")
        for _ in range(10):
            if stage.do("b", "down_read") is BLOCKED:
                break
            stage.do("a", "up_read")
            stage.do("a", "down_read")
            stage.do("b", "up_read")
        assert stage.waits("w")
        assert stage.waits("b") is not starves
        stage.close()


# -- per CPU, SRCU, none -----------------------------------------------------------------------


def timed(lock: Any, *bodies: Any) -> Engine:
    engine = Engine(wake_ns=2_000)
    for name, body in zip("abcdef", bodies, strict=False):
        engine.spawn(name, body, lock)
    bare.run(engine)
    return engine


async def reader(t: Task, lock: Any) -> None:
    for _ in range(10):
        await lock.down_read(t)
        await t.spend(100)
        await lock.up_read(t)


def test_percpu_readers_share_nothing() -> None:
    engine = timed(PerCpuRwSem("x", line_ns=80), *[reader] * 6)
    assert engine.now == 1_000
    assert timed(FifoFair("x", line_ns=80), *[reader] * 6).now == 6 * 10 * 2 * 80


def test_percpu_writers_pay_for_one_grace_period_until_it_is_quiet_again() -> None:
    got: list[int] = []

    async def writer(t: Task, lock: Any) -> None:
        for pause in (0, 500, 5_000_000):
            await t.spend(pause)
            asked = t.engine.now
            await lock.down_write(t)
            got.append(t.engine.now - asked)
            await lock.up_write(t)

    timed(PerCpuRwSem("x", grace_ns=1_000_000), writer)
    assert got == [1_000_000, 0, 1_000_000]


def test_percpu_writers_of_one_moment_share_the_grace_period() -> None:
    got: dict[str, int] = {}

    async def writer(t: Task, lock: Any) -> None:
        await t.spend(1_000 * t.ident)
        await lock.down_write(t)
        got[t.name] = t.engine.now
        await t.spend(10_000)
        await lock.up_write(t)

    timed(PerCpuRwSem("x", grace_ns=1_000_000), writer, writer)
    assert got == {"a": 1_000_000, "b": 1_010_000 + 2_000}


def test_percpu_readers_enter_during_the_grace_period_and_not_after() -> None:
    stage = Stage(PerCpuRwSem)
    stage.do("a", "down_read")
    stage.start("w", "down_write")
    stage.until("w", "sleep w")
    assert stage.do("b", "down_read") is None
    assert stage.go("w") is BLOCKED
    assert stage.do("c", "down_read") is BLOCKED
    assert stage.do("d", "down_read_trylock") is False
    stage.do("a", "up_read")
    assert stage.go("w") is BLOCKED
    stage.do("b", "up_read")
    assert stage.go("w") is None
    # The queue is served in order up to and including one writer.
    assert stage.do("v", "down_write") is BLOCKED
    assert stage.do("e", "down_read") is BLOCKED
    stage.do("w", "up_write")
    assert [stage.go(who) for who in "cve"] == [None, BLOCKED, BLOCKED]
    stage.do("c", "up_read")
    assert stage.go("v") is None
    stage.close()


def test_an_srcu_reader_runs_beside_a_writer() -> None:
    stage = Stage(SrcuRwLock)
    stage.do("a", "down_read")
    assert stage.do("w", "down_write") is BLOCKED
    assert stage.do("b", "down_read") is None
    stage.do("a", "up_read")
    stage.do("b", "up_read")
    assert stage.go("w") is None
    assert stage.do("c", "down_read") is None
    assert list(stage.lock.holders()) == ["c", "w"]
    assert stage.do("v", "down_write") is BLOCKED  # writers do exclude each other
    stage.do("w", "up_write")
    assert stage.go("v") is BLOCKED
    stage.do("c", "up_read")
    assert stage.go("v") is None
    stage.close()


def test_an_srcu_writer_inside_a_section_is_an_error() -> None:
    stage = Stage(SrcuRwLock)
    stage.do("a", "down_read")
    with pytest.raises(ModelError, match="inside its own read section"):
        stage.do("a", "down_write")


def test_no_lock_admits_everybody_and_says_nothing() -> None:
    stage = Stage(NoLock)
    assert stage.do("a", "down_write") is None
    assert stage.do("b", "down_write_trylock") is True
    assert stage.do("c", "down_read") is None
    assert list(stage.lock.holders()) == ["c", "a", "b"]
    assert stage.events == []
    with pytest.raises(ModelError, match="twice"):
        stage.do("a", "down_write")
