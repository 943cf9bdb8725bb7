"""Operations on host mappings."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

from ...actors.errno import errno_name
from ...actors.inode import MAPPINGS
from .. import ops
from ..results import FAILURES, Outcome
from .registry import OK, from_errno, handles, of_pages

if TYPE_CHECKING:
    from ...actors.inode import HostMapping
    from ...engine.task import Task
    from ..steps import Step
    from ..thread import Thread

__all__: list[str] = []


def _mapping(thread: Thread, t: Task, step: Step) -> HostMapping | None:
    assert step.map is not None
    t.saw(MAPPINGS)
    return thread.machine.world.mappings.get(step.map.label(thread.actor.name))


@handles(ops.HostTouch, ops.HostRead, ops.HostWrite)
async def host_access(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = step.op
    write = op.write if isinstance(op, ops.HostTouch) else op.value if isinstance(op, ops.HostWrite) else None
    keep = isinstance(op, ops.HostRead)
    paces = thread.paces(step.time or thread.session.access_time, t.call)
    outcomes: Counter[str] = Counter()
    values: list[str] = []
    sees = op.sees if isinstance(op, ops.HostRead) else ()
    for page in range(lo, hi):
        await t.spend(next(paces))
        mapping = _mapping(thread, t, step)
        seen = "SIGSEGV"
        if mapping is not None:
            index = mapping.start + page
            value = None if write is None else thread.fill(write, index)
            seen = await thread.kernel.host_access(t, mapping, index, value)
        other = sees and seen not in sees
        outcomes[seen if seen in FAILURES else "other_value" if other else "ok"] += 1
        if keep:
            values.append(seen)
    return of_pages(outcomes, values)


@handles(ops.Mmap)
async def mmap(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.Mmap", step.op)
    assert step.map is not None
    return Outcome(await thread.machine.mmap(t, step.map, thread.actor.name, op.shared))


@handles(ops.Munmap)
async def munmap(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    assert step.map is not None
    return Outcome(await thread.machine.munmap(t, step.map, thread.actor.name))


@handles(ops.Madvise)
async def madvise(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    mapping = _mapping(thread, t, step)
    if mapping is None:
        return Outcome("ENOMEM")
    await thread.kernel.madvise_dontneed(t, mapping, mapping.start + lo, mapping.start + hi)
    return OK


@handles(ops.Collapse)
async def collapse(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    mapping = _mapping(thread, t, step)
    if mapping is None:
        return Outcome("ENOMEM")
    return from_errno(await thread.kernel.collapse_file(t, mapping, mapping.start + lo, mapping.start + hi))


@handles(ops.Pin)
async def pin(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    outcomes: Counter[str] = Counter()
    for page in range(lo, hi):
        mapping = _mapping(thread, t, step)
        if mapping is None:
            outcomes["EFAULT"] += 1
            continue
        folio = await thread.kernel.pin_user_page(t, mapping, mapping.start + page)
        if isinstance(folio, int):
            outcomes[errno_name(folio)] += 1
            continue
        if t.traps:
            t.changed(f"{mapping.label}.pins", page, page + 1)
        thread.machine.pins.setdefault((mapping.label, page), []).append((mapping.inode, folio))
        outcomes["ok"] += 1
    return of_pages(outcomes, [])


@handles(ops.Unpin)
async def unpin(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    assert step.map is not None
    outcomes: Counter[str] = Counter()
    for page in range(lo, hi):
        if t.traps:
            t.changed(f"{step.map.label(thread.actor.name)}.pins", page, page + 1)
        held = thread.machine.pins.get((step.map.label(thread.actor.name), page))
        if not held:
            outcomes["EINVAL"] += 1
            continue
        await thread.kernel.unpin_user_page(t, *held.pop())
        outcomes["ok"] += 1
    return of_pages(outcomes, [])
