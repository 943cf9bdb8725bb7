"""Conformance vectors on a kernel: each as one task of raw calls, and every step held against what is expected.

Guest addresses from 4 GiB on are moved below, since the runner's guest is in 32-bit mode.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from ..scenarios.conform import arguments as args
from ..scenarios.conform.results import Got, Mismatch, check
from .refusals import FILE_FLAGS
from .translate import Program
from .wire import OPCODES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..scenarios.conform.vector import Step, Vector
    from .runs import Runs
    from .wire import Result

__all__ = ["CannotRun", "Judged", "judge", "vector_program"]

_MODES: Final = {"KEEP_SIZE": 1, "PUNCH_HOLE": 2, "COLLAPSE_RANGE": 8, "ZERO_RANGE": 16, "INSERT_RANGE": 32}
_SLOT_FLAGS: Final = {"LOG_DIRTY_PAGES": 1, "READONLY": 2, "GUEST_MEMFD": 4}
_POLICIES: Final = {"DEFAULT": 0, "PREFERRED": 1, "BIND": 2, "INTERLEAVE": 3, "LOCAL": 4, "999": 999}
_ADVICE: Final = {"DONTNEED": 4, "HUGEPAGE": 14, "COLLAPSE": 25}
_PRIVATE: Final = 8
_GIB: Final = 1 << 30
#: Around which vectors put what is to be at the top of a guest's memory.
_TOP: Final = 1 << 47
#: Room of the runner.
_FILES, _MAPS, _VCPUS = 128, 60, 16


class CannotRun(Exception):
    """The runner has no way to do a step, or a stock kernel none to be what the vector starts from."""


@attrs.frozen
class Judged:
    """A vector on a kernel; `text` says why it could not be run, or which step came to what."""

    id: str
    result: Literal["passed", "failed", "not run"]
    steps: int = 0
    text: str = ""


def vector_program(vector: Vector) -> Program:
    """The program of a vector on a default VM.

    Raises:
        CannotRun: naming what is in the way.
    """
    made = _Translation(vector)
    lines = (
        f"vm 0 {vector.setup.vcpus} 3",
        *made.tables(),
        "setup 0",
        "task vector 0 0 0 0 -1 -1",
        *made.lines,
    )
    return Program(vector.id, lines, {}, ("vector",), ("",) * len(made.files))


class _Translation:
    """Setup and steps as raw calls of one task."""

    def __init__(self, vector: Vector) -> None:
        self.lines: list[str] = []
        self.files: dict[str, int] = {}
        self.maps: dict[str, int] = {}
        self.count = 0
        setup = vector.setup
        if why := vector.unsupported():
            raise CannotRun(why)
        if setup.vcpus > _VCPUS or len(setup.vms) > 1 or setup.foreign_files:
            raise CannotRun("VMs or files that the runner does not make")
        if setup.numa_nodes > 1:
            raise CannotRun("needs two NUMA nodes")
        if setup.initial_state == "private" or setup.variant:
            raise CannotRun("starts from memory that only other VM types have")
        for file in setup.gmems:
            if file.huge_page_size:
                raise CannotRun("no stock kernel has huge folios in guest_memfd")
            self._create(file.id, file.size, file.flags, 0)
        for slot in setup.slots:
            how = {"none": 0, "gmem": 2}.get(slot.userspace, 1)
            self._bind(slot.slot, slot.gpa, slot.size, slot.gmem, slot.gmem_offset, slot.flags, how)
        for mapping in setup.maps:
            self._mmap(mapping.id, mapping.gmem, mapping.offset, mapping.len, mapping.share)
        #: Calls of the setup.
        self.before = len(self.lines)
        for step in vector.steps:
            self._step(step)

    def tables(self) -> list[str]:
        """Room for the files and mappings that come to be."""
        return ["file 0 0 0 1"] * len(self.files) + ["map 0 0 0 1"] * len(self.maps)

    def _line(self, name: str, *numbers: int) -> None:
        padded = (*numbers, 0, 0, 0, 0, 0, 0)[:6]
        self.lines.append(f"op {OPCODES[name]} {' '.join(map(str, padded))}")

    def _new(self, table: dict[str, int], name: str, room: int) -> int:
        self.count += 1
        number = len(table)
        if number >= room:
            raise CannotRun("more files or mappings than the runner has room for")
        # A name that comes again is another thing from then on.
        if name in table:
            table[f"{name} before {self.count}"] = table.pop(name)
        table[name] = number
        return number

    def _of(self, table: dict[str, int], name: str | int | None) -> int:
        if not isinstance(name, str) or name not in table:
            raise CannotRun(f"file or mapping {name!r}, which the runner has not")
        return table[name]

    def _create(self, name: str, size: int, flags: tuple[str, ...], raw: int) -> None:
        bits = raw or sum(FILE_FLAGS[flag] for flag in flags)
        self._line("raw_create", self._new(self.files, name, _FILES), size, bits)

    def _bind(
        self, slot: int, gpa: int, size: int, file: str | None, offset: int, flags: tuple[str, ...], how: int
    ) -> None:
        number = -1 if file is None else self._of(self.files, file)
        self._line("raw_bind", slot, _moved(gpa), size, number, offset, _bits(flags, _SLOT_FLAGS) | how << 32)

    def _mmap(self, name: str, file: str, offset: int, length: int, share: str) -> None:
        number = self._of(self.files, file)
        self._line(
            "raw_mmap", self._new(self.maps, name, _MAPS), number, offset, length, int(share == "shared")
        )

    def _step(self, step: Step) -> None:
        does: Callable[[Any], None] | None = getattr(self, f"_do_{step.op}", None)
        if does is None or step.args is None:
            raise CannotRun(f"{step.op}: the runner does not do it")
        if step.actor != "host" and not step.actor.startswith("vcpu"):
            raise CannotRun(f"actor {step.actor}")
        if step.actor.startswith("vcpu") and step.actor != "vcpu0":
            raise CannotRun("a vCPU other than the first")
        does(step.args)

    def _do_create(self, a: args.Create) -> None:
        self._create(a.made, a.size, a.flags, a.raw_flags)

    def _do_close(self, a: args.Close) -> None:
        self._line("close", self._of(self.files, a.gmem))

    def _do_stat(self, a: args.Stat) -> None:
        self._line("raw_stat", self._of(self.files, a.gmem))

    def _do_fallocate(self, a: args.Fallocate) -> None:
        self._line("raw_fallocate", self._of(self.files, a.gmem), _bits(a.mode, _MODES), a.offset, a.len)

    def _do_punch_hole(self, a: args.PunchHole) -> None:
        self._line("raw_fallocate", self._of(self.files, a.gmem), 3, a.offset, a.len)

    def _do_ftruncate(self, a: args.Ftruncate) -> None:
        self._line("ftruncate", self._of(self.files, a.gmem), a.size)

    def _do_ioctl(self, a: args.Ioctl) -> None:
        if a.number != "unknown":
            raise CannotRun(f"ioctl {a.number}")
        self._line("file_ioctl", self._of(self.files, a.gmem))

    def _do_read(self, a: args.Read | args.Write) -> None:
        self._line("raw_read", self._of(self.files, a.gmem), a.offset, a.len)

    def _do_write(self, a: args.Write) -> None:
        self._line("raw_write", self._of(self.files, a.gmem), a.offset, a.len)

    def _do_pread(self, a: args.Pread) -> None:
        self._line("raw_pread", self._of(self.files, a.gmem), a.offset, a.len)

    def _do_pwrite(self, a: args.Pwrite) -> None:
        self._line("raw_pwrite", self._of(self.files, a.gmem), a.offset, a.len)

    def _do_mmap(self, a: args.Mmap) -> None:
        self._mmap(a.made, a.gmem, a.offset, a.len, a.share)

    def _do_munmap(self, a: args.Munmap) -> None:
        self._line("raw_munmap", self._of(self.maps, a.map))

    def _do_madvise(self, a: args.Madvise) -> None:
        if a.advice not in _ADVICE:
            raise CannotRun(f"madvise {a.advice}")
        self._line("raw_madvise", self._of(self.maps, a.map), a.offset, a.len, _ADVICE[a.advice])

    def _do_host_read(self, a: args.HostRead) -> None:
        self._line("raw_load", self._of(self.maps, a.map), a.offset, a.len)

    def _do_host_write(self, a: args.HostWrite) -> None:
        self._line("raw_store", self._of(self.maps, a.map), a.offset, a.len, a.value)

    def _do_bind(self, a: args.Bind) -> None:
        if isinstance(a.slot, str) or isinstance(a.gmem, int):
            raise CannotRun("a slot or descriptor that the runner does not know")
        self._bind(a.slot, a.gpa, a.size, a.gmem, a.gmem_offset, a.flags, _how(a.userspace_addr))

    def _do_bind_v1(self, a: args.BindV1) -> None:
        how = _how(a.userspace_addr)
        slot = -1 if isinstance(a.slot, str) else a.slot
        self._line("raw_bind1", slot, _moved(a.gpa), a.size, 0, 0, _bits(a.flags, _SLOT_FLAGS) | how << 32)

    def _do_unbind(self, a: args.Unbind) -> None:
        self._line("raw_bind", a.slot, 0, 0, -1, 0, 0)

    def _do_set_attributes(self, a: args.SetAttributes) -> None:
        bits = sum(_PRIVATE if name == "PRIVATE" else 1 << int(name[3:]) for name in a.attributes)
        self._line("raw_attributes", _moved(a.gpa), a.len, bits, a.flags)

    def _do_convert(self, a: args.Convert) -> None:
        self._line(
            "raw_convert", self._of(self.files, a.gmem), a.offset, a.len, _PRIVATE * (a.to == "private")
        )

    def _do_pre_fault(self, a: args.PreFault) -> None:
        self._line("raw_prefault", _moved(a.gpa), a.size, a.flags, 0, int(a.bad_argument_pointer))

    def _do_mbind(self, a: args.Mbind) -> None:
        nodes = sum(1 << node for node in a.nodes)
        self._line("raw_mbind", self._of(self.maps, a.map), a.offset, a.len, _POLICIES[a.policy], nodes)

    def _do_get_mempolicy(self, a: args.GetMempolicy) -> None:
        self._line("raw_mempolicy", self._of(self.maps, a.map), a.offset)

    def _do_guest_read(self, a: args.GuestRead) -> None:
        self._line("raw_guest_load", _moved(a.gpa), a.len)

    def _do_guest_write(self, a: args.GuestWrite) -> None:
        self._line("raw_guest_store", _moved(a.gpa), a.len, a.value)

    def _do_check_cap(self, a: args.CheckCap) -> None:
        if a.cap != "GUEST_MEMFD_FLAGS":
            raise CannotRun(f"check_cap {a.cap}")
        self._line("raw_flags")


def _how(address: int | str) -> int:
    """Where a slot's own memory is: nowhere, in a buffer, or at a number that is none."""
    if isinstance(address, str):
        return 1
    return 0 if not address else 3 | (address & 0xFFFF) << 8


def _bits(names: tuple[str, ...], known: dict[str, int]) -> int:
    return sum(known[name] if name in known else 1 << int(name.removeprefix("bit")) for name in names)


def _moved(address: int) -> int:
    """A guest address where the runner's guest can have it: below 4 GiB."""
    if abs(address - _TOP) < _GIB:
        return address - _TOP + 3 * _GIB
    return address - 3 * _GIB if 4 * _GIB <= address < 5 * _GIB else address


def _back(address: int) -> int:
    if 2 * _GIB <= address < 4 * _GIB:
        return address + _TOP - 3 * _GIB
    return address + 3 * _GIB if _GIB <= address < 2 * _GIB else address


@attrs.define
class _Noted:
    """What a vector notes for later steps."""

    noted: dict[str, Any] = attrs.field(factory=dict)


def judge(vector: Vector, run: Runs) -> Judged:
    """Hold what came of a vector's program against its expectations."""
    if not run.results:
        return Judged(vector.id, "not run", text=run.refused or run.died or "it did not come to its end")
    (result, *_) = run.results
    before = len(_Translation(vector).lines) - len(vector.steps)
    calls = result.tasks[0]
    if any(call.outcome != "ok" for call in calls[:before]):
        bad = next(call for call in calls[:before] if call.outcome != "ok")
        return Judged(vector.id, "not run", text=f"setup: {bad.op} gives {bad.outcome}")
    noted: Any = _Noted()
    for number, (step, call) in enumerate(zip(vector.steps, calls[before:], strict=False)):
        try:
            check(noted, step.path, step.expect, _got(step, call.outcome, _numbers(result, before + number)))
        except Mismatch as error:
            return Judged(vector.id, "failed", number, str(error))
    if len(calls) < before + len(vector.steps):
        return Judged(vector.id, "failed", len(calls) - before, "the task ended early")
    return Judged(vector.id, "passed", len(vector.steps))


def _numbers(result: Result, call: int) -> list[int]:
    return [int(value) for value in result.tasks[0][call].values]


def _got(step: Step, outcome: str, numbers: list[int]) -> Got:
    """What a step came to, as the model's runner says it."""
    op = step.op
    if outcome == "exit_memory_fault":
        flags, gpa, size, code = numbers[:4]
        more = {
            "flags": ["PRIVATE"] if flags & _PRIVATE else [],
            "gpa": _back(gpa),
            "size": size,
            "errno": errno.errorcode.get(code, str(code)),
        }
        return Got(outcome, more=more)
    if op == "pre_fault" and numbers:
        return Got(outcome, more={"remaining_size": numbers[0], "remaining_gpa": _back(numbers[1])})
    if outcome != "ok":
        return Got(outcome)
    if op == "stat":
        return Got("value", more=dict(zip(("st_size", "st_blksize", "ino"), numbers, strict=True)))
    if op in ("host_read", "guest_read"):
        return Got("value", {None if numbers[-1] < 0 else numbers[-1]})
    if op == "get_mempolicy":
        name = next((name for name, number in _POLICIES.items() if number == numbers[0]), str(numbers[0]))
        return Got("value", more={"policy": name, "nodes": [n for n in range(64) if numbers[1] >> n & 1]})
    if op == "check_cap":
        return Got("value", sorted(name for name, bit in FILE_FLAGS.items() if numbers[0] & bit))
    return Got(outcome)
