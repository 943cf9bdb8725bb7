"""A scenario with its parameters filled in: who does what, with every reference looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from .op_base import PageRange
from .ops import Accept, Barrier, CreateAp, Exit, GuestAccess, Prefault, Signal
from .steps import resolve_ops, time_of
from .tables import VMM, Tables, resolve_tables, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .lines import Path
    from .model import Document, Head, Scalar, TaskTable
    from .ops import Op
    from .source import Source
    from .steps import Step
    from .units import Duration

#: Fault points of the model; those of a patch file have a dot in their name.
FAULT_POINTS: Final = (
    "alloc_attributes", "alloc_binding", "alloc_folio", "alloc_inode", "alloc_memslot",
    "alloc_memslot_metadata", "direct_map_split", "fd", "gup_cold",
    "gup_short", "huge_insert", "huge_merge", "huge_stash", "huge_vmemmap",
    "mmu_topup", "need_resched", "need_resched_idle", "pkvm_memcache", "psp_launch_finish", "psp_launch_update",
    "psp_page_reclaim", "rmp_lookup", "signal", "tdx_demote_interrupted",
    "tdx_page_remove", "tdx_pamt_cache", "tdx_wbinvd",
)  # fmt: skip


#: Threads of all tables together.
MOST_TASKS: Final = 4096

#: Tasks that are not the workload's: the setup, the watchdog of timed runs, the SNP security processor.
RESERVED: Final = ("setup", "watchdog", "psp")


@attrs.frozen
class Actor:
    """One thread.

    Attributes:
        name: of its task in the log.
        vcpu: number of its vCPU, or -1.
        instance, of: its number among the instances of its table.
        repeat: rounds, or None for no limit.
        until: whether it goes on until the background tasks are done.
        background: whether others wait for it so.
        barriers: that it takes part in.
        table: name of its table, without a number.
        process: that it is a thread of.
    """

    name: str
    vm: str
    vcpu: int
    instance: int
    of: int
    repeat: int | None
    until: bool
    background: bool
    start: Duration | None
    gap: Duration | None
    steps: tuple[Step, ...]
    barriers: tuple[str, ...]
    table: str
    process: str = VMM

    @classmethod
    def for_setup(cls, vm: str, has_vcpu: bool) -> Actor:
        """The one that runs setup operations, on the first vCPU if there is one."""
        vcpu = 0 if has_vcpu else -1
        return cls("setup", vm, vcpu, 0, 1, 1, False, False, None, None, (), (), "setup")


@attrs.frozen
class Workload:
    """What `build` needs. Immutable, so that many runs share it.

    Attributes:
        parameters: the values it was made with.
        vcpus: number of vCPUs by VM.
        launch, setup: operations before and after finalization.
        barriers: by name, how many tasks meet there.
        faults: how often each fault point may fire.
    """

    document: Document
    tables: Tables
    parameters: dict[str, Scalar]
    actors: tuple[Actor, ...]
    vcpus: dict[str, int]
    launch: tuple[Step, ...]
    setup: tuple[Step, ...]
    barriers: dict[str, int]
    faults: dict[str, int]

    @property
    def head(self) -> Head:
        return self.document.scenario


def make_workload(source: Source, document: Document, parameters: dict[str, Scalar]) -> Workload:
    """Check everything and look everything up.

    Raises:
        ScenarioError: with file, line and field.
    """
    tables = resolve_tables(source, document)
    vcpus = dict.fromkeys(tables.vms, 0)
    actors: list[Actor] = []
    names: dict[str, int] = {}
    for position, task in enumerate(document.task):
        for actor in _actors(tables, ("task", position), task, vcpus):
            if actor.name in names:
                raise source.error(("task", position, "name"), f"a task is called {actor.name} already")
            names[actor.name] = position
            actors.append(actor)
        if len(actors) > MOST_TASKS:
            message = f"expected at most {MOST_TASKS:,} threads in all"
            raise source.error(("task", position, "instances"), message)
    if not document.task:
        raise source.error((), "there is no [[task]]")
    _check_processes(source, actors)
    if not any(task.background for task in document.task):
        for position, task in enumerate(document.task):
            if task.until is not None:
                raise source.error(("task", position, "until"), "no task has background = true")
    for position, task in enumerate(document.task):
        for number, op in enumerate(task.ops):
            # The table counts, not its instances: with 0 vCPUs there is nobody to signal: no error.
            if isinstance(op, Signal) and op.task not in names and not _named(document, op.task):
                raise unknown(tables, ("task", position, "ops", number, "task"), "task", op.task, names)
    for position, mapping in enumerate(document.map):
        if mapping.each is not None and mapping.each not in {task.name for task in document.task}:
            named = [task.name for task in document.task if task.name]
            raise unknown(tables, ("map", position, "each"), "host task", mapping.each, named)
    barriers: dict[str, int] = {}
    for actor in actors:
        for name in actor.barriers:
            barriers[name] = barriers.get(name, 0) + 1
    for name in document.faults:
        if name not in FAULT_POINTS and "." not in name:
            raise unknown(tables, ("faults", name), "fault point", name, FAULT_POINTS)
    setup = document.setup
    return Workload(
        document,
        tables,
        parameters,
        tuple(actors),
        vcpus,
        _setup(tables, ("setup", "launch"), setup.launch, vcpus),
        _setup(tables, ("setup", "ops"), setup.ops, vcpus),
        barriers,
        dict(document.faults),
    )


def _named(document: Document, name: str) -> bool:
    """Whether some table could have an instance called `name`."""
    stem = name.rstrip("0123456789")
    for task in document.task:
        if stem in ("vcpu", f"{task.vm}.vcpu") if task.role == "vcpu" else stem == task.name:
            return True
    return False


def _setup(tables: Tables, path: Path, ops: Sequence[Op], vcpus: dict[str, int]) -> tuple[Step, ...]:
    steps = resolve_ops(tables, path, ops, None, None)
    for position, step in enumerate(steps):
        if isinstance(step.op, (GuestAccess, Accept, CreateAp, Prefault)) and not vcpus[step.vm]:
            raise tables.source.error((*path, position, "op"), f"{step.op.name} needs a vCPU in {step.vm}")
    return steps


def _check_exit(source: Source, path: Path, task: TaskTable, *, last: bool) -> None:
    """The whole process ends: nothing of the task comes after it, and it is not the VMM, whose VMs would go as well."""
    if task.process == VMM:
        raise source.error(path, f"exit needs a task of a process other than {VMM}")
    if not last or task.repeat not in (None, 1) or task.until is not None:
        raise source.error(path, "exit ends the process; expected it as the last operation, in one round")


def _check_processes(source: Source, actors: Sequence[Actor]) -> None:
    """exit_group kills the other threads, wherever they are, and takes the memory away when all are gone."""
    for actor in actors:
        others = [other.name for other in actors if other.process == actor.process and other is not actor]
        if others and any(isinstance(step.op, Exit) for step in actor.steps):
            message = (
                f"exit of {actor.name} kills {', '.join(others)}, which is not modelled; expected one task of "
                f"process {actor.process}"
            )
            raise source.error((), message)


def _actors(tables: Tables, path: Path, task: TaskTable, vcpus: dict[str, int]) -> list[Actor]:
    source = tables.source
    vm = task.vm or next(iter(tables.vms))
    if vm not in tables.vms:
        raise unknown(tables, (*path, "vm"), "vm", vm, tables.vms)
    if task.background and task.until is not None:
        raise source.error((*path, "until"), "a background task cannot wait for the background")
    if task.role == "vcpu" and task.name is not None:
        raise source.error((*path, "name"), "vCPUs are called vcpu0, vcpu1, …; leave the name out")
    if task.role == "host" and task.name is None:
        raise source.error(path, "a host task needs a name")
    if task.name in RESERVED:
        raise source.error((*path, "name"), f"{task.name} is the name of a task that the model itself has")
    if task.role == "vcpu" and task.process != VMM:
        raise source.error((*path, "process"), f"vCPUs are threads of {VMM}; leave the process out")
    for position, op in enumerate(task.ops):
        if isinstance(op, Exit):
            _check_exit(source, (*path, "ops", position, "op"), task, last=position == len(task.ops) - 1)
    steps = resolve_ops(tables, (*path, "ops"), task.ops, vm, task.role)
    start = time_of(tables, (*path, "start"), task.start)
    gap = time_of(tables, (*path, "gap"), task.gap)
    count = 1 if task.instances is None else task.instances
    for position, step in enumerate(steps):
        if isinstance(step.op, PageRange) and step.op.slice and step.hi - step.lo < count:
            message = f"expected at most {step.hi - step.lo} instances, a page for each; got {count}"
            raise source.error((*path, "ops", position, "slice"), message)
    repeat = task.repeat if task.repeat is not None or task.until is not None else 1
    barriers = tuple(dict.fromkeys(step.op.barrier for step in steps if isinstance(step.op, Barrier)))
    made: list[Actor] = []
    for instance in range(count):
        number = -1
        if task.role == "vcpu":
            number = vcpus[vm]
            vcpus[vm] += 1
            name = f"vcpu{number}" if vm == next(iter(tables.vms)) else f"{vm}.vcpu{number}"
        else:
            name = task.name or ""
            if task.instances is not None:
                name += str(instance)
        until = task.until is not None
        table = task.name or "vcpu"
        actor = Actor(
            name,
            vm,
            number,
            instance,
            count,
            repeat,
            until,
            task.background,
            start,
            gap,
            steps,
            barriers,
            table,
            task.process,
        )
        made.append(actor)
    return made
