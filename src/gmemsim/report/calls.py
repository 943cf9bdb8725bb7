"""The workload as calls, and what had come of each when the run ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..arch.registry import described
from ..explore.program import ScenarioRun
from ..scenarios.thread import CALLS
from .model import Call
from .words import pages

if TYPE_CHECKING:
    from ..explore.runs import Run
    from ..scenarios.results import OpResult
    from ..scenarios.session import Session
    from ..scenarios.steps import Step as Operation
    from ..scenarios.thread import Thread
    from .model import Step

#: The system call, ioctl or kernel function behind an operation, where it is not the operation's own name.
_KERNEL: Final = {
    "allocate": "fallocate",
    "punch": "fallocate PUNCH_HOLE",
    "memory_failure": "memory_failure",
    "create": "KVM_CREATE_GUEST_MEMFD",
    "close": "close",
    "bind": "KVM_SET_USER_MEMORY_REGION2",
    "unbind": "KVM_SET_USER_MEMORY_REGION2 (delete)",
    "set_attributes": "KVM_SET_MEMORY_ATTRIBUTES",
    "convert": "convert",
    "populate": "populate",
    "launch_finish": "launch finish",
    "prefault": "KVM_PRE_FAULT_MEMORY",
    "touch": "guest access",
    "read": "guest load",
    "write": "guest store",
    "accept": "guest accept",
    "host_touch": "host access",
    "host_read": "host load",
    "host_write": "host store",
    "madvise": "madvise DONTNEED",
}
#: Fields that the text has already, or that say nothing about the call.
_OMIT: Final = frozenset(
    {"chunk", "count", "expect", "file", "gfn", "id", "map", "offset", "pace", "pick", "private", "reroll", "slice",
     "slot", "start"}
)  # fmt: skip


def calls_of(run: Run, steps: tuple[Step, ...] | list[Step]) -> tuple[Call, ...]:
    """All calls, those of the setup first; for a program in Python, what the steps tell."""
    if isinstance(run, ScenarioRun):
        return _of_session(run.session, steps)
    order = {task.name: position for position, task in enumerate(run.engine.tasks)}
    seen: dict[tuple[str, int], None] = {}
    done = {step.task for step in steps if step.finished}
    last: dict[str, int] = {}
    for step in steps:
        seen[step.task, step.then] = None
        last[step.task] = step.then
    return tuple(
        Call(
            task,
            call,
            f"call {call}" if call else "the task",
            "done" if task in done or call < last[task] else "running",
        )
        for task, call in sorted(seen, key=lambda one: (order[one[0]], one[1]))
    )


def context_of(run: Run) -> tuple[tuple[str, str], ...]:
    """What the run was of, by name."""
    if not isinstance(run, ScenarioRun):
        return ()
    session = run.session
    found = [
        ("scenario", session.workload.head.name),
        ("patch", session.patch.name),
        ("VM type", " and ".join(map(described, vm_types_of(run)))),
        ("release", session.release.name),
        ("seed", str(session.seed)),
    ]
    found += [(name, str(value)) for name, value in session.workload.parameters.items()]
    faults = {name: count for name, count in session.workload.faults.items() if count}
    if faults:
        found.append(
            ("fault points", ", ".join(f"{name} up to {count}" for name, count in sorted(faults.items())))
        )
    if run.without:
        found.append(("without the rules", ", ".join(sorted(run.without))))
    return tuple(found)


def vm_types_of(run: Run) -> tuple[str, ...]:
    """The VM types that take part, each once."""
    if not isinstance(run, ScenarioRun):
        return ()
    return tuple(dict.fromkeys(vm.arch.name for vm in run.session.machine.world.vms.values()))


def _of_session(session: Session, steps: tuple[Step, ...] | list[Step]) -> tuple[Call, ...]:
    workload = session.workload
    found = [
        Call("setup", 0, _text(step, step.lo, step.hi), "done")
        for step in (*workload.launch, *workload.setup)
    ]
    begun: dict[str, set[int]] = {}
    for step in steps:
        for happening in step.happenings:
            begun.setdefault(step.task, set()).add(happening.call)
        begun.setdefault(step.task, set()).update((step.call, step.then))
    for thread in session.threads:
        name = thread.actor.name
        results = {result.call: result for result in session.results[name].operations}
        found += _of_thread(thread, results, begun.get(name, set()))
    return tuple(found)


def _of_thread(thread: Thread, results: dict[int, OpResult], begun: set[int]) -> list[Call]:
    actor = thread.actor
    found: list[Call] = []
    rounds = sorted({call // CALLS for call in (*results, *(call for call in begun if call % CALLS))} | {0})
    for number in rounds:
        for step in actor.steps:
            call = number * CALLS + step.ident
            result = results.get(call)
            if result is not None:
                failed = bool(step.expect) and result.outcome not in step.expect
                text = _text(step, result.lo, result.hi)
                state = "failed" if failed else "done"
                found.append(Call(actor.name, call, text, state, result.outcome, step.expect))
            else:
                state = "running" if call in begun else "not begun"
                found.append(
                    Call(actor.name, call, _text(step, *thread.region(step)), state, "", step.expect)
                )
    return found


def _text(step: Operation, lo: int, hi: int) -> str:
    op: Any = step.op
    words = [_KERNEL.get(op.name, op.name)]
    if step.file is not None:
        words.append(step.file.id)
        if op.name in {"allocate", "punch", "memory_failure"} and hi > lo:
            words.append(f"page {pages(lo, hi)}")
    elif step.map is not None:
        words.append(f"{step.map.id} page {pages(lo, hi)}")
    elif hi > lo:
        words.append(f"{step.vm} gfn {pages(lo, hi, True)}")
    elif step.slot is not None:
        words.append(f"{step.vm} slot {step.slot.id}")
    private = getattr(op, "private", None)
    if private is not None:
        words.append("private" if private else "shared")
    for field in op.__struct_fields__:
        value = getattr(op, field)
        if field not in _OMIT and value not in {None, False, True, ()}:
            words.append(f"{field}={value}")
    return " ".join(words)
