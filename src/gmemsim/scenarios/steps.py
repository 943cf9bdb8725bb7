"""One operation of a task with everything it refers to looked up and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..nearest import hint
from ..patches.sources import of_package
from .errors import ScenarioError
from .ops import (
    Accept,
    Barrier,
    Bind,
    Close,
    Create,
    CreateAp,
    Exit,
    FileIoctl,
    FileRange,
    Ftruncate,
    GuestAccess,
    GuestRange,
    HostAccess,
    Hypercall,
    MapBytes,
    MapRange,
    Mmap,
    Munmap,
    PageRange,
    PageStateChange,
    Populate,
    Prefault,
    SetAttributes,
    Signal,
    SignalPending,
    Sleep,
    Stat,
    Touch,
    Unbind,
    Write,
)
from .results import OTHERS, OUTCOMES
from .tables import unknown
from .units import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .lines import Path
    from .ops import Op
    from .tables import File, Map, Slot, Tables
    from .units import Duration

#: A vCPU thread only.
_VCPU_OPS = (GuestAccess, Accept, CreateAp, Hypercall, PageStateChange, Prefault)
#: Not before the tasks run.
_TASK_OPS = (Barrier, Exit, Signal, SignalPending, Sleep)


@attrs.frozen
class Step:
    """An operation ready to run.

    Attributes:
        op: as decoded.
        ident: call id within the task.
        lo, hi: the pages it is about, in its own unit: guest frames, file indices, or pages of the mapping.
        slot, file, map: what it refers to.
        vm: id of the VM it is about.
        time: pace of accesses, or the time of a sleep.
        expect: outcomes that are right; empty: any.
    """

    op: Op
    ident: int
    lo: int
    hi: int
    slot: Slot | None
    file: File | None
    map: Map | None
    vm: str
    time: Duration | None
    expect: tuple[str, ...]


def resolve_ops(
    tables: Tables, path: Path, ops: Sequence[Op], vm: str | None, role: str | None
) -> tuple[Step, ...]:
    """The steps of a task or, with `role` None, of the setup.

    Raises:
        ScenarioError: with the operation to blame.
    """
    steps: list[Step] = []
    taken: dict[int, int] = {}
    for position, op in enumerate(ops):
        here = (*path, position)
        ident = op.id or position + 1
        if ident > 999:
            raise tables.source.error(here, "a task has at most 999 operations")
        if ident in taken:
            raise tables.source.error(
                (*here, "id"), f"id {ident} is that of operation {taken[ident]} already"
            )
        taken[ident] = position
        steps.append(_step(tables, here, op, ident, vm, role))
    return tuple(steps)


def time_of(tables: Tables, path: Path, value: int | str | None) -> Duration | None:
    """The duration at `path`, if there is one."""
    if value is None:
        return None
    try:
        return duration(value)
    except ValueError as error:
        raise tables.source.error(path, str(error)) from None


def _step(tables: Tables, path: Path, op: Op, ident: int, vm: str | None, role: str | None) -> Step:
    if role is None and isinstance(op, _TASK_OPS):
        raise tables.source.error((*path, "op"), f"{op.name} is for tasks, not for the setup")
    if role == "host" and isinstance(op, _VCPU_OPS):
        raise tables.source.error((*path, "op"), f'{op.name} needs role = "vcpu"')
    home = vm or next(iter(tables.vms))
    slot: Slot | None = None
    file: File | None = None
    mapped: Map | None = None
    lo = hi = 0
    if isinstance(op, GuestRange):
        slot, home = _slot(tables, path, op, home)
        if vm is not None and home != vm and isinstance(op, _VCPU_OPS):
            raise tables.source.error(
                (*path, "slot"), f"slot {op.slot} is in {home}, but this vCPU is of {vm}"
            )
        lo, hi = _guest_range(tables, path, op, slot)
        if isinstance(op, Write) or (isinstance(op, Touch) and op.write is not None):
            _no_readonly(tables, path, home, lo, hi)
    elif isinstance(op, FileRange):
        file = _file(tables, path, op.file)
        lo, hi = _file_range(tables, path, op, file)
    elif isinstance(op, HostAccess) and op.buffer is not None:
        if op.map is not None:
            raise tables.source.error((*path, "buffer"), "either a map or a buffer")
        if op.buffer in tables.maps:
            raise tables.source.error(
                (*path, "buffer"),
                f"{op.buffer!r} is a [[map]]; expected map = {op.buffer!r}, or a buffer by another name",
            )
        lo, hi = op.start, op.start + (op.count or 1)
    elif isinstance(op, MapRange):
        mapped = _map(tables, path, op.map)
        if not _raw(tables, path, op, "offset", "length"):
            lo, hi = _clip(tables, path, op, mapped.pages, f"map {mapped.id}")
    elif isinstance(op, (Mmap, Munmap)):
        mapped = _map(tables, path, op.map)
        if isinstance(op, Mmap):
            _both(tables, path, op.offset, op.length)
        lo, hi = 0, mapped.pages
    elif isinstance(op, (Create, Close, Ftruncate, FileIoctl, Stat)):
        file = _file(tables, path, op.file)
        home = file.vm
    elif isinstance(op, (Bind, Unbind)):
        slot = tables.slots.get(op.slot)
        if slot is None:
            raise unknown(tables, (*path, "slot"), "slot", op.slot, tables.slots)
        home = slot.vm
    if isinstance(op, PageRange) and op.pick not in ("random", "next"):
        raise tables.source.error((*path, "pick"), f'expected "random" or "next", got {op.pick!r}')
    key = "time" if isinstance(op, Sleep) else "pace"
    expect = _expected(tables, (*path, "expect"), op)
    time = time_of(tables, (*path, key), getattr(op, key, None))
    return Step(op, ident, lo, hi, slot, file, mapped, home, time, expect)


def _expected(tables: Tables, path: Path, op: Op) -> tuple[str, ...]:
    """The outcomes that are right. One that no operation has would never fit; those of a user's own are the user's."""
    if op.expect is None:
        return ()
    words = (op.expect,) if isinstance(op.expect, str) else tuple(op.expect)
    if not words:
        raise tables.source.error(path, "expected an outcome or some of them, got an empty list")
    for word in words if of_package(type(op).__module__) else ():
        if word not in OUTCOMES:
            known = f"expected ok, the name of an errno, {', '.join(OTHERS)}"
            raise tables.source.error(path, f"no outcome {word!r}; {hint(word, sorted(OUTCOMES), known)}")
    return words


def _no_readonly(tables: Tables, path: Path, vm: str, lo: int, hi: int) -> None:
    """A store to a read-only slot leaves to the VMM as MMIO; the model's tables have no read-only leaf."""
    for slot in tables.slots.values():
        readonly = slot.vm == vm and slot.file is None and "READONLY" in slot.flags
        if readonly and lo < slot.gfn + slot.pages and slot.gfn < hi:
            raise tables.source.error(
                (*path, "op"), f"a store to the read-only slot {slot.id}: not modelled, leave it out or read"
            )


def _slot(tables: Tables, path: Path, op: GuestRange, vm: str) -> tuple[Slot | None, str]:
    if op.slot is None:
        slot = tables.first_slot(vm)
        if slot is None and op.gfn is None:
            raise tables.source.error((*path, "op"), f"{op.name} needs a [[slot]] in {vm}, or gfn")
        return slot, vm
    slot = tables.slots.get(op.slot)
    if slot is None:
        raise unknown(tables, (*path, "slot"), "slot", op.slot, tables.slots)
    return slot, slot.vm


def _guest_range(tables: Tables, path: Path, op: GuestRange, slot: Slot | None) -> tuple[int, int]:
    _raw(tables, path, op, "address", "size")
    if isinstance(op, Populate):
        for position, page in enumerate(op.unmapped):
            if op.count is not None and page >= op.count:
                raise tables.source.error(
                    (*path, "unmapped", position), f"the source has only {op.count} pages"
                )
    if op.gfn is not None:
        if op.slot is not None or op.start:
            raise tables.source.error((*path, "gfn"), "gfn is absolute: leave out slot and start")
        return op.gfn, op.gfn + (op.count or 1)
    assert slot is not None
    lo, hi = _clip(tables, path, op, slot.pages, f"slot {slot.id}")
    return slot.gfn + lo, slot.gfn + hi


def _file_range(tables: Tables, path: Path, op: FileRange, file: File) -> tuple[int, int]:
    if _raw(tables, path, op, "offset", "length"):
        return 0, 0
    return _clip(tables, path, op, file.pages, f"file {file.id}")


def _raw(tables: Tables, path: Path, op: PageRange, first: str, second: str) -> bool:
    """Whether the operation gives raw bytes: both keys or none, and then no pages."""
    values = (getattr(op, first, None), getattr(op, second, None))
    if values == (None, None) or not isinstance(op, (FileRange, MapBytes, Populate, Prefault, SetAttributes)):
        return False
    _both(tables, path, *values, first, second)
    if op.start or op.count is not None or op.chunk is not None or op.slice:
        raise tables.source.error(
            (*path, first), f"{first} is in bytes: leave out start, count, chunk and slice"
        )
    return True


def _both(
    tables: Tables, path: Path, first: object, second: object, name: str = "offset", other: str = "length"
) -> None:
    if (first is None) != (second is None):
        raise tables.source.error(path, f"{name} and {other} go together")


def _clip(tables: Tables, path: Path, op: PageRange, pages: int, what: str) -> tuple[int, int]:
    if op.start >= pages:
        raise tables.source.error((*path, "start"), f"page {op.start} is outside {what}, which has {pages}")
    count = pages - op.start if op.count is None else op.count
    if op.start + count > pages:
        message = f"pages {op.start} to {op.start + count} are outside {what}, which has {pages}"
        raise tables.source.error((*path, "count"), message)
    if op.chunk is not None and op.chunk > count:
        raise tables.source.error((*path, "chunk"), f"a chunk of {op.chunk} pages does not fit into {count}")
    return op.start, op.start + count


def _file(tables: Tables, path: Path, name: str | None) -> File:
    if name is None:
        name = next(iter(tables.files), None)
        if name is None:
            raise ScenarioError(tables.source.name, 0, "", "there is no [[file]]")
    if name not in tables.files:
        raise unknown(tables, (*path, "file"), "file", name, tables.files)
    return tables.files[name]


def _map(tables: Tables, path: Path, name: str | None) -> Map:
    if name is None:
        name = next(iter(tables.maps), None)
        if name is None:
            raise tables.source.error((*path, "op"), "there is no [[map]] to use")
    if name not in tables.maps:
        raise unknown(tables, (*path, "map"), "map", name, tables.maps)
    return tables.maps[name]
