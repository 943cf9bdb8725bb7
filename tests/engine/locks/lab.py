"""Bench for lock tests: run tiny programs on a lock, under one schedule, random ones or all of them.

A program is one string per task; each letter is an operation (see `OPERATIONS`). `explore` enumerates the
choice tape like an odometer. Between two tasks that take a dozen steps each there are millions of schedules,
so it cuts a run short where it reaches a state that another run has been in; the state is what the tasks'
frames and the lock hold.
"""

from __future__ import annotations

from collections import deque
from types import CoroutineType, GeneratorType, NoneType
from typing import TYPE_CHECKING, Any

from gmemsim.engine import bare
from gmemsim.engine.answers import candidate
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import Deadlock
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.rwsem_fine import FineRwSem
from gmemsim.engine.locks.rwsem_fine_core import WaitLock
from gmemsim.engine.locks.rwsem_queue import Waiter, WakeKind
from gmemsim.engine.locks.rwsem_spin import SpinQueue
from gmemsim.engine.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gmemsim.engine.locks.rwsem_protocol import RwLock
    from gmemsim.engine.strategy import Strategy

__all__ = ["GRAINS", "Cut", "Dfs", "World", "at_rest", "drive", "explore", "run"]

GRAINS: dict[str, type[RwSem] | type[FineRwSem]] = {"coarse": RwSem, "fine": FineRwSem}

#: Phases (a writer, or the readers between two writers), results of trylocks and kills, deadlock or not.
Outcome = tuple[tuple[str, ...], tuple[str, ...], bool]


class World:
    """One run: an engine, a lock, and what the tasks saw.

    Attributes:
        log: acquisitions in the order in which the tasks saw them.
        phases: the log without the order of readers that no writer separates, which is chance at both grains.
        results: what trylocks and killable operations returned.
        events: audit events with the names of their tasks, if the run records any.
        inside: who believes to hold the lock now, `name:mode`.
        deadlock: whether the run ended in one.
    """

    def __init__(self, engine: Engine, lock: RwLock) -> None:
        self.engine = engine
        self.lock = lock
        self.log: list[str] = []
        self.phases: list[str] = []
        self.results: list[str] = []
        self.events: list[tuple[str, Any]] = []
        self.inside: list[str] = []
        self.deadlock = False

    @property
    def outcome(self) -> Outcome:
        return (*self.phases,), (*sorted(self.results),), self.deadlock

    def enter(self, t: Task, mode: str, note: str = "") -> None:
        """`t` has the lock."""
        if self.lock.excludes:
            clash = [who for who in self.inside if mode == "w" or who.endswith(":w")]
            assert not clash or (clash == [f"{t.name}:r"] and mode == "r"), f"{t.name}:{mode} meets {clash}"
        self.inside.append(f"{t.name}:{mode}")
        self.log.append(f"{t.name}{note}:{mode}")
        if mode == "r" and self.phases and self.phases[-1] != self.phases[-1].upper():
            self.phases[-1] = "".join(sorted(self.phases[-1] + t.name))
        else:
            self.phases.append(t.name if mode == "r" else t.name.upper())

    def leave(self, t: Task, mode: str) -> None:
        self.inside.remove(f"{t.name}:{mode}")

    async def task(self, t: Task, program: str) -> None:
        for letter in program:
            t.call += 1
            await OPERATIONS[letter](self, t)


async def _read(world: World, t: Task) -> None:
    await world.lock.down_read(t)
    world.enter(t, "r")
    world.leave(t, "r")
    await world.lock.up_read(t)


async def _write(world: World, t: Task) -> None:
    await world.lock.down_write(t)
    world.enter(t, "w")
    world.leave(t, "w")
    await world.lock.up_write(t)


async def _try_read(world: World, t: Task) -> None:
    got = await world.lock.down_read_trylock(t)
    world.results.append(f"{t.name}{t.call} {got}")
    if got:
        world.enter(t, "r", "?")
        world.leave(t, "r")
        await world.lock.up_read(t)


async def _try_write(world: World, t: Task) -> None:
    got = await world.lock.down_write_trylock(t)
    world.results.append(f"{t.name}{t.call} {got}")
    if got:
        world.enter(t, "w", "?")
        world.leave(t, "w")
        await world.lock.up_write(t)


async def _downgrade(world: World, t: Task) -> None:
    await world.lock.down_write(t)
    world.enter(t, "w")
    world.leave(t, "w")
    await world.lock.downgrade_write(t)
    world.enter(t, "r", "v")
    world.leave(t, "r")
    await world.lock.up_read(t)


async def _nested(world: World, t: Task) -> None:
    await world.lock.down_read(t)
    world.enter(t, "r")
    await world.lock.down_read(t)
    world.enter(t, "r", "+")
    world.leave(t, "r")
    await world.lock.up_read(t)
    world.leave(t, "r")
    await world.lock.up_read(t)


async def _upgrade(world: World, t: Task) -> None:
    await world.lock.down_read(t)
    world.enter(t, "r")
    await world.lock.down_write(t)
    raise AssertionError("an upgrade came back")


async def _killable_read(world: World, t: Task) -> None:
    error = await world.lock.down_read_killable(t)
    world.results.append(f"{t.name}{t.call} {error}")
    if error:
        return
    world.enter(t, "r")
    world.leave(t, "r")
    await world.lock.up_read(t)


async def _killable_write(world: World, t: Task) -> None:
    error = await world.lock.down_write_killable(t)
    world.results.append(f"{t.name}{t.call} {error}")
    if error:
        return
    world.enter(t, "w")
    world.leave(t, "w")
    await world.lock.up_write(t)


async def _kill(world: World, t: Task) -> None:
    """Signal the task before this one."""
    await t.sleep(0)
    world.engine.signal(world.engine.tasks[t.ident - 1])


OPERATIONS: dict[str, Callable[[World, Task], Any]] = {
    "r": _read,
    "w": _write,
    "t": _try_read,
    "T": _try_write,
    "d": _downgrade,
    "n": _nested,
    "u": _upgrade,
    "k": _killable_read,
    "K": _killable_write,
    "!": _kill,
}


def drive(engine: Engine, after: Callable[[Task], None]) -> None:
    """Run `engine` like `bare.run`, and call `after` with the task that ran once a step is over."""
    until = None
    while (task := engine.next_task(until)) is not None:
        until = None
        try:
            answer = task.send(None)
            until = answer if answer.__class__ is int else None
        except StopIteration as stop:
            engine.finish(task, stop.value)
        after(task)


def run(
    make: Callable[[str], RwLock],
    programs: Sequence[str],
    strategy: Strategy | None,
    after: Callable[[World, Task], None] | None = None,
    record: bool = False,
) -> World:
    """Run `programs` on a fresh lock; a deadlock is an outcome, every other error is raised."""
    engine = Engine(strategy, max_steps=200_000)
    world = World(engine, make("x"))
    if record:
        engine.rec = lambda t, event: world.events.append((t.name, event))
    for program, name in zip(programs, "abcdefgh", strict=False):
        engine.spawn(name, world.task, program)
    if isinstance(strategy, Dfs):
        strategy.world = world
    try:
        if after is None:
            bare.run(engine)
        else:
            check = after
            drive(engine, lambda task: check(world, task))
    except Deadlock:
        world.deadlock = True
    finally:
        for task in engine.tasks:
            if not task.done:
                task.handle.close()
    return world


def at_rest(world: World) -> bool:
    """Whether no task is inside an operation of the lock, other than asleep in its queue."""
    for task in world.engine.tasks:
        names: list[str] = []
        coroutine: Any = None if task.done else task.handle
        while hasattr(coroutine, "cr_frame"):
            code = coroutine.cr_frame.f_code
            names.append(code.co_filename.rpartition("/")[2])
            if code.co_name == "_sleep" and task.parked_on is not None:
                names.clear()
                break
            coroutine = coroutine.cr_await
        if any(name.startswith("rwsem") for name in names):
            return False
    return True


class Cut(Exception):
    """The run has reached a state that another run explores."""


class Dfs:
    """Every answer to every draw, the last one first: an odometer whose digits are the choices of a run.

    Args:
        prune: cut a run at a state that was reached before.
    """

    def __init__(self, prune: bool = True) -> None:
        self.prune = prune
        self.digits: list[list[int]] = []
        self.position = 0
        self.seen: set[Any] = set()
        self.runs = 0
        self.world: World | None = None

    def begin(self, engine: Engine) -> bool:
        """Advance the odometer; False after the last run."""
        if self.runs:
            while self.digits and self.digits[-1][0] + 1 == self.digits[-1][1]:
                self.digits.pop()
            if not self.digits:
                return False
            self.digits[-1][0] += 1
        self.runs += 1
        self.position = 0
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        if self.prune and self.position == len(self.digits):
            assert self.world is not None
            state = snapshot(self.world)
            if state in self.seen:
                raise Cut
            self.seen.add(state)
        return candidate(runnable, current, self._digit(len(runnable)))

    def draw(self, task: Task, label: str, bound: int) -> int:
        return self._digit(bound)

    def _digit(self, bound: int) -> int:
        if self.position == len(self.digits):
            self.digits.append([0, bound])
        value, limit = self.digits[self.position]
        assert limit == bound, "the model is not deterministic"
        self.position += 1
        return value


def explore(
    make: Callable[[str], RwLock], programs: Sequence[str], prune: bool = True, limit: int = 200_000
) -> set[Outcome]:
    """The outcomes of `programs` over all schedules and draws."""
    dfs = Dfs(prune)
    outcomes: set[Outcome] = set()
    while dfs.begin(Engine()):
        assert dfs.runs <= limit, f"more than {limit} runs"
        try:
            outcomes.add(run(make, programs, dfs).outcome)
        except Cut:
            continue
    explore.runs = dfs.runs  # type: ignore[attr-defined]
    return outcomes


def snapshot(world: World) -> Any:
    """All that the future of a run depends on, as a hashable value."""
    lock: Any = world.lock
    names = _FIELDS.get(type(lock))
    if names is None:
        slots = {name for cls in type(lock).__mro__ for name in getattr(cls, "__slots__", ())}
        names = [
            n for n in sorted(slots) if not n.endswith(("_op", "_r", "_w", "_load")) and n not in _STATIC
        ]
        _FIELDS[type(lock)] = names
    fields = tuple([_code(getattr(lock, name), lock) for name in names])
    tasks = tuple(
        (
            task.done,
            task.parked_on is not None,
            _code(task.value, lock),
            task.signal_pending,
            task.call,
            () if task.done else _frames(task.handle, lock),
        )
        for task in world.engine.tasks
    )
    return fields, tasks, world.outcome, (*sorted(world.inside),)


_FIELDS: dict[type, list[str]] = {}

_STATIC = {
    "age", "cls", "label", "paths", "spinning", "_wait_timeout", "_read", "_write", "_since", "_lock", "tasks",
    "line_ns", "line_state", "line_total", "_acquire", "_release",
}  # fmt: skip


#: Locals that never change while a coroutine lives, that `World.outcome` and `Task.call` stand for, or that are dead.
_CONSTANT = {
    "self", "t", "world", "program", "letter", "op", "killable", "owner", "reader", "began", "since", "ns", "counter",
}  # fmt: skip


def _frames(coroutine: Any, lock: Any) -> tuple[Any, ...]:
    """Where a suspended coroutine stands, and its local variables, from the outside in."""
    found: list[Any] = []
    while coroutine is not None:
        kind: Any = coroutine.__class__
        if kind is CoroutineType:
            frame = coroutine.cr_frame
            inner = coroutine.cr_await
        elif kind is GeneratorType:
            frame = coroutine.gi_frame
            inner = coroutine.gi_yieldfrom
        else:
            break
        found.append(frame.f_code)
        found.append(frame.f_lasti)
        for name, value in frame.f_locals.items():
            if name not in _CONSTANT:
                found.append(value if value.__class__ in _PLAIN else _code(value, lock))
        coroutine = inner
    return (*found,)


_PLAIN = {int, bool, str, NoneType}


def _code(value: Any, lock: Any) -> Any:
    kind = value.__class__
    if kind in _PLAIN or kind is type:
        return value
    if kind is Task:
        return value.ident
    if kind is Waiter:
        return (
            value.task.ident, value.write, value.handoff_set, value.granted, value.asleep, value.woken,
            value.spinning, value in lock.queue, value.number <= lock._wait_timeout._expired,
        )  # fmt: skip
    if kind in {list, tuple, deque}:
        return tuple([_code(item, lock) for item in value])
    if kind is dict:
        # By task: the order in which readers came matters only for the names in a message.
        return tuple(sorted([(_code(key, lock), _code(item, lock)) for key, item in value.items()]))
    if kind is WakeKind:
        return value
    if kind is WaitLock:
        return (_code(value.holder, lock), _code(value.queue, lock))
    if kind is SpinQueue:
        return (_code(value.tasks, lock), value._parked)
    return kind
