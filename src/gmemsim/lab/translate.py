"""A scenario as a program of the runner, or the names of what no stock kernel can do of it.

The program is text, a line each; `runner/main.c` reads it. Everything is resolved here: ranges of each round, values as
words of memory, names as numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import attrs

from ..scenarios import ops
from ..scenarios.thread import filled, region_of
from ..scenarios.units import PAGE
from ..scenarios.workload import Actor
from .errors import LabError
from .refusals import FILE_FLAGS, LIMITS, VM_TYPES, owners, refusals
from .wire import OPCODES

if TYPE_CHECKING:
    from ..scenarios.steps import Step
    from ..scenarios.tables import File
    from ..scenarios.units import Duration
    from ..scenarios.workload import Workload

_POLICIES: Final = {"reenter": 0, "convert": 1, "stop": 2}
_SLOT_FLAGS: Final = {"LOG_DIRTY_PAGES": 1, "READONLY": 2, "GUEST_MEMFD": 4}

_WRITTEN_ROUNDS: Final = 64


@attrs.frozen(kw_only=True)
class Steering:
    """How rounds are run; nothing of it changes the kernel.

    Attributes:
        rounds: of the whole scenario, each in a VM of its own.
        seed: of the delays.
        spread_ns: the longest delay drawn between two operations of a task; 0: none.
        trace: record ftrace text of every round.
        each: a line for every round, not for every new outcome.
        stop_after: seconds after which no round begins; 0: no limit.
        still: seconds without a step that mean a hang.
        report_seconds: to wait for the kernel's report on tasks that cannot be killed (its hung-task detector).
        madvise: memory errors by MADV_HWPOISON on a mapping that is there, which faults the page in first; else by
            frame.
    """

    rounds: int = 100
    seed: int = 0
    spread_ns: int = 200_000
    trace: bool = False
    each: bool = False
    stop_after: int = 0
    still: int = 20
    report_seconds: int = 30
    madvise: bool = False

    def text(self) -> str:
        """What is steered, in words."""
        drawn = f"delays drawn up to {self.spread_ns / 1000:g} us" if self.spread_ns else "no delays"
        failure = "; memory errors by MADV_HWPOISON, which faults the page in first" if self.madvise else ""
        return f"one CPU a thread, {drawn}, seed {self.seed}{failure}"


@attrs.frozen
class Program:
    """A scenario for the runner.

    Attributes:
        lines: its text, without the head that names scenario and steering.
        values: word of memory -> content, as the model calls it.
        tasks, files: names in the order of results.
        rounds: of this one; 0: as the steering says.
    """

    name: str
    lines: tuple[str, ...]
    values: dict[int, str]
    tasks: tuple[str, ...]
    files: tuple[str, ...]
    rounds: int = 0

    def text(self, number: int, steering: Steering) -> str:
        """The text for the runner, as scenario `number` of a program."""
        s = steering
        head = (
            f"scenario {number} {self.rounds or s.rounds} {s.seed & 0xFFFFFFFF} {s.spread_ns} {int(s.trace)} "
            f"{int(s.each)} {s.stop_after} {s.still} {s.report_seconds}"
        )
        return "\n".join((head, *self.lines, "end", ""))


def translate(workload: Workload, vm_type: str, *, seed: int = 0, madvise: bool = False) -> Program:
    """The program of a scenario on a VM type.

    Args:
        seed: of chunks that are picked at random, as in the model.
        madvise: see `Steering`.

    Raises:
        LabError: a stock kernel cannot do it; all that it cannot do is named.
    """
    wrong = refusals(workload, vm_type)
    if wrong:
        raise LabError(f"{workload.head.name} cannot run on a stock kernel: {'; '.join(wrong)}")
    return _Translation(workload, vm_type, seed, madvise).program()


class _Translation:
    """One translation at work."""

    def __init__(self, workload: Workload, vm_type: str, seed: int, madvise: bool) -> None:
        self.workload = workload
        self.tables = workload.tables
        self.vm_type = vm_type
        self.seed = seed
        self.madvise = madvise
        self.words: dict[str, int] = {}
        self.vms = {name: number for number, name in enumerate(self.tables.vms)}
        self.files = {name: number for number, name in enumerate(self.tables.files)}
        self.slots = {name: number for number, name in enumerate(self.tables.slots)}
        self.tasks = {actor.name: number for number, actor in enumerate(workload.actors)}
        self.barriers = {name: number for number, name in enumerate(workload.barriers)}
        self.maps: dict[str, int] = {}
        self.buffers: dict[str, int] = {}

    def program(self) -> Program:
        lines = [*self._vms(), *self._files(), *self._slots(), *self._maps()]
        lines += [f"barrier {parties}" for parties in self.workload.barriers.values()]
        lines += self._setup()
        for actor in self.workload.actors:
            lines += self._task(actor)
        values = {word: content for content, word in self.words.items()}
        return Program(self.workload.head.name, tuple(lines), values, tuple(self.tasks), tuple(self.files))

    def _kind(self, vm: str) -> str:
        return self.tables.vms[vm].type or self.vm_type

    def _flags(self, file: File) -> frozenset[str]:
        """As `scenarios/world.py` has it."""
        if file.flags is not None:
            return file.flags
        return frozenset() if self._kind(file.vm) != "default" else frozenset(FILE_FLAGS)

    def _vms(self) -> list[str]:
        return [
            f"vm {VM_TYPES[self._kind(name)]} {self.workload.vcpus[name]} {_POLICIES[vm.on_memory_fault]}"
            for name, vm in self.tables.vms.items()
        ]

    def _files(self) -> list[str]:
        return [
            f"file {self.vms[file.vm]} {file.pages * PAGE} {sum(FILE_FLAGS[flag] for flag in self._flags(file))} "
            f"{int(file.absent)}"
            for file in self.tables.files.values()
        ]

    def _slots(self) -> list[str]:
        sizes: dict[str, int] = {}
        rows = []
        for slot in self.tables.slots.values():
            file = None if slot.file is None else self.tables.files[slot.file]
            shows = slot.userspace
            if shows == "auto":
                shows = "gmem" if file is not None and "MMAP" in self._flags(file) else f"slot{slot.id}.user"
            buffer = -1
            if shows != "gmem":
                buffer = self.buffers.setdefault(shows, len(self.buffers))
                sizes[shows] = max(sizes.get(shows, 0), slot.start + slot.pages)
            flags = sum(_SLOT_FLAGS[flag] for flag in slot.flags)
            number = -1 if file is None else self.files[file.id]
            rows.append(
                f"slot {slot.id} {self.vms[slot.vm]} {slot.gfn} {slot.pages} {number} {slot.start} {buffer} {flags} "
                f"{int(slot.absent)}"
            )
        if len(sizes) > LIMITS["buffer"]:
            raise LabError(f"{len(sizes)} buffers: the runner has room for {LIMITS['buffer']}")
        return [f"buffer {pages}" for pages in sizes.values()] + rows

    def _maps(self) -> list[str]:
        rows = []
        for mapping in self.tables.maps.values():
            for owner in owners(self.workload, mapping):
                self.maps[mapping.label(owner)] = len(self.maps)
                rows.append(
                    f"map {self.files[mapping.file]} {mapping.start} {mapping.pages} {int(mapping.absent)}"
                )
        return rows

    def _setup(self) -> list[str]:
        """Kinds of memory, then the setup's operations; an error of the first ends the run."""
        lines = ["setup 0"]
        for slot in self.tables.slots.values():
            private = self._kind(slot.vm) == "sw-protected" and slot.file is not None
            if self.workload.document.setup.private != "auto" or not private:
                continue
            if "INIT_SHARED" not in self._flags(self.tables.files[cast("str", slot.file)]):
                lines.append(
                    f"op {OPCODES['set_attributes']} {self.vms[slot.vm]} {slot.gfn * PAGE} {slot.pages * PAGE} 1 0 0"
                )
        actor = None
        for step in self.workload.setup:
            if isinstance(step.op, (ops.GuestAccess, ops.Prefault)) and self.vms[step.vm]:
                raise LabError("a setup operation of a guest other than the first: the runner has none")
            actor = actor or Actor.for_setup(step.vm, True)
            # The last number: whether it may fail.
            line = self._op(step, actor, 0)
            lines += [f"{text.rpartition(' ')[0]} {int(bool(step.expect))}" for text in line]
        return lines

    def _task(self, actor: Actor) -> list[str]:
        low, high = _range(actor.start)
        lines = [
            f"task {actor.name[:15]} {self.vms[actor.vm]} {actor.vcpu} {int(actor.until)} {int(actor.background)} "
            f"{low} {high}"
        ]
        rounds = _WRITTEN_ROUNDS if actor.repeat is None else actor.repeat
        gap = " ".join(map(str, _range(actor.gap)))
        for number in range(rounds):
            if number:
                lines.append(f"op {OPCODES['next_round']} {gap} 0 0 0 0")
            for step in actor.steps:
                lines += self._op(step, actor, number)
        return lines

    def _word(self, text: str, actor: Actor, number: int, lo: int, hi: int) -> tuple[int, int]:
        """The word for what is written to the first page, and how much more each further page gets."""
        contents = [filled(text, actor.name, number, page) for page in range(lo, hi)]
        if len(set(contents)) == 1:
            return self.words.setdefault(contents[0], len(self.words) + 1), 0
        # Every page its own, and all of them in a row.
        first = len(self.words) + 1
        for page, content in enumerate(contents):
            if self.words.setdefault(content, first + page) != first + page:
                # Written before: the same words again, if they are in a row.
                first = self.words[content] - page
        if any(self.words[content] != first + page for page, content in enumerate(contents)):
            raise LabError(f"{text!r}: its contents on pages {lo} to {hi} cannot be numbered in a row")
        return first, 1

    def _op(self, step: Step, actor: Actor, number: int) -> list[str]:
        op = step.op
        lo, hi = region_of(step, actor, number, self.seed)
        label = "" if step.map is None else step.map.label(actor.name)
        if isinstance(op, ops.MemoryFailure) and self.madvise:
            return self._madvise_failure(step, lo, hi)
        return [_line(op.name, *self._arguments(step, actor, number, lo, hi, label))]

    def _madvise_failure(self, step: Step, lo: int, hi: int) -> list[str]:
        """Page by page by a mapping that shows it."""
        assert step.file is not None
        lines = []
        for page in range(lo, hi):
            for mapping in self.tables.maps.values():
                shown = mapping.start <= page < mapping.start + mapping.pages
                if mapping.file == step.file.id and not mapping.absent and shown:
                    first = self.maps[mapping.label(owners(self.workload, mapping)[0])]
                    at = page - mapping.start
                    lines.append(_line("madvise_failure", first, at, at + 1))
                    break
            else:
                raise LabError(f"memory_failure by madvise: no [[map]] shows page {page} of {step.file.id}")
        return lines

    def _arguments(
        self, step: Step, actor: Actor, number: int, lo: int, hi: int, label: str
    ) -> tuple[int, ...]:
        op = step.op
        mapped = self.maps.get(label, 0)
        file = 0 if step.file is None else self.files[step.file.id]
        if isinstance(op, ops.GuestAccess):
            text = getattr(op, "write", None) if not isinstance(op, ops.Write) else op.value
            return (lo, hi, *((0, 0) if text is None else self._word(text, actor, number, lo, hi)))
        if isinstance(op, (ops.HostTouch, ops.HostRead, ops.HostWrite)):
            text = (
                op.write
                if isinstance(op, ops.HostTouch)
                else op.value
                if isinstance(op, ops.HostWrite)
                else None
            )
            if text is None:
                return mapped, lo, hi, 0, 0
            start = 0 if step.map is None else step.map.start
            return (mapped, lo, hi, *self._word(text, actor, number, start + lo, start + hi))
        if isinstance(op, ops.Prefault):
            raw = op.address is not None and op.size is not None
            return (op.address or 0, op.size or 0) if raw else (lo * PAGE, (hi - lo) * PAGE)
        if isinstance(op, ops.Mmap):
            return mapped, int(op.shared)
        if isinstance(op, ops.MapRange):
            return mapped, lo, hi
        if isinstance(op, ops.Create):
            return file, (step.file.pages * PAGE if step.file else 0) if op.size is None else op.size
        if isinstance(op, (ops.Allocate, ops.Punch)):
            raw = op.offset is not None and op.length is not None
            offset, length = (op.offset or 0, op.length or 0) if raw else (lo * PAGE, (hi - lo) * PAGE)
            return file, offset, length, int(op.keep_size)
        if isinstance(op, ops.FileWrite):
            return (file, lo, hi, *self._word(op.value, actor, number, lo, hi))
        if isinstance(op, ops.SetFileAttributes):
            return file, lo * PAGE, (hi - lo) * PAGE, int(op.private), op.flags, op.attempts
        if isinstance(op, ops.FileRange):
            return file, lo, hi
        if isinstance(op, ops.Ftruncate):
            return file, op.size
        if isinstance(op, (ops.Bind, ops.Unbind)):
            return (self.slots[op.slot],)
        if isinstance(op, (ops.SetAttributes, ops.Convert)):
            address, size = lo * PAGE, (hi - lo) * PAGE
            if isinstance(op, ops.SetAttributes) and op.address is not None and op.size is not None:
                address, size = op.address, op.size
            return self.vms[step.vm], address, size, int(op.private)
        if isinstance(op, ops.Sleep):
            return _range(step.time)
        if isinstance(op, ops.Signal):
            return (self.tasks.get(op.task, 0),)
        if isinstance(op, ops.Barrier):
            return (self.barriers[op.barrier],)
        return file or mapped, 0


def _line(name: str, *numbers: int) -> str:
    padded = (*numbers, 0, 0, 0, 0, 0, 0)[:6]
    return f"op {OPCODES[name]} {' '.join(map(str, padded))}"


def _range(time: Duration | None) -> tuple[int, int]:
    """Nanoseconds; -1: no pause."""
    return (-1, -1) if time is None else (time.low, time.high)
