"""Operations on host mappings."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

from ...actors.errno import EFAULT, EINVAL, ENOMEM, errno_name
from .. import ops
from ..results import FAILURES, Outcome
from ..units import PAGE
from .registry import OK, from_errno, handles, in_bytes, of_pages

if TYPE_CHECKING:
    from ...actors.inode import HostMapping
    from ...engine.task import Task
    from ..steps import Step
    from ..thread import Thread


def _mapping(thread: Thread, t: Task, step: Step) -> HostMapping | None:
    assert step.map is not None
    return thread.machine.world.mappings.get(thread.machine.mapping_label(step.map, thread.actor))


@handles(ops.HostTouch, ops.HostRead, ops.HostWrite)
async def host_access(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.HostAccess", step.op)
    write = op.write if isinstance(op, ops.HostTouch) else op.value if isinstance(op, ops.HostWrite) else None
    keep = isinstance(op, ops.HostRead)
    paces = thread.paces(step.time or thread.session.access_time, t.call)
    outcomes: Counter[str] = Counter()
    values: list[str] = []
    sees = op.sees if isinstance(op, ops.HostRead) else ()
    for page in range(lo, hi):
        await t.spend(next(paces))
        mapping = None if op.buffer is not None else _mapping(thread, t, step)
        seen = "SIGSEGV"
        if op.buffer is not None:
            value = None if write is None else thread.fill(write, page)
            seen = await thread.machine.buffer_access(t, op.buffer, page, value)
        elif mapping is not None:
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
    raw = None if op.offset is None or op.length is None else (op.offset, op.length)
    actor = thread.actor
    return Outcome(await thread.machine.mmap(t, step.map, actor.name, op.shared, raw, actor.process))


@handles(ops.Munmap)
async def munmap(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    assert step.map is not None
    return Outcome(await thread.machine.munmap(t, step.map, thread.actor))


@handles(ops.Madvise)
async def madvise(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    found = _advised(thread, t, step, lo, hi)
    if isinstance(found, int):
        return from_errno(found)
    mapping, start, end = found
    # MADV_HUGEPAGE marks the mapping; without collapse nothing asks for it.
    if cast("ops.Madvise", step.op).advice == "DONTNEED":
        await thread.kernel.madvise_dontneed(t, mapping, start, end)
    return OK


@handles(ops.Collapse)
async def collapse(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    found = _advised(thread, t, step, lo, hi)
    return from_errno(found if isinstance(found, int) else await thread.kernel.collapse_file(t, *found))


def _advised(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> tuple[HostMapping, int, int] | int:
    """Mapping and indices of a madvise(2), or what it says to a range that is none of them (`do_madvise`)."""
    offset, length = in_bytes(step.op, lo, hi)
    if offset % PAGE or length < 0:
        return EINVAL
    mapping = _mapping(thread, t, step)
    if mapping is None or offset < 0 or offset + length > mapping.pages * PAGE:
        return ENOMEM
    return mapping, mapping.start + offset // PAGE, mapping.start - (-(offset + length) // PAGE)


@handles(ops.Mbind)
async def mbind(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.Mbind", step.op)
    mapping = _mapping(thread, t, step)
    if mapping is None:
        return from_errno(EFAULT)
    if any(node >= thread.session.workload.document.setup.numa_nodes for node in op.nodes):
        return from_errno(EINVAL)
    offset, length = in_bytes(op, lo, hi)
    start, end = mapping.start + offset // PAGE, mapping.start - (-(offset + length) // PAGE)
    return from_errno(await thread.kernel.mbind(t, mapping, start, end, op.policy, op.nodes))


@handles(ops.GetMempolicy)
async def get_mempolicy(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    mapping = _mapping(thread, t, step)
    if mapping is None:
        return from_errno(EFAULT)
    policy, nodes = await thread.kernel.get_mempolicy(t, mapping, mapping.start + lo)
    return Outcome("ok", (policy, *map(str, nodes)), facts={"policy": policy, "nodes": list(nodes)})


@handles(ops.MovePages)
async def move_pages(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    """The node of each page, or the errno that stands in its place."""
    nodes: list[int] = []
    for page in range(lo, hi):
        mapping = _mapping(thread, t, step)
        node = EFAULT if mapping is None else await thread.kernel.page_node(t, mapping, mapping.start + page)
        nodes.append(node)
    return Outcome("ok", tuple(map(str, nodes)), facts={"nodes": nodes})


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
        held = thread.machine.pins.get((mapping.label, page), ())
        thread.machine.pins[mapping.label, page] = (*held, (mapping.inode, folio))
        outcomes["ok"] += 1
    return of_pages(outcomes, [])


@handles(ops.Unpin)
async def unpin(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    assert step.map is not None
    outcomes: Counter[str] = Counter()
    label = thread.machine.mapping_label(step.map, thread.actor)
    for page in range(lo, hi):
        held = thread.machine.pins.get((label, page), ())
        if not held:
            outcomes["EINVAL"] += 1
            continue
        thread.machine.pins[label, page] = held[:-1]
        await thread.kernel.unpin_user_page(t, *held[-1])
        outcomes["ok"] += 1
    return of_pages(outcomes, [])
