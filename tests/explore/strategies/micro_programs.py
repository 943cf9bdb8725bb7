"""Small random programs over everything that a step can be about: cells, locks of every kind, ranges, messages, faults.

Small enough for plain depth-first search, different enough to meet most of what can go wrong with reduction: nested
locks in any order (so some deadlock), try-locks, signals, downgrades, lost wake-ups, budgets of fault points.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from tests.lock_designs.seqlock import SeqCount

from gmemsim.engine.cell import Cell, RefCount
from gmemsim.engine.locks.folio_lock import FolioLock, FolioLockClass
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.policies import LOCK_POLICIES
from gmemsim.engine.locks.spinlock import QueuedRwLock
from gmemsim.engine.locks.srcu import Srcu
from gmemsim.engine.mailbox import Mailbox
from gmemsim.engine.op import Op
from gmemsim.explore.program import TaskProgram

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task

    Code = Callable[["Machine", Task, list[object]], Awaitable[None]]

__all__ = ["FLAVOURS", "micro_program"]

#: What a program is about; each is mixed with cells, so that the order of steps shows in the outcome.
FLAVOURS = (
    "cells", "mutex", "rwsem", "fine", "folio", "range", "srcu", "mailbox", "fault", "signal", "spin", "policy",
)  # fmt: skip


class Machine:
    """Two of everything."""

    def __init__(self, engine: Engine, policy: str) -> None:
        self.engine = engine
        self.cells = [Cell("x", 0), Cell("y", 0)]
        self.count = RefCount("count", 2)
        self.seq = SeqCount("seq")
        self.mutexes = [Mutex("a.mutex"), Mutex("b.mutex")]
        self.rwsems: list[Any] = [LOCK_POLICIES[policy]("a.rwsem"), LOCK_POLICIES[policy]("b.rwsem")]
        self.spin = QueuedRwLock("rwlock")
        cls = FolioLockClass("folio")
        self.folios = [FolioLock("gmem", index, cls) for index in range(2)]
        self.srcu = Srcu("srcu")
        self.mail: Mailbox[int] = Mailbox("mail")
        self.pages: dict[int, int] = {}

    async def server(self, t: Task) -> None:
        while True:
            sender, message = await self.mail.receive(t)
            value = await self.cells[0].rmw(t, partial(_take_in, message))
            await self.mail.reply(t, sender, value)


def _take_in(message: int, value: int) -> int:
    return value * 2 + message


def _load(which: int) -> Code:
    async def code(m: Machine, t: Task, out: list[object]) -> None:
        out.append(await m.cells[which].load(t))

    return code


def _store(which: int, value: int) -> Code:
    async def code(m: Machine, t: Task, out: list[object]) -> None:
        await m.cells[which].store(t, value)

    return code


def _add(which: int, value: int) -> Code:
    async def code(m: Machine, t: Task, out: list[object]) -> None:
        out.append(await m.cells[which].rmw(t, lambda old: old + value))

    return code


def _raw(which: int, value: int) -> Code:
    """Read, then write what was read: the window for a lost update, without a step for a lock."""

    async def code(m: Machine, t: Task, out: list[object]) -> None:
        old = await m.cells[which].load(t)
        await m.cells[which].store(t, old * 3 + value)

    return code


def _put(m_value: int) -> Code:
    async def code(m: Machine, t: Task, out: list[object]) -> None:
        out.append(await m.count.dec_and_test(t))

    return code


def _mutex(which: int, inner: Code, polite: bool) -> Code:
    async def code(m: Machine, t: Task, out: list[object]) -> None:
        lock = m.mutexes[which]
        if polite:
            if not await lock.trylock(t):
                out.append("busy")
                return
        else:
            await lock.lock(t)
        await inner(m, t, out)
        await lock.unlock(t)

    return code


def _rwsem(which: int, how: str, inner: Code) -> Code:
    async def code(m: Machine, t: Task, out: list[object]) -> None:
        lock = m.rwsems[which]
        if how == "r":
            await lock.down_read(t)
        elif how == "r?":
            if not await lock.down_read_trylock(t):
                out.append("busy")
                return
        elif how == "rk":
            if await lock.down_read_killable(t):
                out.append("EINTR")
                return
        elif how == "wk":
            if await lock.down_write_killable(t):
                out.append("EINTR")
                return
        else:
            await lock.down_write(t)
        await inner(m, t, out)
        if how == "d":
            await lock.downgrade_write(t)
        await (lock.up_read(t) if how[0] in "rd" else lock.up_write(t))

    return code


def _folio(which: int, inner: Code, polite: bool) -> Code:
    async def code(m: Machine, t: Task, out: list[object]) -> None:
        lock = m.folios[which]
        if polite:
            if not await lock.trylock(t):
                out.append("busy")
                return
        else:
            await lock.lock(t)
        await inner(m, t, out)
        await lock.unlock(t)

    return code


def _range(lo: int, hi: int, write: int | None) -> Code:
    """Read or write pages [lo, hi) in one step."""

    async def code(m: Machine, t: Task, out: list[object]) -> None:
        if t.traps:
            await t.point(
                Op("load" if write is None else "rmw", "pages", lo, hi, "r" if write is None else "w")
            )
        if write is None:
            out.append(tuple(m.pages.get(page, 0) for page in range(lo, hi)))
        else:
            for page in range(lo, hi):
                m.pages[page] = m.pages.get(page, 0) * 2 + write

    return code


def _srcu(inner: Code | None) -> Code:
    async def code(m: Machine, t: Task, out: list[object]) -> None:
        if inner is None:
            await m.srcu.synchronize(t)
            return
        section = await m.srcu.read_lock(t)
        await inner(m, t, out)
        await m.srcu.read_unlock(t, section)

    return code


def _spin(how: str, inner: Code) -> Code:
    async def code(m: Machine, t: Task, out: list[object]) -> None:
        await (m.spin.read_lock(t) if how == "r" else m.spin.write_lock(t))
        await inner(m, t, out)
        await (m.spin.read_unlock(t) if how == "r" else m.spin.write_unlock(t))

    return code


def _call(value: int) -> Code:
    async def code(m: Machine, t: Task, out: list[object]) -> None:
        out.append(await m.mail.call(t, value))

    return code


def _fault(which: int) -> Code:
    async def code(m: Machine, t: Task, out: list[object]) -> None:
        await m.cells[which].load(t)
        out.append(t.fault("broken"))

    return code


def _signal(other: int) -> Code:
    async def code(m: Machine, t: Task, out: list[object]) -> None:
        await m.cells[1].load(t)
        m.engine.signal(m.engine.tasks[other])

    return code


def _steps(flavour: str, random: Random, tasks: int) -> Code:
    """One operation of a flavour."""
    pick = random.randrange
    cell: list[Code] = [
        _load(pick(2)),
        _store(pick(2), 1 + pick(3)),
        _add(pick(2), 1 + pick(2)),
        _raw(pick(2), 1),
    ]
    inner = random.choice(cell)
    which = pick(2)
    if flavour == "mutex":
        nested = _mutex(1 - which, inner, False) if pick(3) == 0 else inner
        return _mutex(which, nested, pick(4) == 0)
    if flavour in ("rwsem", "policy"):
        return _rwsem(0, random.choice(("r", "r", "w", "d", "r?")), inner)
    if flavour == "fine":
        return _rwsem(0, random.choice(("r", "w")), _load(0))
    if flavour == "signal":
        return _signal(pick(tasks)) if pick(3) == 0 else _rwsem(0, random.choice(("rk", "wk", "w")), inner)
    if flavour == "folio":
        nested = _folio(1 - which, inner, False) if pick(4) == 0 else inner
        return _folio(which, nested, pick(4) == 0)
    if flavour == "range":
        lo = pick(3)
        return _range(lo, lo + 1 + pick(2), None if pick(2) else 1 + pick(3))
    if flavour == "srcu":
        return _srcu(None if pick(3) == 0 else inner)
    if flavour == "spin":
        return _spin(random.choice("rrw"), inner)
    if flavour == "mailbox":
        return _call(1 + pick(3)) if pick(2) else inner
    if flavour == "fault":
        return _fault(which) if pick(2) else inner
    return _put(0) if pick(5) == 0 else inner


def micro_program(seed: int, flavour: str) -> TaskProgram:
    """A program of two or three tasks with one to three operations each; the same for the same seed."""
    random = Random(f"{flavour} {seed}")
    tasks = 2 if flavour == "fine" or random.randrange(3) else 3
    total = 2 if flavour == "fine" else 4 if flavour in ("cells", "range", "fault") else 3
    policy = "rwsem-fine" if flavour == "fine" else "rwsem"
    if flavour == "policy":
        policy = random.choice([name for name in LOCK_POLICIES if name not in ("rwsem", "rwsem-fine")])
    bodies: list[list[Code]] = [[_steps(flavour, random, tasks)] for _ in range(tasks)]
    for _ in range(max(0, total - tasks)):
        random.choice(bodies).append(_steps(flavour, random, tasks))

    def setup(engine: Engine) -> Callable[[], object]:
        machine = Machine(engine, policy)
        outs: list[list[object]] = [[] for _ in bodies]

        async def body(t: Task, code: list[Code], out: list[object]) -> None:
            for step in code:
                await step(machine, t, out)

        if flavour == "mailbox":
            engine.spawn("server", machine.server, daemon=True)
        for number, (code, out) in enumerate(zip(bodies, outs, strict=True)):
            engine.spawn(f"t{number}", body, code, out)
        return lambda: (
            outs,
            [cell.value for cell in machine.cells],
            machine.count.value,
            sorted(machine.pages.items()),
        )

    faults = {"broken": 1 + random.randrange(2)} if flavour == "fault" else {}
    return TaskProgram(f"{flavour} {seed} {policy}", setup, faults)
