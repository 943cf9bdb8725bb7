"""The engine's queues and a whole storm against models that share no code with them: exact, to the nanosecond.

Open queues against the Lindley recursion, the machine repairman and a storm against SimPy. Means against the closed
formulas are a check of the drawn customers more than of the engine, since the recursion is exact already.
"""

from __future__ import annotations

import math
import random
from collections import deque
from statistics import mean
from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.arch.cost_file import load_costs
from gmemsim.arch.costs import CostTable
from gmemsim.arch.platform_costs import PlatformCosts
from gmemsim.contention.point import Point
from gmemsim.contention.storm import run
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.policies import LOCK_POLICIES
from gmemsim.engine.locks.spinlock import QueuedRwLock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from gmemsim.engine.task import Task

simpy = pytest.importorskip("simpy")

LOCKS = ("spin", "fifo", "mutex", "rwsem")
SERVICE = 1000
SERVICES: dict[str, tuple[Callable[[random.Random], float], float]] = {
    "M/M/1": (lambda rng: rng.expovariate(1 / SERVICE), 1.0),
    "M/D/1": (lambda rng: SERVICE, 0.0),
    "M/G/1": (
        lambda rng: rng.lognormvariate(math.log(SERVICE) - math.log(4) / 2, math.sqrt(math.log(4))),
        3.0,
    ),
}


def make(name: str) -> tuple[Any, Callable[[Task], Any], Callable[[Task], Any]]:
    """A lock taken exclusively: the object, acquire, release."""
    if name == "spin":
        spin = QueuedRwLock("l")
        return spin, spin.write_lock, spin.write_unlock
    if name == "mutex":
        mutex = Mutex("l")
        return mutex, mutex.lock, mutex.unlock
    rwsem = LOCK_POLICIES[name]("l")
    return rwsem, rwsem.down_write, rwsem.up_write


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("load", [0.5, 0.8])
@pytest.mark.parametrize("queue", SERVICES)
def test_waits_are_those_of_the_lindley_recursion(queue: str, load: float, lock: str) -> None:
    service, variation = SERVICES[queue]
    rng = random.Random(3)
    arrivals, services, clock = [], [], 0
    for _ in range(4000):
        clock += max(1, round(rng.expovariate(load / SERVICE)))
        arrivals.append(clock)
        services.append(max(1, round(service(rng))))
    found, acquire, release = make(lock)
    waits = [0] * len(arrivals)

    async def customer(t: Task, number: int) -> None:
        await t.sleep(arrivals[number])
        came = t.engine.now
        await acquire(t)
        waits[number] = t.engine.now - came
        await t.spend(services[number])
        await release(t)

    engine = Engine()
    for number in range(len(arrivals)):
        engine.spawn(f"c{number}", customer, number)
    bare.run(engine)
    expected, wait = [], 0
    for number, served in enumerate(services):
        expected.append(wait)
        if number + 1 < len(services):
            wait = max(0, wait + served - (arrivals[number + 1] - arrivals[number]))
    assert waits == expected
    statistics = found.statistics()
    counted = getattr(statistics, "write", statistics)
    assert (counted.wait_total, counted.hold_total) == (sum(waits), sum(services))
    theory = load / (1 - load) * SERVICE * (1 + variation) / 2
    # 4,000 customers: the mean of a heavily loaded queue is known to about a third.
    assert 0.5 < mean(waits[400:]) / theory < 1.6


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("machines", [1, 4, 11, 32])
def test_the_machine_repairman_is_simpys(machines: int, lock: str) -> None:
    """Think 10 µs, service 1 µs, the same draws in both."""
    draws = []
    for number in range(machines):
        rng = random.Random(5000 + number)
        draws.append(
            [tuple(max(1, round(rng.expovariate(1 / m))) for m in (10_000, 1000)) for _ in range(300)]
        )
    _, acquire, release = make(lock)
    ends = [0] * machines

    async def machine(t: Task, number: int) -> None:
        for think, service in draws[number]:
            await t.spend(think)
            await acquire(t)
            await t.spend(service)
            await release(t)
        ends[number] = t.engine.now

    engine = Engine()
    for number in range(machines):
        engine.spawn(f"m{number}", machine, number)
    bare.run(engine)
    env = simpy.Environment()
    server = simpy.Resource(env, 1)
    theirs = [0] * machines

    def other(number: int) -> Generator[Any, None, None]:
        for think, service in draws[number]:
            yield env.timeout(think)
            with server.request() as turn:
                yield turn
                yield env.timeout(service)
        theirs[number] = env.now

    for number in range(machines):
        env.process(other(number))
    env.run()
    assert ends == theirs


class SimpyRwLock:
    """A first-come-first-served read/write lock whose readers own one cache line in turn."""

    def __init__(self, env: Any, line: int, wake: int) -> None:
        self.env, self.line, self.wake = env, line, wake
        self.readers, self.writer, self.free_at = 0, False, 0
        self.queue: deque[tuple[str, Any]] = deque()
        self.waits: dict[str, list[int]] = {"r": [], "w": []}

    def move(self) -> Any:
        self.free_at = max(self.free_at, self.env.now) + self.line
        return self.env.timeout(self.free_at - self.env.now)

    def _wait(self, mode: str) -> Generator[Any, None, None]:
        event, came = self.env.event(), self.env.now
        self.queue.append((mode, event))
        yield event
        self.waits[mode].append(self.env.now - came)

    def read(self) -> Generator[Any, None, None]:
        yield self.move()
        if self.writer or self.queue:
            yield from self._wait("r")
        else:
            self.readers += 1

    def write(self) -> Generator[Any, None, None]:
        if self.writer or self.queue or self.readers:
            yield from self._wait("w")
        else:
            self.writer = True

    def read_done(self) -> Generator[Any, None, None]:
        yield self.move()
        self.readers -= 1
        self._admit()

    def write_done(self) -> None:
        self.writer = False
        self._admit()

    def _admit(self) -> None:
        while self.queue and not self.writer:
            mode, event = self.queue[0]
            if mode == "w" and self.readers:
                return
            self.queue.popleft()
            if mode == "w":
                self.writer = True
            else:
                self.readers += 1
            event._ok, event._value = True, None
            self.env.schedule(event, delay=self.wake)


@pytest.mark.parametrize("vcpus", [1, 2, 16, 64])
@pytest.mark.parametrize("patch", ["tracked", "tracked-shared", "inplace"])
def test_a_storm_is_simpys(patch: str, vcpus: int) -> None:
    """First touches under a lock in the fault, first come first served: time, percentiles and waits are equal.

    `tracked` marks exclusively; `tracked-shared` and `inplace` hold the lock shared over get_pfn.
    """
    costs = CostTable.default("sw-protected")
    env = simpy.Environment()
    lock = SimpyRwLock(env, costs.line, costs.wake)
    latencies: list[int] = []

    def vcpu() -> Generator[Any, None, None]:
        for _ in range(256 // vcpus):
            came = env.now
            yield env.timeout(costs.fault_entry)
            # In place the kind is looked up at the exit and in the fault, without a lock; the variants ask their bit.
            if patch == "inplace":
                # Two steps, as ties go by who came to its step first.
                yield env.timeout(costs.xarray_lookup)
                yield env.timeout(costs.xarray_lookup)
            yield from lock.read()
            if patch != "inplace":
                yield env.timeout(costs.xarray_lookup)
            if patch == "tracked":
                yield from lock.read_done()
                yield from lock.write()
            # Look-up, which misses; look-up before the creation; page; the kind once more, or the bit that is set.
            for cost in ("xarray_lookup", "xarray_lookup", "alloc_4k", "clear_4k", "xarray_lookup"):
                yield env.timeout(getattr(costs, cost))
            if patch != "inplace":
                yield env.timeout(costs.line)
            if patch == "tracked":
                lock.write_done()
            else:
                yield from lock.read_done()
            yield env.timeout(costs.spte_install)
            latencies.append(env.now - came)

    for _ in range(vcpus):
        env.process(vcpu())
    env.run()
    found = run(Point(patch, "sw-protected", "first-touch", "none", vcpus, 256, policy="fifo"))
    assert found.virtual_ns == env.now
    assert found.latency_total == sum(latencies)
    assert found.longest == max(latencies)
    for mode, waits in lock.waits.items():
        mine = found.lock(f"invalidate_lock:{mode}")
        assert (mine.contentions, mine.wait_total) == (len(waits), sum(waits))


class SimpyMachine:
    """CPUs that share lines and short spinlocks, written from docs/costs.md alone."""

    def __init__(self, env: Any, costs: PlatformCosts, vcpus: int, sockets: int) -> None:
        self.env, self.costs, self.cpus, self.sockets = env, costs, vcpus + 1, sockets
        #: By name: the CPU that has the line or had the lock last, and when it is free.
        self.lines: dict[object, tuple[int, int]] = {}
        self.sptes: dict[int, int] = {}
        self.stocks: dict[tuple[str, int], int] = {}
        self.waits: dict[str, list[int]] = {"i_pages": [], "zone_lock": [], "lruvec_lock": []}

    def distance(self, one: int, other: int) -> int:
        if one in (-1, other):
            return 0
        here, there = (cpu * self.sockets // self.cpus for cpu in (one, other))
        return self.costs.line if here == there else self.costs.line_remote

    def reach(self, cpu: int, name: object, work: int) -> int:
        owner, free_at = self.lines.get(name, (-1, 0))
        end = max(free_at, self.env.now) + self.distance(owner, cpu) + work
        self.lines[name] = (cpu, end)
        return int(end - self.env.now)

    def short(self, cpu: int, name: str, work: int) -> Any:
        key = (name, cpu * self.sockets // self.cpus if name == "zone_lock" else 0)
        owner, free_at = self.lines.get(key, (-1, 0))
        if free_at > self.env.now:
            begin = free_at + 2 * self.distance(owner, cpu)
            self.waits[name].append(begin - self.env.now)
        else:
            begin = self.env.now + self.distance(owner, cpu)
        self.lines[key] = (cpu, begin + self.costs.spinlock + work)
        return self.env.timeout(begin + self.costs.spinlock + work - self.env.now)

    def out_of(self, stock: str, cpu: int, batch: int) -> bool:
        left = self.stocks.get((stock, cpu), cpu * 37 % batch)
        self.stocks[stock, cpu] = (left or batch) - 1
        return not left

    def fault(self, cpu: int, page: int, tables: int = 0) -> Generator[Any, None, None]:
        """A first touch on `inplace`, which holds the invalidate lock shared over get_pfn."""
        costs, after = self.costs, self.env.timeout
        for ns in (costs.srcu // 2, costs.fault_entry, costs.xarray_lookup, costs.xarray_lookup):
            yield after(ns)
        yield after(self.reach(cpu, "f_count", costs.atomic))
        yield after(self.reach(cpu, "invalidate_lock", costs.rwsem // 2))
        for ns in (costs.xarray_lookup, costs.xarray_lookup, costs.alloc_4k):
            yield after(ns)
        if self.out_of("page", cpu, 63):
            yield self.short(cpu, "zone_lock", costs.pcp_refill)
        charge = costs.memcg_charge
        if self.out_of("charge", cpu, 64):
            charge += self.reach(cpu, "memcg", costs.atomic)
        yield after(charge)
        yield self.short(cpu, "i_pages", costs.xa_store)
        # In place a batch begins empty, and holds a reference of each of its folios.
        batch = self.stocks["lru", cpu] = self.stocks.get(("lru", cpu), 0) + 1
        if batch == 31:
            self.stocks["lru", cpu] = 0
            yield self.short(cpu, "lruvec_lock", 31 * costs.lru_add)
            for _ in range(31):
                yield after(costs.atomic)
        # Cleared, its kind looked up once more, unlocked, and the reference dropped: nobody else has the folio's line.
        for ns in (costs.clear_4k, costs.xarray_lookup, costs.folio_lock // 2, costs.atomic):
            yield after(ns)
        yield after(self.reach(cpu, "invalidate_lock", costs.rwsem // 2))
        yield after(self.reach(cpu, "f_count", costs.atomic))
        yield after(self.reach(cpu, "mmu_lock", costs.spinlock // 2))
        for _ in range(tables):
            yield after(costs.alloc_4k)
            if self.out_of("page", cpu, 63):
                yield self.short(cpu, "zone_lock", costs.pcp_refill)
        yield after(costs.spte_install)
        yield after(self.distance(self.sptes.get(page // 8, -1), cpu))
        self.sptes[page // 8] = cpu
        yield after(self.reach(cpu, "mmu_lock", costs.spinlock // 2))
        yield after(costs.srcu // 2)


@pytest.mark.parametrize("sockets", [1, 2])
@pytest.mark.parametrize("vcpus", [1, 2, 16, 32])
def test_a_storm_with_a_full_cost_table_is_simpys(vcpus: int, sockets: int) -> None:
    """Lines, short spinlocks, stocks and two sockets, on Milan's table: time, latencies and waits are equal."""
    costs = load_costs("milan").table("sw-protected")
    assert isinstance(costs, PlatformCosts)
    env = simpy.Environment()
    machine = SimpyMachine(env, costs, vcpus, sockets)
    pages, latencies = 256, list[int]()

    def setup() -> Generator[Any, None, None]:
        """The storm's background thread has its own eight pages behind all others; tables are made with the first."""
        for number in range(8):
            yield from machine.fault(vcpus, pages + number, 0 if number else 3)

    def vcpu(number: int) -> Generator[Any, None, None]:
        each = pages // vcpus
        for page in range(number * each, (number + 1) * each):
            came = env.now
            yield from machine.fault(number, page)
            latencies.append(env.now - came)

    env.run(env.process(setup()))
    began = env.now
    for waits in machine.waits.values():
        waits.clear()
    for number in range(vcpus):
        env.process(vcpu(number))
    env.run()
    found = run(
        Point("inplace", "sw-protected", "first-touch", "none", vcpus, pages, costs="milan", sockets=sockets)
    )
    assert found.virtual_ns == env.now - began
    assert found.latency_total == sum(latencies)
    assert (found.p50, found.longest) == (sorted(latencies)[len(latencies) // 2 - 1], max(latencies))
    for name, waits in machine.waits.items():
        mine = found.lock(f"{name}:w")
        assert (name, mine.contentions, mine.wait_total) == (name, len(waits), sum(waits))
