"""What a stock kernel can do of a scenario: VM types, flags, operations and room that the runner has."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from msgspec.structs import fields

from ..scenarios import ops

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..scenarios.scenario import Scenario
    from ..scenarios.steps import Step
    from ..scenarios.tables import Map
    from ..scenarios.workload import Workload

#: Numbers of VM types of KVM that need no hardware of their own.
VM_TYPES: Final = {"default": 0, "sw-protected": 1}

FILE_FLAGS: Final = {"MMAP": 1, "INIT_SHARED": 2}
#: What no stock kernel does at the runner's request, and why.
_NOT_THERE: Final[dict[type[ops.Op], str]] = {
    ops.Accept: "needs SNP or TDX hardware",
    ops.CreateAp: "needs SNP hardware",
    ops.PageStateChange: "needs SNP hardware",
    ops.Hypercall: "the runner's guest makes no hypercall",
    ops.Populate: "needs SNP or TDX hardware",
    ops.LaunchFinish: "needs SNP or TDX hardware",
    ops.Migrate: "no call moves a page that is not mapped",
    **dict.fromkeys(
        (
            ops.CheckExtension,
            ops.Exit,
            ops.Fork,
            ops.GetMempolicy,
            ops.Mbind,
            ops.MovePages,
            ops.NxHugePages,
            ops.Stat,
            ops.Zap,
        ),
        "the runner has no such call in a scenario",
    ),
}
#: With which a signal can be made to arrive.
_SIGNALLED: Final = (ops.Allocate, ops.Punch, ops.Prefault)
#: Keys of operations that the runner does not know; most are words of calls that are there to be refused.
_UNKNOWN_KEYS: Final = (
    "advice",
    "attributes",
    "bad_pointer",
    "buffer",
    "modes",
    "positioned",
    "raw",
    "reserved",
)

#: Rounds of a task that are written out; a task that goes on `until` others are done repeats them.
_MOST_ROUNDS: Final = 4096
LIMITS: Final = {
    "vm": 4,
    "vcpu": 16,
    "file": 16,
    "buffer": 16,
    "slot": 32,
    "map": 62,
    "task": 32,
    "barrier": 16,
}
#: Guest frames below 4 GiB, less what the runner's own code and KVM's pages take.
_GFN_LIMIT: Final = 0xF0000


def vm_type_of(scenario: Scenario) -> str:
    """The VM type on which a scenario is run unless told otherwise: the first that a stock kernel may have."""
    kinds = scenario.vm_types or tuple(VM_TYPES)
    return next((kind for kind in VM_TYPES if kind in kinds), kinds[0])


def refusals(workload: Workload, vm_type: str) -> list[str]:
    """What of the scenario a stock kernel cannot do, by name."""
    found: dict[str, None] = {}
    tables = workload.tables
    for vm in tables.vms.values():
        kind = vm.type or vm_type
        if kind not in VM_TYPES:
            found[f"VM type {kind}: needs its hardware"] = None
    for file in tables.files.values():
        for flag in sorted(file.flags or ()):
            if flag not in FILE_FLAGS:
                found[f"flag {flag} of file {file.id}: no stock kernel has it"] = None
    for mapping in tables.maps.values():
        if mapping.process != "vmm":
            found[f"process {mapping.process} of map {mapping.id}: the runner is one process"] = None
    for slot in tables.slots.values():
        if slot.userspace == "none" or slot.userspace_start:
            found[f"userspace of slot {slot.id}: the runner has a buffer of its own there"] = None
        if slot.gfn + slot.pages > _GFN_LIMIT:
            found[f"slot {slot.id}: expected guest frames below {_GFN_LIMIT:#x}"] = None
        if slot.id == 509:
            found["slot 509: the runner has its guest's code there"] = None
    for name in workload.faults:
        found[f"fault point {name}: a kernel cannot be made to fail there"] = None
    if workload.launch:
        found["[setup] launch: needs SNP or TDX hardware"] = None
    for step in _steps(workload):
        why = _NOT_THERE.get(type(step.op))
        if why:
            found[f"{step.op.name}: {why}"] = None
        else:
            _other_keys(step.op, found)
    for actor in workload.actors:
        for step, then in pairwise((*actor.steps, *actor.steps[:1])):
            if isinstance(step.op, ops.SignalPending) and not isinstance(then.op, _SIGNALLED):
                known = ", ".join(kind.__name__.lower() for kind in _SIGNALLED)
                found[f"signal_pending before {then.op.name}: the runner sends a signal with {known}"] = None
        if (actor.repeat or 1) > _MOST_ROUNDS:
            found[f"task {actor.name}: expected at most {_MOST_ROUNDS} rounds"] = None
    counts = {
        "vm": len(tables.vms),
        "vcpu": max(workload.vcpus.values(), default=0),
        "file": len(tables.files),
        "slot": len(tables.slots),
        "map": sum(len(owners(workload, mapping)) for mapping in tables.maps.values()),
        "task": len(workload.actors),
        "barrier": len(workload.barriers),
    }
    for what, count in counts.items():
        if count > LIMITS[what]:
            found[f"{count} of {what}: the runner has room for {LIMITS[what]}"] = None
    return list(found)


def _other_keys(op: ops.Op, found: dict[str, None]) -> None:
    """Keys that say something to the model and nothing to the runner."""
    keys = list(_UNKNOWN_KEYS)
    if isinstance(op, (ops.MapBytes, ops.Mmap, ops.FileRead, ops.FileWrite, ops.SetFileAttributes)):
        keys.append("offset")
    if isinstance(op, (ops.Prefault, ops.SetAttributes)):
        keys.append("flags")
    for field in fields(op):
        if field.name in keys and getattr(op, field.name) != field.default:
            found[f"{field.name} of {op.name}: the runner does not know it"] = None


def _steps(workload: Workload) -> Iterable[Step]:
    yield from workload.setup
    for actor in workload.actors:
        yield from actor.steps


def owners(workload: Workload, mapping: Map) -> list[str]:
    if mapping.each is None:
        return [""]
    return [actor.name for actor in workload.actors if actor.table == mapping.each]
