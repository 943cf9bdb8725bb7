"""What models are built from: cells, counts, fault points, signals, and tapes keyed by task and call."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.lock_designs.seqlock import SeqCount

from gmemsim.engine import bare
from gmemsim.engine.cell import Cell, RefCount
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import Deadlock, ModelError, TapeMismatch
from gmemsim.engine.op import Op
from gmemsim.engine.strategy import RandomStrategy, ReplayStrategy
from gmemsim.engine.tape import Replay, Tape
from gmemsim.engine.task import Signal, Task
from gmemsim.explore.strategies.dfs import DepthFirst

WAIT = Op("wait", "gate")


class Gate:
    """Something to park on."""

    label = "gate"

    def holders(self) -> tuple[str, ...]:
        return ()


def outcomes(atomic: bool) -> set[int]:
    """Final values of a cell that two tasks increment, over all schedules."""

    async def body(t: Task, cell: Cell[int]) -> None:
        if atomic:
            await cell.rmw(t, lambda value: value + 1)
        else:
            await cell.store(t, await cell.load(t) + 1)

    found = set()
    strategy = DepthFirst()
    while strategy.begin(Engine(strategy)):
        cell = Cell("count", 0)
        engine = Engine(strategy)
        for name in "ab":
            engine.spawn(name, body, cell)
        bare.run(engine)
        found.add(cell.value)
    assert strategy.complete
    return found


def test_only_an_atomic_increment_is_never_lost() -> None:
    assert outcomes(atomic=True) == {2}
    assert outcomes(atomic=False) == {1, 2}


def test_a_reference_count_neither_revives_nor_goes_below_zero() -> None:
    async def body(t: Task, count: RefCount) -> None:
        assert await count.inc_not_zero(t)
        assert not await count.dec_and_test(t)
        assert await count.dec_and_test(t)
        assert not await count.inc_not_zero(t)
        await count.dec_and_test(t)

    engine = Engine()
    engine.spawn("a", body, RefCount("file"))
    with pytest.raises(ModelError, match="a drops a reference of file that nobody holds"):
        bare.run(engine)


def test_a_sequence_reader_that_does_not_retry_saw_no_torn_pair() -> None:
    seen: set[tuple[int, int]] = set()

    async def writer(t: Task, seq: SeqCount, left: Cell[int], right: Cell[int]) -> None:
        await seq.write_begin(t)
        await left.store(t, 1)
        await right.store(t, 1)
        await seq.write_end(t)

    async def reader(t: Task, seq: SeqCount, left: Cell[int], right: Cell[int]) -> None:
        start = await seq.begin(t)
        pair = await left.load(t), await right.load(t)
        if not await seq.retry(t, start):
            seen.add(pair)

    strategy = DepthFirst()
    while strategy.begin(Engine(strategy)):
        engine = Engine(strategy)
        shared = SeqCount("seq"), Cell("left", 0), Cell("right", 0)
        engine.spawn("writer", writer, *shared)
        engine.spawn("reader", reader, *shared)
        bare.run(engine)
    assert seen == {(0, 0), (1, 1)}


def test_a_fault_point_fires_only_if_allowed_and_only_so_often() -> None:
    def fired(faults: dict[str, int]) -> set[int]:
        found = set()
        strategy = DepthFirst()
        while strategy.begin(Engine(strategy)):
            hits: list[bool] = []

            async def body(t: Task, hits: list[bool] = hits) -> None:
                hits.extend(t.fault("alloc") for _ in range(3))

            engine = Engine(strategy, faults=faults)
            engine.spawn("a", body)
            bare.run(engine)
            found.add(sum(hits))
        return found

    assert fired({}) == {0}
    assert fired({"other": 3}) == {0}
    assert fired({"alloc": 2}) == {0, 1, 2}


def test_a_signal_ends_an_interruptible_park_and_no_other() -> None:
    async def sleeper(t: Task, interruptible: bool) -> object:
        return await t.park(Gate(), WAIT, interruptible)

    async def sender(t: Task, target: Task) -> None:
        await t.sleep(10)
        t.engine.signal(target)

    engine = Engine()
    target = engine.spawn("sleeper", sleeper, True)
    engine.spawn("sender", sender, target)
    bare.run(engine)
    assert target.result is Signal
    engine = Engine()
    engine.spawn("sender", sender, engine.spawn("sleeper", sleeper, False))
    with pytest.raises(Deadlock, match="sleeper waits for gate"):
        bare.run(engine)


def test_a_wake_hands_over_its_value_after_its_delay() -> None:
    async def sleeper(t: Task) -> object:
        return await t.park(Gate(), WAIT), t.engine.now

    async def waker(t: Task, target: Task) -> None:
        await t.spend(5)
        t.engine.wake(target, "news", delay=7)

    engine = Engine()
    target = engine.spawn("sleeper", sleeper)
    engine.spawn("waker", waker, target)
    bare.run(engine)
    assert target.result == ("news", 12)


def test_lenient_replay_looks_choices_up_by_task_and_call() -> None:
    tape = Tape([("a", 0, "x", 1, 3), ("a", 1, "x", 2, 3), ("b", 0, "x", 2, 3)])
    replay = Replay(tape, strict=False)
    # b's choice is found although a never draws, and a's second call keeps its own.
    assert replay.answer("b", 0, "x", 3) == 2
    assert replay.answer("a", 1, "x", 2) == 1
    before = replay.diverged_at
    assert replay.answer("c", 0, "x", 3) == 0
    assert (before, replay.diverged_at) == (None, 2)
    with pytest.raises(TapeMismatch, match="draw 0: b call 0 draws x"):
        Replay(tape).answer("b", 0, "x", 3)


def test_a_strict_replay_follows_sleeps_draws_and_parks() -> None:
    def run(strategy: RandomStrategy | ReplayStrategy) -> tuple[list[str], Engine]:
        log: list[str] = []

        async def body(t: Task, cell: Cell[int]) -> None:
            for call in range(3):
                t.call = call
                await t.sleep(10)
                log.append(f"{t.name}{call} {t.draw('dice', 6)} {await cell.rmw(t, lambda value: value + 1)}")

        engine = Engine(strategy)
        cell = Cell("count", 0)
        for name in "abc":
            engine.spawn(name, body, cell)
        bare.run(engine)
        return log, engine

    for seed in range(20):
        log, engine = run(RandomStrategy(seed))
        again, replayed = run(ReplayStrategy(engine.tape))
        assert again == log
        assert replayed.tape.raw == engine.tape.raw


def test_steps_are_counted_alike_however_a_run_ends() -> None:
    async def body(t: Task, steps: int) -> None:
        for _ in range(steps):
            await t.spend(10)
        if steps == 3:
            await t.park(Gate(), WAIT)

    counts = []
    for steps in (1, 2, 3):
        engine = Engine()
        for name in "ab":
            engine.spawn(name, body, steps)
        if steps == 3:
            with pytest.raises(Deadlock):
                bare.run(engine)
        else:
            bare.run(engine)
        counts.append(engine.steps)
    assert all(less < more for less, more in pairwise(counts))
    assert counts[:2] == [4, 6]


def test_workers_are_counted_until_they_are_done() -> None:
    seen: list[int] = []

    async def work(t: Task) -> None:
        await t.point(WAIT)
        seen.append(t.engine.workers)

    async def body(t: Task) -> None:
        seen.append(t.engine.workers)
        assert t.engine.spawn_worker("worker", work).worker
        seen.append(t.engine.workers)

    engine = Engine(RandomStrategy(0))
    engine.spawn("task", body)
    bare.run(engine)
    assert (seen, engine.workers) == ([0, 1, 1], 0)
