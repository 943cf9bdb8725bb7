"""Accesses of a vector, which are to bytes, as operations of scenarios on pages; and calls on mappings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from ...actors.errno import errno_name
from .. import ops
from ..tables import VMM
from ..units import PAGE
from . import arguments as a
from .content import pieces, read_bytes, text, write_bytes
from .registry import op
from .results import Got
from .rig import Unsupported

if TYPE_CHECKING:
    from ...engine.task import Task
    from ..results import Outcome
    from ..tables import Map
    from .rig import Rig
    from .vector import Step

#: A load (without a token) or store of one page.
_Access = Callable[[int, str | None], Awaitable["Outcome"]]
#: Reads of a loop in a row; then it waits until another branch has finished a step, since nothing else can change.
_UNDISTURBED: Final = 2
#: The kind bit of an access; None: what the page is at the moment.
_KINDS: Final = {"private": True, "auto_private": True, "shared": False, "auto": None}


class _Left(NamedTuple):
    """Where an access of some bytes did not go on: what that came to, the page, and the bytes in it."""

    outcome: Outcome
    page: int
    start: int
    end: int


async def _bytes(access: _Access, at: int, length: int, value: int | None) -> set[int | None] | _Left:
    """Load (`value` None) or store [at, at + length): the different bytes that were read."""
    found: set[int | None] = set()
    for page, start, end in pieces(at, length):
        token = ""
        if value is None or end - start < PAGE:
            # Before a store to a part of a page: what the rest of it holds must not change.
            outcome = await access(page, None)
            if outcome.outcome != "ok":
                return _Left(outcome, page, start, end)
            token = outcome.values[0]
        if value is None:
            found |= read_bytes(token, start, end)
            continue
        outcome = await access(page, write_bytes(token, start, end, value))
        if outcome.outcome != "ok":
            return _Left(outcome, page, start, end)
    return found


# -- the host ------------------------------------------------------------------------------------


@op(a.HostRead)
async def host_read(rig: Rig, t: Task, step: Step, args: a.HostRead) -> Got:
    return await _host(rig, t, step, args, None)


@op(a.HostWrite)
async def host_write(rig: Rig, t: Task, step: Step, args: a.HostWrite) -> Got:
    return await _host(rig, t, step, args, args.value)


async def _host(rig: Rig, t: Task, step: Step, args: a.HostRead | a.HostWrite, value: int | None) -> Got:
    """Through a mapping of the file; a name that was never mapped is an ordinary buffer of the VMM."""
    row = rig.maps.get(args.map)
    if row is None and rig.process(step.actor) != VMM:
        raise Unsupported(f"actor {step.actor!r}: {args.map!r} is no shared mapping that it has")
    buffer = args.map if row is None else None

    async def access(page: int, token: str | None) -> Outcome:
        made: ops.Op = ops.HostRead(buffer=buffer)
        if token is not None:
            made = ops.HostWrite(value=text(token), buffer=buffer)
        return await rig.do(t, step.actor, made, page, page + 1, mapping=row)

    found = await _bytes(access, args.offset, args.len, value)
    if isinstance(found, _Left):
        return Got(found.outcome.outcome)
    return Got("value", found) if value is None else Got("ok")


def _mapped(rig: Rig, name: str, what: str) -> Map:
    if name not in rig.maps:
        raise Unsupported(f"{what} of ordinary memory")
    return rig.maps[name]


@op(a.Munmap)
async def munmap(rig: Rig, t: Task, step: Step, args: a.Munmap) -> Got:
    row = rig.maps.get(args.map)
    if row is not None:
        await rig.do(t, step.actor, ops.Munmap(map=row.id), mapping=row)
    return Got("ok")


@op(a.Madvise)
async def madvise(rig: Rig, t: Task, step: Step, args: a.Madvise) -> Got:
    row = _mapped(rig, args.map, "madvise")
    made: ops.Op = ops.Collapse(offset=args.offset, length=args.len)
    if args.advice != "COLLAPSE":
        made = ops.Madvise(advice=args.advice, offset=args.offset, length=args.len)
    return Got((await rig.do(t, step.actor, made, mapping=row)).outcome)


@op(a.Pin)
async def pin(rig: Rig, t: Task, step: Step, args: a.Pin) -> Got:
    return await _pages(rig, t, step, args, ops.Pin())


@op(a.Unpin)
async def unpin(rig: Rig, t: Task, step: Step, args: a.Unpin) -> Got:
    return await _pages(rig, t, step, args, ops.Unpin())


async def _pages(rig: Rig, t: Task, step: Step, args: a.Pin | a.Unpin, made: ops.Op) -> Got:
    """One page after another, until one fails."""
    row = _mapped(rig, args.map, "pins")
    for page, _, _ in pieces(args.offset, args.len):
        outcome = (await rig.do(t, step.actor, made, page, page + 1, mapping=row)).outcome
        if outcome != "ok":
            return Got(outcome)
    return Got("ok")


@op(a.Mbind)
async def mbind(rig: Rig, t: Task, step: Step, args: a.Mbind) -> Got:
    made = ops.Mbind(policy=args.policy, nodes=args.nodes, offset=args.offset, length=args.len)
    return Got((await rig.do(t, step.actor, made, mapping=_mapped(rig, args.map, "policy"))).outcome)


@op(a.GetMempolicy)
async def get_mempolicy(rig: Rig, t: Task, step: Step, args: a.GetMempolicy) -> Got:
    row, page = _mapped(rig, args.map, "policy"), args.offset // PAGE
    outcome = await rig.do(t, step.actor, ops.GetMempolicy(), page, page + 1, mapping=row)
    return Got("value" if outcome.outcome == "ok" else outcome.outcome, None, dict(outcome.facts))


@op(a.MovePagesQuery)
async def move_pages_query(rig: Rig, t: Task, step: Step, args: a.MovePagesQuery) -> Got:
    row = _mapped(rig, args.map, "placement")
    nodes: list[int] = []
    for page in (place // PAGE for place in args.offsets):
        nodes += (await rig.do(t, step.actor, ops.MovePages(), page, page + 1, mapping=row)).facts["nodes"]
    return Got("value", nodes, {"nodes": nodes})


# -- guests --------------------------------------------------------------------------------------


async def _guest(
    rig: Rig, t: Task, actor: str, kind: bool | None, gpa: int, length: int, value: int | None
) -> Got:
    async def access(page: int, token: str | None) -> Outcome:
        made: ops.Op = ops.Read(private=kind)
        if token is not None:
            made = ops.Write(value=text(token), private=kind)
        return await rig.do(t, actor, made, page, page + 1)

    found = await _bytes(access, gpa, length, value)
    if not isinstance(found, _Left):
        return Got("value", found) if value is None else Got("ok")
    at = max(gpa, found.page * PAGE)
    rig.pending[actor] = partial(_guest, rig, t, actor, kind, at, gpa + length - at, value)
    return _exit(found, value is not None)


def _exit(left: _Left, write: bool) -> Got:
    """How an access that did not complete came back to userspace."""
    facts = left.outcome.facts
    if facts["kind"] == "exit_memory_fault":
        more = {
            "errno": errno_name(facts["errno"]),
            "flags": ["PRIVATE"] if facts["private"] else [],
            "gpa": facts["gfn"] * PAGE,
            "size": PAGE,
        }
        return Got("exit_memory_fault", None, more)
    if facts["kind"] == "exit_mmio":
        address = left.page * PAGE + left.start
        return Got("exit_mmio", None, {"phys_addr": address, "len": left.end - left.start, "is_write": write})
    return Got(left.outcome.outcome)


@op(a.GuestRead)
async def guest_read(rig: Rig, t: Task, step: Step, args: a.GuestRead) -> Got:
    return await _guest(rig, t, step.actor, _KINDS[args.access], args.gpa, args.len, None)


@op(a.GuestWrite)
async def guest_write(rig: Rig, t: Task, step: Step, args: a.GuestWrite) -> Got:
    return await _guest(rig, t, step.actor, _KINDS[args.access], args.gpa, args.len, args.value)


@op(a.GuestReadLoop)
async def guest_read_loop(rig: Rig, t: Task, step: Step, args: a.GuestReadLoop) -> Got:
    return await _loop(rig, t, step, args, None)


@op(a.GuestWriteLoop)
async def guest_write_loop(rig: Rig, t: Task, step: Step, args: a.GuestWriteLoop) -> Got:
    return await _loop(rig, t, step, args, args.value)


async def _loop(
    rig: Rig, t: Task, step: Step, args: a.GuestReadLoop | a.GuestWriteLoop, value: int | None
) -> Got:
    """Until an access leaves the guest; a loop without a count that is never disturbed is cut off and says so."""
    rounds = 0
    while True:
        for _ in range(_UNDISTURBED):
            got = await _guest(rig, t, step.actor, _KINDS[args.access], args.gpa, args.len, value)
            rounds += 1
            if rounds == 1:
                rig.others.went_round(t)
            if got.result not in ("value", "ok") or rounds == args.count:
                return got
        if args.count is None and not await rig.others.progress(t):
            return Got("still reading" if value is None else "still writing")


@op(a.Resume)
async def resume(rig: Rig, t: Task, step: Step, args: a.Resume) -> Got:
    access = rig.pending.pop(step.actor, None)
    if access is None:
        raise Unsupported(f"{step.actor} left no access to complete")
    got = await access()
    # The access completes inside the guest: that it read something is all that userspace learns.
    return Got("ok", None, got.more) if got.result == "value" else got


@op(a.MapGpa)
async def map_gpa(rig: Rig, t: Task, step: Step, args: a.MapGpa) -> Got:
    """KVM_HC_MAP_GPA_RANGE: leaves to userspace as it is; converting is a step of its own."""
    return Got("exit_hypercall", None, {"gpa": args.gpa, "len": args.len, "to": args.to})


@op(a.PreFault)
async def pre_fault(rig: Rig, t: Task, step: Step, args: a.PreFault) -> Got:
    gpa, size = args.gpa, args.size
    rig.bounded(size if size % PAGE == 0 and not args.bad_argument_pointer else 0)
    while True:
        made = ops.Prefault(address=gpa, size=size, flags=args.flags, bad_pointer=args.bad_argument_pointer)
        outcome = await rig.do(t, step.actor, made)
        if not outcome.facts:
            return Got(outcome.outcome)
        shrank = outcome.facts["size"] < size
        gpa, size = outcome.facts["gpa"], outcome.facts["size"]
        again = step.expect.get("loop_until") == "done" and size
        if not again or outcome.outcome not in ("ok", "EINTR", "EAGAIN"):
            break
    more = {"remaining_size": size, "remaining_gpa": gpa, "shrank": shrank}
    return Got(outcome.outcome, None, more)
