"""One workload on our two runtimes and on SimPy: vCPUs that fault under a shared rw-lock with folio locks and a writer.

    python bench/peers.py

Eight vCPUs make 2,000 faults each on 512 pages: think 50 to 150 ns, take the rw-lock shared, take the page's lock,
spend 200 ns (500 the first time since the last wipe). A writer takes the rw-lock exclusively every 20 µs for 2 µs and
wipes 16 pages. SimPy runs it twice: with locks written by hand on its events, and with its own Container and Resource.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from random import Random
from typing import Any

import simpy
import trio
from harness import measure, rows

from gmemsim.engine import bare, trio_runtime
from gmemsim.engine.engine import Engine
from gmemsim.engine.locks.folio_lock import FolioLock, FolioLockClass
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.task import Task

VCPUS, FAULTS, PAGES = 8, 2000, 512
HIT, FIRST, EVERY, HOLD, WIPE = 200, 500, 20_000, 2_000, 16


def plan() -> list[list[tuple[int, int]]]:
    """Think time and page of every fault, the same for everybody."""
    random = Random(1)
    return [
        [(random.randrange(50, 150), random.randrange(PAGES)) for _ in range(FAULTS)] for _ in range(VCPUS)
    ]


PLAN = plan()


class _World:
    def __init__(self) -> None:
        self.ready = bytearray(PAGES)
        self.lock = RwSem("rw")
        cls = FolioLockClass("folio_lock")
        self.folios = [FolioLock("f", index, cls) for index in range(PAGES)]
        self.running = VCPUS
        self.faults = 0


async def _vcpu(t: Task, world: _World, faults: list[tuple[int, int]]) -> None:
    lock, ready = world.lock, world.ready
    for think, page in faults:
        await t.spend(think)
        await lock.down_read(t)
        folio = world.folios[page]
        await folio.lock(t)
        if ready[page]:
            await t.spend(HIT)
        else:
            await t.spend(FIRST)
            ready[page] = 1
        world.faults += 1
        await folio.unlock(t)
        await lock.up_read(t)
    world.running -= 1


async def _writer(t: Task, world: _World) -> None:
    number = 0
    while world.running:
        await t.sleep(EVERY)
        await world.lock.down_write(t)
        await t.spend(HOLD)
        first = number * WIPE % PAGES
        world.ready[first : first + WIPE] = bytes(WIPE)
        number += 1
        await world.lock.up_write(t)


def _engine() -> tuple[Engine, _World]:
    engine, world = Engine(), _World()
    for number in range(VCPUS):
        engine.spawn(f"vcpu{number}", _vcpu, world, PLAN[number])
    engine.spawn("writer", _writer, world)
    return engine, world


def on_bare() -> int:
    engine, world = _engine()
    bare.run(engine)
    return world.faults


def on_trio() -> int:
    engine, world = _engine()
    trio.run(trio_runtime.run, engine)
    return world.faults


class _SimpyRw:
    """A first-in first-out rw-lock on SimPy events."""

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self.readers = 0
        self.writing = False
        self.queue: deque[tuple[bool, Any]] = deque()

    def acquire(self, write: bool) -> Any:
        """None when the lock was free, else the event to wait for."""
        if not self.writing and not self.queue and not (write and self.readers):
            if write:
                self.writing = True
            else:
                self.readers += 1
            return None
        event = self.env.event()
        self.queue.append((write, event))
        return event

    def release(self) -> None:
        if self.writing:
            self.writing = False
        else:
            self.readers -= 1
        while self.queue and not self.writing:
            write, event = self.queue[0]
            if write and self.readers:
                break
            self.queue.popleft()
            if write:
                self.writing = True
            else:
                self.readers += 1
            event.succeed()


def simpy_by_hand() -> int:
    env = simpy.Environment()
    ready = bytearray(PAGES)
    lock = _SimpyRw(env)
    held: list[deque[Any] | None] = [None] * PAGES
    state = {"running": VCPUS, "faults": 0}

    def vcpu(faults: list[tuple[int, int]]) -> Generator[Any, Any, None]:
        for think, page in faults:
            yield env.timeout(think)
            event = lock.acquire(False)
            if event is not None:
                yield event
            waiting = held[page]
            if waiting is None:
                held[page] = deque()
            else:
                event = env.event()
                waiting.append(event)
                yield event
            if ready[page]:
                yield env.timeout(HIT)
            else:
                yield env.timeout(FIRST)
                ready[page] = 1
            state["faults"] += 1
            waiting = held[page]
            if waiting:
                waiting.popleft().succeed()
            else:
                held[page] = None
            lock.release()
        state["running"] -= 1

    def writer() -> Generator[Any, Any, None]:
        number = 0
        while state["running"]:
            yield env.timeout(EVERY)
            event = lock.acquire(True)
            if event is not None:
                yield event
            yield env.timeout(HOLD)
            first = number * WIPE % PAGES
            ready[first : first + WIPE] = bytes(WIPE)
            number += 1
            lock.release()

    for number in range(VCPUS):
        env.process(vcpu(PLAN[number]))
    env.process(writer())
    env.run()
    return state["faults"]


def simpy_resources() -> int:
    env = simpy.Environment()
    ready = bytearray(PAGES)
    tokens = simpy.Container(env, capacity=1000, init=1000)
    pages = [simpy.Resource(env, 1) for _ in range(PAGES)]
    state = {"running": VCPUS, "faults": 0}

    def vcpu(faults: list[tuple[int, int]]) -> Generator[Any, Any, None]:
        for think, page in faults:
            yield env.timeout(think)
            yield tokens.get(1)
            with pages[page].request() as turn:
                yield turn
                if ready[page]:
                    yield env.timeout(HIT)
                else:
                    yield env.timeout(FIRST)
                    ready[page] = 1
                state["faults"] += 1
            yield tokens.put(1)
        state["running"] -= 1

    def writer() -> Generator[Any, Any, None]:
        number = 0
        while state["running"]:
            yield env.timeout(EVERY)
            yield tokens.get(1000)
            yield env.timeout(HOLD)
            first = number * WIPE % PAGES
            ready[first : first + WIPE] = bytes(WIPE)
            number += 1
            yield tokens.put(1000)

    for number in range(VCPUS):
        env.process(vcpu(PLAN[number]))
    env.process(writer())
    env.run()
    return state["faults"]


def main() -> list[str]:
    """The table."""
    cases = {
        "SimPy, locks by hand": simpy_by_hand,
        "engine, bare": on_bare,
        "SimPy, its own resources": simpy_resources,
        "engine, Trio": on_trio,
    }
    found = measure(cases, 5)
    goals = {"engine, bare": "ahead of SimPy by hand", "engine, Trio": "ahead of SimPy's resources"}
    return rows("a fault of the peer workload", found, "SimPy, locks by hand", goals)


if __name__ == "__main__":
    print("\n".join(main()))
