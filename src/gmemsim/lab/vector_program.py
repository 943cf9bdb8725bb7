"""Conformance vectors as programs of the runner: each as tasks of raw calls.

One task has the setup and all steps that come one after the other. Each branch of a `parallel` is a task that waits at
a barrier for its turn, and so is a forked process. Guest addresses from 4 GiB on are moved below, since the runner's
guest is in 32-bit mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from ..scenarios.conform import arguments as args
from ..scenarios.units import PAGE
from .refusals import FILE_FLAGS, LIMITS
from .translate import Program
from .wire import OPCODES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..scenarios.conform.vector import Step, Vector

_MODES: Final = {"KEEP_SIZE": 1, "PUNCH_HOLE": 2, "COLLAPSE_RANGE": 8, "ZERO_RANGE": 16, "INSERT_RANGE": 32}
_SLOT_FLAGS: Final = {"LOG_DIRTY_PAGES": 1, "READONLY": 2, "GUEST_MEMFD": 4}
_POLICIES: Final = {"DEFAULT": 0, "PREFERRED": 1, "BIND": 2, "INTERLEAVE": 3, "LOCAL": 4, "999": 999}
_ADVICE: Final = {"DONTNEED": 4, "HUGEPAGE": 14, "COLLAPSE": 25}
PRIVATE: Final = 8
_GIB: Final = 1 << 30
#: Around which vectors put what is to be at the top of a guest's memory.
_TOP: Final = 1 << 47
#: Room of the runner.
_FILES, _MAPS, _VCPUS = 128, 60, 16
#: Calls of a vector whose loops are written out.
_MOST_CALLS: Final = 5_000
#: Rounds of a vector with steps at the same time, whose order is another each time.
_ROUNDS: Final = 20
_KILL: Final = {"default": 0, "early": 1, "late": 2}
#: With which a signal can be made to arrive.
_SIGNALLED: Final = (args.Fallocate, args.PunchHole, args.PreFault, args.GuestRead, args.GuestWrite)


class CannotRun(Exception):
    """The runner has no way to do a step, or a stock kernel none to be what the vector starts from."""


def vector_program(vector: Vector) -> Program:
    """The program of a vector on a default VM.

    Raises:
        CannotRun: naming what is in the way.
    """
    made = Translation(vector)
    lines = [f"vm 0 {vector.setup.vcpus} 3", *made.tables(), "setup 0"]
    for task in made.tasks:
        lines += [f"task {task.name} 0 0 0 0 -1 -1", *task.lines]
    return Program(
        vector.id, tuple(lines), {}, tuple(task.name for task in made.tasks), ("",) * len(made.files),
        rounds=_ROUNDS if any(step.branches for step in vector.all_steps()) else 1,
    )  # fmt: skip


@attrs.define
class _Task:
    """A thread of the runner: its operations, and the vCPU whose calls it makes."""

    name: str
    number: int
    vcpu: int
    lines: list[str] = attrs.field(factory=list)


@attrs.frozen
class Taken:
    """A step, and where its results are: calls of a task from the first on."""

    step: Step
    task: int
    first: int
    count: int


class Translation:
    """Setup and steps as raw calls."""

    def __init__(self, vector: Vector) -> None:
        # With several, the first call of one says which: a task keeps it from one round to the next.
        self.vcpu = 0 if vector.setup.vcpus < 2 else -1
        self.tasks = [_Task("vector", 0, self.vcpu)]
        self.now = self.tasks[0]
        self.taken: list[Taken] = []
        self.barriers: list[int] = []
        self.child: _Task | None = None
        self.turn = 0
        self.armed: set[str] = set()
        self.files: dict[str, int] = {}
        self.maps: dict[str, int] = {}
        self.map_offsets: dict[str, int] = {}
        self.count = 0
        setup = vector.setup
        if why := vector.unsupported():
            raise CannotRun(why)
        if setup.vcpus > _VCPUS or len(setup.vms) > 1 or setup.foreign_files:
            raise CannotRun("VMs or files that the runner does not make")
        if setup.numa_nodes > 2:
            raise CannotRun("more than two NUMA nodes")
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
        self.before = len(self.now.lines)
        for step in vector.steps:
            self._step(step)

    def tables(self) -> list[str]:
        """Room for the files and mappings that come to be."""
        return [
            *["file 0 0 0 1"] * len(self.files),
            *["map 0 0 0 1"] * len(self.maps),
            *(f"barrier {parties}" for parties in self.barriers),
        ]

    def _task(self, name: str) -> _Task:
        if len(self.tasks) == LIMITS["task"]:
            raise CannotRun(f"more than {LIMITS['task']} branches")
        self.tasks.append(_Task(name, len(self.tasks), self.vcpu))
        return self.tasks[-1]

    def _barrier(self, parties: int) -> int:
        if len(self.barriers) == LIMITS["barrier"]:
            raise CannotRun(f"more than {LIMITS['barrier']} steps with branches")
        self.barriers.append(parties)
        return len(self.barriers) - 1

    def _line(self, name: str, *numbers: int) -> None:
        padded = (*numbers, 0, 0, 0, 0, 0, 0)[:6]
        self.now.lines.append(f"op {OPCODES[name]} {' '.join(map(str, padded))}")
        self.count += 1
        if self.count > _MOST_CALLS:
            raise CannotRun(f"more than {_MOST_CALLS} calls")

    def _new(self, table: dict[str, int], name: str, room: int) -> int:
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
        for flag in flags:
            if flag not in FILE_FLAGS:
                raise CannotRun(f"flag {flag}: no stock kernel has it")
        bits = raw or sum(FILE_FLAGS[flag] for flag in flags)
        self._line("raw_create", self._new(self.files, name, _FILES), size, bits)

    def _bind(
        self, slot: int, gpa: int, size: int, file: str | None, offset: int, flags: tuple[str, ...], how: int
    ) -> None:
        number = -1 if file is None else self._of(self.files, file)
        self._line("raw_bind", slot, moved(gpa), size, number, offset, _bits(flags, _SLOT_FLAGS) | how << 32)

    def _mmap(self, name: str, file: str, offset: int, length: int, share: str) -> None:
        number = self._of(self.files, file)
        self.map_offsets[name] = offset
        self._line(
            "raw_mmap", self._new(self.maps, name, _MAPS), number, offset, length, int(share == "shared")
        )

    def _step(self, step: Step) -> None:
        if step.op == "loop" and isinstance(step.args, args.Loop):
            for _ in range(step.args.count):
                for inner in step.branches[0]:
                    self._step(inner)
            return
        if step.op == "parallel":
            self._parallel(step)
            return
        does: Callable[[Any], None] | None = getattr(self, f"_do_{step.op}", None)
        if does is None or step.args is None:
            raise CannotRun(f"{step.op}: the runner does not do it")
        if step.actor == "child" or step.op == "fork":
            self._by_child(step, does)
        elif step.actor == "host" or step.actor.startswith("vcpu"):
            self._by_thread(step, does)
        else:
            raise CannotRun(f"actor {step.actor}")

    def _by_thread(self, step: Step, does: Callable[[Any], None]) -> None:
        vcpu = int(step.actor.removeprefix("vcpu")) if step.actor != "host" else self.now.vcpu
        if vcpu != self.now.vcpu:
            self._line("raw_vcpu", vcpu)
            self.now.vcpu = vcpu
        if step.actor in self.armed and not isinstance(step.args, _SIGNALLED):
            raise CannotRun(f"{step.op}: the runner sends no signal with it")
        if isinstance(step.args, args.SignalPending):
            self.armed.add(step.actor)
        else:
            self.armed.discard(step.actor)
        first = len(self.now.lines)
        self.step = step
        does(step.args)
        self.taken.append(Taken(step, self.now.number, first, len(self.now.lines) - first))

    def _parallel(self, step: Step) -> None:
        """Every branch is a task; all meet at a barrier before and after."""
        begun = self.now
        meet = self._barrier(len(step.branches) + 1)
        self._line("barrier", meet)
        for number, branch in enumerate(step.branches):
            self.now = self._task(f"{step.path}.{number}")
            self._line("barrier", meet)
            for inner in branch:
                self._step(inner)
            self._line("barrier", meet)
        self.now = begun
        self._line("barrier", meet)

    def _by_child(self, step: Step, does: Callable[[Any], None]) -> None:
        """The task of the child process has a turn, and the first waits for it."""
        if self.now is not self.tasks[0]:
            raise CannotRun("a child process in a branch")
        if self.child is None:
            self.turn = self._barrier(2)
            self.child = self._task("child")
        for task in (self.child, self.tasks[0]):
            self.now = task
            self._line("barrier", self.turn)
            if task is self.child:
                self._by_thread(attrs.evolve(step, actor="host"), does)
            self._line("barrier", self.turn)

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

    def _transfer(self, a: args.Read | args.Write | args.Pread | args.Pwrite) -> None:
        self._line(f"raw_{self.step.op}", self._of(self.files, a.gmem), a.offset, a.len)

    _do_read = _do_write = _do_pread = _do_pwrite = _transfer

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
        self._line("raw_bind1", slot, moved(a.gpa), a.size, 0, 0, _bits(a.flags, _SLOT_FLAGS) | how << 32)

    def _do_unbind(self, a: args.Unbind) -> None:
        self._line("raw_bind", a.slot, 0, 0, -1, 0, 0)

    def _do_set_attributes(self, a: args.SetAttributes) -> None:
        bits = sum(PRIVATE if name == "PRIVATE" else 1 << int(name[3:]) for name in a.attributes)
        self._line("raw_attributes", moved(a.gpa), a.len, bits, a.flags)

    def _do_convert(self, a: args.Convert) -> None:
        self._line(
            "raw_convert", self._of(self.files, a.gmem), a.offset, a.len, PRIVATE * (a.to == "private")
        )

    def _do_pre_fault(self, a: args.PreFault) -> None:
        until_done = self.step.expect.get("loop_until") == "done"
        self._line(
            "raw_prefault", moved(a.gpa), a.size, a.flags, int(until_done), int(a.bad_argument_pointer)
        )

    def _do_mbind(self, a: args.Mbind) -> None:
        nodes = sum(1 << node for node in a.nodes)
        self._line("raw_mbind", self._of(self.maps, a.map), a.offset, a.len, _POLICIES[a.policy], nodes)

    def _do_get_mempolicy(self, a: args.GetMempolicy) -> None:
        self._line("raw_mempolicy", self._of(self.maps, a.map), a.offset)

    def _do_guest_read(self, a: args.GuestRead) -> None:
        self._line("raw_guest_load", moved(a.gpa), a.len)

    def _do_guest_write(self, a: args.GuestWrite) -> None:
        self._line("raw_guest_store", moved(a.gpa), a.len, a.value)

    def _do_check_cap(self, a: args.CheckCap) -> None:
        if a.cap != "GUEST_MEMFD_FLAGS":
            raise CannotRun(f"check_cap {a.cap}")
        self._line("raw_flags")

    def _do_resume(self, _a: args.Resume) -> None:
        self._line("raw_resume")

    def _do_signal_pending(self, _a: args.SignalPending) -> None:
        self._line("signal_pending")

    def _do_fork(self, _a: args.Fork) -> None:
        self._line("raw_fork")

    def _do_exit(self, _a: args.Exit) -> None:
        self._line("raw_exit")

    def _do_error_inject(self, a: args.ErrorInject) -> None:
        if a.method == "fd_ioctl_rfc":
            raise CannotRun("error_inject: no stock kernel has the ioctl")
        mapped, page = 0, 0
        if a.method == "madvise":
            mapped = self._of(self.maps, a.map)
            page = (a.offset - self.map_offsets[str(a.map)]) // PAGE
        file = self._of(self.files, a.gmem)
        how = int(a.method == "madvise")
        self._line("raw_inject", file, a.offset // PAGE, mapped, _KILL[a.kill_policy], how, page)

    def _do_unpoison(self, _a: args.Unpoison) -> None:
        self._line("raw_unpoison")

    def _do_move_pages_query(self, a: args.MovePagesQuery) -> None:
        for place in a.offsets:
            self._line("raw_node", self._of(self.maps, a.map), place)


def _how(address: int | str) -> int:
    """Where a slot's own memory is: nowhere, in a buffer, or at a number that is none."""
    if isinstance(address, str):
        return 1
    return 0 if not address else 3 | (address & 0xFFFF) << 8


def _bits(names: tuple[str, ...], known: dict[str, int]) -> int:
    return sum(known[name] if name in known else 1 << int(name.removeprefix("bit")) for name in names)


def moved(address: int) -> int:
    """A guest address where the runner's guest can have it: below 4 GiB."""
    if abs(address - _TOP) < _GIB:
        return address - _TOP + 3 * _GIB
    return address - 3 * _GIB if 4 * _GIB <= address < 5 * _GIB else address


def moved_back(address: int) -> int:
    """The address of a vector's that was moved."""
    if 2 * _GIB <= address < 4 * _GIB:
        return address + _TOP - 3 * _GIB
    return address + 3 * _GIB if _GIB <= address < 2 * _GIB else address


def policy_name(number: int) -> str:
    """A NUMA policy as vectors call it."""
    return next((name for name, known in _POLICIES.items() if known == number), str(number))
