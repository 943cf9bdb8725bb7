"""Both runtimes take the same steps: byte-identical logs, whatever the hash seed; Trio's cancellation behaves."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from gmemsim.audit.recorder import Recorder
from gmemsim.audit.render import render_lines
from gmemsim.engine import bare, trio_runtime
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import Deadlock, StepLimit, TapeMismatch
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.mailbox import Mailbox
from gmemsim.engine.op import Op
from gmemsim.engine.strategy import FirstRunnable, RandomStrategy, ReplayStrategy
from gmemsim.engine.task import Task
from gmemsim.explore.strategies.dfs import DepthFirst
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.options import Options
from gmemsim.scenarios.session import build

STEP = Op("step", "x")
CASES = [
    ("same", "v3", "snp", None),
    ("punch", "baseline", "sw-protected", None),
    ("punch", "v3", "default", 1),
    ("conv1", "mainline-7.3", "sw-protected", 2),
    ("mmap_punch", "v3", "default", 3),
]


def digest(scenario: str, patch: str, arch: str, seed: int | None, runtime: str) -> str:
    """Hash of the canonical log of one run; a seed makes it an exploring one."""
    recorder = Recorder()
    options = Options(rec=recorder.rec, strategy=None if seed is None else RandomStrategy(seed))
    session = build(load_named(scenario), patch, arch, small=seed is not None, options=options)
    session.run("trio" if runtime == "trio" else "bare")
    return hashlib.sha256(b"".join(render_lines(recorder))).hexdigest()


@pytest.mark.parametrize(("scenario", "patch", "arch", "seed"), CASES)
def test_the_runtimes_write_the_same_bytes(scenario: str, patch: str, arch: str, seed: int | None) -> None:
    assert digest(scenario, patch, arch, seed, "bare") == digest(scenario, patch, arch, seed, "trio")


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from test_runtimes import CASES, digest
print(*(digest(*case, runtime) for case in CASES[:3] for runtime in ("bare", "trio")))
"""


def test_the_bytes_do_not_depend_on_the_hash_seed() -> None:
    seen = set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(done.stdout)
    assert len(seen) == 1


# -- the engine ------------------------------------------------------------------------------------


def run_both(make: object) -> list[list[str]]:
    """What `make(engine)`'s log holds after a run on each runtime."""
    logs = []
    for runtime in ("bare", "trio"):
        log: list[str] = []
        engine = Engine()
        make(engine, log)  # type: ignore[operator]
        if runtime == "bare":
            bare.run(engine)
        else:
            trio.run(trio_runtime.run, engine)
        logs.append(log)
    return logs


def test_time_decides_and_ties_go_to_who_came_first() -> None:
    async def body(t: Task, log: list[str], first: int, then: int) -> None:
        await t.spend(first)
        log.append(f"{t.name}@{t.engine.now}")
        await t.sleep(then)
        log.append(f"{t.name}@{t.engine.now}")

    def make(engine: Engine, log: list[str]) -> None:
        for name, first, then in (("a", 10, 10), ("b", 5, 15), ("c", 10, 5)):
            engine.spawn(name, body, log, first, then)

    first, second = run_both(make)
    # At 20 ns b comes first: it went to sleep at 5 ns, before a did.
    assert first == second == ["b@5", "a@10", "c@10", "c@15", "b@20", "a@20"]


def test_a_task_may_spawn_and_daemons_do_not_keep_the_run_alive() -> None:
    async def server(t: Task, box: Mailbox[int], log: list[str]) -> None:
        while True:
            sender, message = await box.receive(t)
            await t.spend(100)
            log.append(f"{sender.name} {message} at {t.engine.now}")
            await box.reply(t, sender, message + 1)

    async def client(t: Task, box: Mailbox[int], number: int, log: list[str]) -> None:
        if number:
            t.engine.spawn(f"c{number - 1}", client, box, number - 1, log)
        log.append(f"{t.name} got {await box.call(t, number)}")

    def make(engine: Engine, log: list[str]) -> None:
        box: Mailbox[int] = Mailbox("psp")
        engine.spawn("server", server, box, log, daemon=True)
        engine.spawn("c2", client, box, 2, log)

    first, second = run_both(make)
    assert first == second
    # The device is serial: one request at a time, 100 ns each.
    assert [line for line in first if " at " in line] == ["c2 2 at 100", "c1 1 at 200", "c0 0 at 300"]


async def _steps(t: Task, order: list[str], count: int) -> None:
    for _ in range(count):
        await t.point(STEP)
        order.append(t.name)


def test_a_tape_replays_strictly_and_says_where_it_does_not_fit() -> None:
    def run(strategy: object, names: str = "abc") -> tuple[list[str], Engine]:
        order: list[str] = []
        engine = Engine(strategy)  # type: ignore[arg-type]
        for name in names:
            engine.spawn(name, _steps, order, 4)
        bare.run(engine)
        return order, engine

    order, engine = run(RandomStrategy(7))
    assert run(ReplayStrategy(engine.tape))[0] == order
    with pytest.raises(TapeMismatch, match="draw 0"):
        run(ReplayStrategy(engine.tape), "ab")
    lenient = ReplayStrategy(engine.tape, strict=False)
    assert sorted(set(run(lenient, "ab")[0])) == ["a", "b"]


def test_depth_first_reaches_every_interleaving() -> None:
    strategy = DepthFirst()
    found = set()
    while strategy.begin(Engine(strategy)):
        order: list[str] = []
        engine = Engine(strategy)
        for name in "abc":
            engine.spawn(name, _steps, order, 2)
        bare.run(engine)
        found.add(tuple(order))
    assert strategy.complete
    assert len(found) == 90  # 6! / 2!^3


def test_a_deadlock_names_who_waits_for_what() -> None:
    one, two = Mutex("one"), Mutex("two")

    async def body(t: Task, first: Mutex, second: Mutex) -> None:
        await first.lock(t)
        await t.sleep(10)
        await second.lock(t)

    for runtime in ("bare", "trio"):
        one, two = Mutex("one"), Mutex("two")
        engine = Engine()
        engine.spawn("a", body, one, two)
        engine.spawn("b", body, two, one)
        with pytest.raises(Deadlock, match=r"a waits for two held by b; b waits for one held by a"):
            _run(engine, runtime)


def _run(engine: Engine, runtime: str) -> None:
    if runtime == "bare":
        bare.run(engine)
    else:
        trio.run(trio_runtime.run, engine)


async def _for_ever(t: Task, closed: list[str]) -> None:
    try:
        while True:
            await t.point(STEP)
    finally:
        closed.append(t.name)


def test_a_step_limit_ends_a_livelock() -> None:
    closed: list[str] = []
    engine = Engine(RandomStrategy(0), max_steps=100)
    engine.spawn("a", _for_ever, closed)
    with pytest.raises(StepLimit, match="100 steps"):
        bare.run(engine)
    assert closed == ["a"]


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("runtime", ["bare", "trio"])
def test_a_run_that_is_ruined_ends_with_the_step(runtime: str, watched: bool) -> None:
    async def body(task: Task) -> None:
        for number in range(5):
            await task.point(STEP)
            if number == 2 and task.name == "a":
                task.engine.ruined = ValueError("ruined")

    engine = Engine(FirstRunnable())
    for name in ("a", "b"):
        engine.spawn(name, body)
    if watched:
        engine.watch_steps(lambda task: None)
    with pytest.raises(ValueError, match="ruined"):
        bare.run(engine) if runtime == "bare" else trio.run(trio_runtime.run, engine)
    assert (engine.steps, len(engine.tape)) == (4, 4)


def test_a_timeout_around_a_trio_run_stops_it_and_closes_the_tasks() -> None:
    closed: list[str] = []

    async def main() -> bool:
        engine = Engine(RandomStrategy(1))
        for name in "ab":
            engine.spawn(name, _for_ever, closed)
        with trio.move_on_after(0.05) as scope:
            await trio_runtime.run(engine)
        return scope.cancelled_caught

    assert trio.run(main)
    assert sorted(closed) == ["a", "b"]


def test_an_error_in_a_task_is_raised_as_itself() -> None:
    closed: list[str] = []

    async def bad(t: Task) -> None:
        await t.point(STEP)
        raise ValueError("on purpose")

    for runtime in ("bare", "trio"):
        engine = Engine(RandomStrategy(2))
        engine.spawn("other", _for_ever, closed)
        engine.spawn("bad", bad)
        with pytest.raises(ValueError, match="on purpose"):
            _run(engine, runtime)
    assert closed == ["other", "other"]


def test_exactly_one_trio_task_is_runnable() -> None:
    widths = []

    class Watch(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            widths.append(trio.lowlevel.current_statistics().tasks_runnable)

    async def main() -> None:
        engine = Engine(RandomStrategy(3))
        order: list[str] = []
        for name in "abcd":
            engine.spawn(name, _steps, order, 50)
        await trio_runtime.run(engine)

    trio.run(main, instruments=[Watch()])
    # Start-up and shutdown wake several; while the model runs there is one.
    assert sum(width <= 1 for width in widths) >= 0.9 * len(widths)
