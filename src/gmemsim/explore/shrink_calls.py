"""A workload as calls, one line each: what a reader of a shrunk failure wants to see first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..engine.strategy import FirstRunnable
from ..scenarios.ops import FileRange, GuestRange, MapRange
from .program import ScenarioProgram

if TYPE_CHECKING:
    from ..scenarios.steps import Step
    from .runs import Program

#: Keys that the line has in another form, or that an exploring run has no use for.
_OMIT: Final = frozenset(
    {"count", "expect", "file", "gfn", "id", "map", "pace", "private", "slot", "start", "time"}
)  # fmt: skip


def calls(program: Program) -> tuple[str, ...]:
    """Every call of a program's workload (`vcpu0: touch gfn 0x10000 write=a`), the setup's first.

    A thread with rounds says how many. Empty for a program in Python.
    """
    if not isinstance(program, ScenarioProgram):
        return ()
    session = program.build(FirstRunnable()).session
    workload = session.workload
    lines = [f"setup: {_text(step)}" for step in (*workload.launch, *workload.setup)]
    for actor in workload.actors:
        rounds = session.until_rounds if actor.repeat is None else actor.repeat
        times = f" ({rounds} rounds)" if rounds != 1 else ""
        lines += [f"{actor.name}: {_text(step)}{times}" for step in actor.steps]
    faults = sorted((name, count) for name, count in workload.faults.items() if count)
    lines += [f"faults: {name} up to {count}" for name, count in faults]
    return tuple(lines)


def _text(step: Step) -> str:
    op: Any = step.op
    words = [op.name]
    if isinstance(op, GuestRange) and step.hi > step.lo:
        words.append(f"gfn {_pages(step, '#x')}")
    elif isinstance(op, (FileRange, MapRange)):
        what = step.file or step.map
        name = "" if what is None else what.id
        raw = getattr(op, "offset", None) is not None
        words.append(name if raw else f"{name}[{_pages(step, 'd')}]")
    elif step.file is not None:
        words.append(step.file.id)
    elif step.map is not None:
        words.append(step.map.id)
    elif step.slot is not None:
        words.append(f"slot {step.slot.id}")
    private = getattr(op, "private", None)
    if private is not None:
        words.append("private" if private else "shared")
    for field in op.__struct_fields__:
        value = getattr(op, field)
        if field not in _OMIT and value != _default(op, field):
            words.append(f"{field}={value}")
    return " ".join(words)


def _pages(step: Step, form: str) -> str:
    last = step.hi - 1
    return f"{step.lo:{form}}" if last <= step.lo else f"{step.lo:{form}}..{last:{form}}"


def _default(op: Any, field: str) -> Any:
    fields = op.__struct_fields__
    defaults = op.__struct_defaults__
    position = fields.index(field) - (len(fields) - len(defaults))
    return defaults[position] if position >= 0 else None
