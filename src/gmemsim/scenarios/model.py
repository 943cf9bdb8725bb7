"""The tables of a scenario file as structs. `docs/scenarios.md` explains every key."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .op_base import Count, Ident, Index
from .ops import AnyOp

#: What a parameter can be.
Scalar = int | str | bool


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the tables: unknown keys are errors."""


class Head(_Table, frozen=True, kw_only=True):
    """`[scenario]`: what it is and what it is for."""

    name: Ident
    summary: Annotated[str, Meta(min_length=1)]
    question: str = ""
    vm_types: list[str] = []


class VmTable(_Table, frozen=True, kw_only=True):
    """`[[vm]]`.

    Attributes:
        type: fixed VM type; default: the one the run is made for.
        on_memory_fault: what the VMM does about KVM_EXIT_MEMORY_FAULT.
        accept: how the guest makes private pages usable (SNP, TDX): `lazy`, before its first access to each;
            `tolerant`, and again whenever hardware says that a page was taken away; `on_exception`, whenever hardware
            says that it has to, and on SNP it clears the page then; `never`, by operations.
        launch_started: whether SNP_LAUNCH_START or KVM_TDX_INIT_VM was called.
        vcpus_initialized: TDX: whether KVM_TDX_INIT_VCPU was.
        choices: open points of the arch actor (`SnpChoices`, `TdxChoices`) that differ from the default.
    """

    id: Ident = "vm0"
    type: str | None = None
    on_memory_fault: Literal["convert", "reenter", "stop"] = "reenter"
    accept: Literal["lazy", "tolerant", "on_exception", "never"] = "lazy"
    launch_started: bool = True
    vcpus_initialized: bool = True
    choices: dict[str, bool | int | str | list[str]] = {}


class FileTable(_Table, frozen=True, kw_only=True):
    """`[[file]]`: a guest_memfd. Exactly one of `size` (bytes) and `pages`.

    Attributes:
        flags: MMAP, INIT_SHARED; `"auto"`: both for a VM type without private memory, else none.
        absent: not there at start; a `create` makes it.
    """

    id: Ident
    size: int | str | None = None
    pages: Count | None = None
    flags: list[str] | Literal["auto"] = "auto"
    vm: Ident | None = None
    absent: bool = False


class SlotTable(_Table, frozen=True, kw_only=True):
    """`[[slot]]`: guest frames [gfn, gfn + pages) on pages of a file from `start` on.

    Attributes:
        file: left out: an ordinary slot, backed by `buffer` only.
        userspace: what the slot's userspace address shows: `"gmem"`, a mapping of the same file; else the
            name of an ordinary buffer, where shared memory is (several slots may name one); `"none"`: nothing;
            `"auto"`: gmem if the file is made with MMAP, else a buffer of its own. No `[[map]]`.
        userspace_start: page of the buffer at which the slot begins.
        readonly, log_dirty: flags KVM_MEM_READONLY and KVM_MEM_LOG_DIRTY_PAGES; the call refuses either beside a
            file.
        absent: not there at start; a `bind` makes it.
    """

    id: Index = 0
    file: Ident | None = None
    vm: Ident | None = None
    gfn: Index = 0
    start: Index = 0
    pages: Count | None = None
    userspace: Ident = "auto"
    userspace_start: Index = 0
    readonly: bool = False
    log_dirty: bool = False
    absent: bool = False


class MapTable(_Table, frozen=True, kw_only=True):
    """`[[map]]`: a MAP_SHARED mapping of a file by a process.

    Attributes:
        each: name of a host task: every instance has a mapping of its own.
        absent: not there at start; an `mmap` makes it.
    """

    id: Ident
    file: Ident | None = None
    process: Ident = "vmm"
    each: Ident | None = None
    start: Index = 0
    pages: Count | None = None
    absent: bool = False


class SetupTable(_Table, frozen=True, kw_only=True):
    """`[setup]`: the state before the first task runs.

    Attributes:
        private: `"auto"`: guest_memfd memory without INIT_SHARED starts private if the VM type can.
        launch: operations before finalization.
        finalize: finalize VMs that need it.
        numa_nodes: nodes of the machine; all tasks run on node 0.
        ops: operations after it.
    """

    private: Literal["auto", "none"] = "auto"
    launch: list[AnyOp] = []
    finalize: bool = True
    numa_nodes: Annotated[int, Meta(ge=1, le=64)] = 1
    ops: list[AnyOp] = []


class TaskTable(_Table, frozen=True, kw_only=True):
    """`[[task]]`: one or more threads with the same operations.

    Attributes:
        name: of a host thread; instances are numbered if `instances` is given. vCPUs are `vcpu0`, `vcpu1`, …
        role: `vcpu` for a vCPU thread, `host` for any other.
        process: of a host thread: the VMM's, or one that a `fork` makes.
        instances: how many; 0 is allowed.
        repeat: rounds; with `until`, at most so many.
        until: go on until all tasks with `background = true` are done.
        start, gap: time before the first round, and between rounds.
    """

    name: Ident | None = None
    role: Literal["vcpu", "host"] = "host"
    vm: Ident | None = None
    process: Ident = "vmm"
    instances: Annotated[int, Meta(ge=0, le=4096)] | None = None
    repeat: Count | None = None
    until: Literal["background done"] | None = None
    background: bool = False
    start: int | str | None = None
    gap: int | str | None = None
    ops: Annotated[list[AnyOp], Meta(min_length=1)]


class ConditionTable(_Table, frozen=True, kw_only=True):
    """`[[condition]]`: a question about the outcomes, with the answer of each version (see `studies.litmus`).

    Of `test`, `exists` and `forall` a condition has one.

    Attributes:
        name: what is asked, in a few words.
        test: a condition on what is observed.
        exists, forall: the same, and what is said of every version: that some outcome meets it, or that all do.
        expect: for each version (and others that behave alike, in no particular order) whether it holds in every
            outcome, in some, or in none.
    """

    name: Annotated[str, Meta(min_length=1)]
    test: str = ""
    exists: str = ""
    forall: str = ""
    expect: dict[str, Literal["always", "sometimes", "never"]] = {}

    def __post_init__(self) -> None:
        given = [text for text in (self.test, self.exists, self.forall) if text]
        if len(given) != 1:
            raise ValueError("expected one of test, exists and forall")

    @property
    def text(self) -> str:
        """The condition itself."""
        return self.test or self.exists or self.forall


class Document(_Table, frozen=True, kw_only=True):
    """A whole scenario, parameters filled in."""

    scenario: Head
    parameters: dict[str, Scalar] = {}
    small: dict[str, Scalar] = {}
    vm: list[VmTable] = []
    file: list[FileTable] = []
    slot: list[SlotTable] = []
    map: list[MapTable] = []
    setup: SetupTable = SetupTable()
    task: list[TaskTable] = []
    faults: dict[str, Index] = {}
    condition: list[ConditionTable] = []
