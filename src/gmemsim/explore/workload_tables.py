"""A scenario's tables with everything written out, one table a thread, so that parts can be taken away.

Parameters are filled in, instances have tables of their own, every operation has its call id, sizes are in pages, and a
chunk that seed and round decide on is written as the range that it comes to.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import attrs

from ..engine.strategy import FirstRunnable
from ..scenarios.decode import substitute
from ..scenarios.ops import OPS, GuestRange, PageRange
from ..scenarios.scenario import loads
from ..scenarios.thread import Thread
from ..scenarios.toml_text import toml_text

if TYPE_CHECKING:
    from ..scenarios.steps import Step
    from ..scenarios.workload import Actor, Workload
    from .program import ScenarioProgram

#: Tables as TOML has them.
Values = dict[str, Any]


def explicit(program: ScenarioProgram) -> Values:
    """The tables of what the program runs."""
    workload = _workload(program)
    source = program.scenario.source
    filled = substitute(source, workload.parameters)
    values = deepcopy({key: value for key, value in filled.items() if key not in {"parameters", "small"}})
    for file in values.get("file", ()):
        file.pop("size", None)
        file["pages"] = workload.tables.files[file["id"]].pages
    each = {mapping.get("each") for mapping in values.get("map", ())}
    tasks: list[dict[str, Any]] = []
    shares: list[tuple[dict[str, Any], int, int]] = []
    for task in values["task"]:
        for position, op in enumerate(task["ops"]):
            op["id"] = op.get("id") or position + 1
        if task.get("repeat") == 1 and "until" not in task:
            del task["repeat"]
        count = task.get("instances")
        if count is None or (task.get("name") in each and task.get("name") is not None):
            tasks.append(task)
            continue
        for number in range(count):
            one = deepcopy(task)
            del one["instances"]
            if "name" in one:
                one["name"] += str(number)
            tasks.append(one)
            shares.append((one, number, count))
    values["task"] = tasks
    actors = {actor.name: actor for actor in workload.actors}
    names = {id(task): names[0] for task, names in zip(tasks, task_names(values), strict=True) if names}
    for task, number, count in shares:
        _own_share(task, actors[names[id(task)]], number, count)
    return values


def _own_share(task: dict[str, Any], actor: Actor, number: int, of: int) -> None:
    """This instance's part of each range that the instances divide, written out."""
    for op, step in zip(task["ops"], actor.steps, strict=True):
        if op.pop("slice", False):
            count = step.hi - step.lo
            _set_range(op, step, step.lo + number * count // of, step.lo + (number + 1) * count // of)


def _workload(program: ScenarioProgram) -> Workload:
    return program.scenario.resolve(program.parameters, vcpus=program.vcpus, small=program.small)


def task_names(values: Values) -> list[list[str]]:
    """Names of the threads of each task table, as `scenarios.workload` gives them."""
    first = values["vm"][0].get("id", "vm0") if values.get("vm") else "vm0"
    vcpus: dict[str, int] = {}
    found: list[list[str]] = []
    for task in values["task"]:
        vm = task.get("vm", first)
        names = []
        for number in range(task.get("instances", 1)):
            if task.get("role") == "vcpu":
                count = vcpus[vm] = vcpus.get(vm, 0) + 1
                names.append(f"vcpu{count - 1}" if vm == first else f"{vm}.vcpu{count - 1}")
            else:
                names.append(f"{task['name']}{number}" if "instances" in task else task["name"])
        found.append(names)
    return found


def on_tables(program: ScenarioProgram, values: Values) -> ScenarioProgram:
    """The program with these tables as its scenario.

    Raises:
        ScenarioError: they are no scenario.
    """
    name = f"{program.scenario.name}.small.toml"
    scenario = loads(toml_text(values), name)
    return attrs.evolve(program, scenario=scenario, parameters=None, vcpus=None, small=False)


def fix_ranges(program: ScenarioProgram, values: Values) -> Values:
    """Chunks of threads with a single round as ranges; `program` is the one on these tables."""
    session = program.build(FirstRunnable()).session
    actors = {actor.name: actor for actor in session.workload.actors}
    values = deepcopy(values)
    for task, names in zip(values["task"], task_names(values), strict=True):
        if len(names) != 1 or task.get("until") or task.get("repeat", 1) != 1:
            continue
        thread = Thread(session, actors[names[0]])
        for op, step in zip(task["ops"], actors[names[0]].steps, strict=True):
            if op.get("chunk") is not None:
                for key in ("chunk", "pick", "reroll"):
                    op.pop(key, None)
                _set_range(op, step, *thread.region(step))
    return values


def _set_range(op: dict[str, Any], step: Step, lo: int, hi: int) -> None:
    base = 0
    if issubclass(OPS[op["op"]], GuestRange):
        if op.get("gfn") is not None:
            op["gfn"], op["count"] = lo, hi - lo
            return
        assert step.slot is not None
        base = step.slot.gfn
    op["start"], op["count"] = lo - base, hi - lo


def ranges(program: ScenarioProgram) -> dict[str, list[tuple[int, int] | None]]:
    """Pages of every operation by thread, relative to its slot, file or mapping; None: it has none."""
    found: dict[str, list[tuple[int, int] | None]] = {}
    for actor in _workload(program).actors:
        rows = found[actor.name] = []
        for step in actor.steps:
            op: Any = step.op
            plain = isinstance(op, PageRange) and getattr(op, "address", None) is None
            if not plain or (getattr(op, "offset", None) is not None and not isinstance(op, GuestRange)):
                rows.append(None)
                continue
            guest = isinstance(op, GuestRange) and op.gfn is None and step.slot is not None
            base = step.slot.gfn if guest and step.slot is not None else 0
            rows.append((step.lo - base, step.hi - base))
    return found


def operations(program: ScenarioProgram) -> int:
    """Calls that the workload makes at most, those of the setup included."""
    workload = _workload(program)
    rounds = program.until_rounds or 2
    return (
        len(workload.launch)
        + len(workload.setup)
        + sum(
            len(actor.steps) * (rounds if actor.repeat is None else actor.repeat) for actor in workload.actors
        )
    )
