"""Make a workload small: without tasks, rounds, operations, fault points, declarations and pages that a failure does
not need.

Each edit takes something away from the scenario's tables and says what becomes of the tape's keys. The choices of
everything that stays keep their keys, so most edits still fail with the schedule that is there; a short search helps
the others. An edit is kept if the failure has the same signature. Large pieces go first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import attrs

from ..engine.tape import Tape
from ..scenarios.errors import ScenarioError
from ..scenarios.thread import CALLS
from .workload_tables import Values, explicit, fix_ranges, on_tables, ranges, task_names

if TYPE_CHECKING:
    from .measure import Attempt
    from .program import ScenarioProgram
    from .shrink_try import Judge

#: An unrolled task has no more operations than this.
_UNROLLED = 12
#: What an operation is about, or cannot do without.
_NEEDED = frozenset({"op", "id", "value", "barrier", "task", "map", "file", "slot", "private", "time"})


@attrs.frozen
class Edit:
    """Smaller tables.

    Attributes:
        names: new name of each thread that has one, by old name; left out: unchanged. None: it is gone.
        calls: new call by (thread, call), both as before.
    """

    values: Values
    names: dict[str, str | None] = attrs.field(factory=dict)
    calls: dict[tuple[str, int], int] = attrs.field(factory=dict)

    def tape(self, tape: Tape) -> Tape:
        """The choices that are left, under their new keys."""
        raw: list[tuple[str, int, str, int, int]] = []
        for task, call, label, value, bound in tape.raw:
            name = self.names.get(task, task)
            if name is not None:
                raw.append((name, self.calls.get((task, call), call), label, value, bound))
        return Tape(raw)

    def order(self, order: tuple[str, ...]) -> tuple[str, ...]:
        """The same for an order of tasks."""
        names = (self.names.get(task, task) for task in order)
        return tuple(name for name in names if name is not None)


def shrink_workload(program: ScenarioProgram, best: Attempt, judge: Judge) -> tuple[ScenarioProgram, Attempt]:
    """The smallest workload that the edits lead to, with a failing run of it; or what was given."""
    try:
        values = explicit(program)
        small = on_tables(program, values)
    except ScenarioError:
        return program, best
    found = judge.find(small, best.tape, best.order)
    if found is None:
        return program, best
    state = _State(small, values, found)
    changed = True
    while changed and not judge.spent:
        changed = False
        for edits in _EDITS:
            changed |= state.greedy(edits, judge)
    for edits in _COSMETIC:
        state.greedy(edits, judge)
    return state.program, state.best


class _State:
    """The smallest so far."""

    def __init__(self, program: ScenarioProgram, values: Values, best: Attempt) -> None:
        self.program = program
        self.values = values
        self.best = best

    def greedy(self, edits: Edits, judge: Judge) -> bool:
        """Take every edit that keeps the failure, and ask again after each; whether there was one."""
        changed = False
        again = True
        while again:
            again = False
            for edit in edits(self.program, self.values):
                if judge.spent:
                    return changed
                if self.take(edit, judge):
                    again = changed = True
                    break
        return changed

    def take(self, edit: Edit, judge: Judge) -> bool:
        """Whether the edit keeps the failure; then it is done."""
        try:
            program = on_tables(self.program, edit.values)
        except ScenarioError:
            return False
        found = judge.find(program, edit.tape(self.best.tape), edit.order(self.best.order))
        if found is None:
            return False
        self.program, self.values, self.best = program, edit.values, found
        return True


#: Edits in the order in which to try them.
Edits = Callable[["ScenarioProgram", Values], Iterator[Edit]]


def _without(values: Values, *path: str | int) -> Values:
    """A copy without the entry at `path`, and without the table or list around it if that is empty then."""
    values = deepcopy(values)
    here: Any = values
    for step in path[:-1]:
        here = here[step]
    del here[path[-1]]
    if not here and len(path) > 1 and path[0] != "task":
        return _without(values, *path[:-1])
    return values


def _renamed(before: Values, after: Values, gone: int) -> dict[str, str | None]:
    """New names by old ones when task table `gone` is no longer there: vCPUs are numbered anew."""
    old, new = task_names(before), task_names(after)
    names: dict[str, str | None] = dict.fromkeys(old[gone])
    rest = old[:gone] + old[gone + 1 :]
    for olds, news in zip(rest, new, strict=True):
        names |= {name: to for name, to in zip(olds, news, strict=True) if name != to}
    for task in after["task"]:
        for op in task["ops"]:
            if op["op"] == "signal":
                op["task"] = names.get(op["task"]) or op["task"]
    return names


def _tasks(_program: ScenarioProgram, values: Values) -> Iterator[Edit]:
    """A whole thread, the last first; or one instance less."""
    for position in reversed(range(len(values["task"]))):
        count = values["task"][position].get("instances", 1)
        if len(values["task"]) > 1:
            after = _without(values, "task", position)
            yield Edit(after, _renamed(values, after, position))
        if count > 1:
            after = deepcopy(values)
            after["task"][position]["instances"] = count - 1
            yield Edit(after)


def _faults(_program: ScenarioProgram, values: Values) -> Iterator[Edit]:
    """A fault point, or one of the times that it may fire."""
    for name, count in values.get("faults", {}).items():
        yield Edit(_without(values, "faults", name))
        if count > 1:
            after = deepcopy(values)
            after["faults"][name] = count - 1
            yield Edit(after)


def _rounds(program: ScenarioProgram, values: Values) -> Iterator[Edit]:
    """Fewer rounds; a loop that waits for others becomes one with a number of rounds."""
    for position, task in enumerate(values["task"]):
        repeat = task.get("repeat")
        rounds = (program.until_rounds or 2) if repeat is None and "until" in task else repeat or 1
        for fewer in sorted({1, rounds // 2, rounds - 1, rounds}):
            if fewer < 1 or (fewer == rounds and "until" not in task):
                continue
            after = deepcopy(values)
            after["task"][position].pop("until", None)
            after["task"][position]["repeat"] = fewer
            if not any("until" in other for other in after["task"]):
                for other in after["task"]:
                    other.pop("background", None)
            if fewer == 1:
                del after["task"][position]["repeat"]
            yield Edit(after)


def _unrolled(program: ScenarioProgram, values: Values) -> Iterator[Edit]:
    """Rounds as operations one after another, which can then go one by one."""
    for position, names in enumerate(task_names(values)):
        task = values["task"][position]
        rounds = task.get("repeat", 1)
        count = rounds * len(task["ops"])
        if rounds == 1 or "until" in task or len(names) != 1 or count > _UNROLLED:
            continue
        if any(op.get("chunk") is not None for op in task["ops"]):
            continue
        after = deepcopy(values)
        del after["task"][position]["repeat"]
        after["task"][position].pop("gap", None)
        calls: dict[tuple[str, int], int] = {}
        ops: list[dict[str, Any]] = []
        after["task"][position]["ops"] = ops
        for number in range(rounds):
            for op in task["ops"]:
                ops.append(deepcopy(op) | {"id": len(ops) + 1})
                calls[names[0], number * CALLS + op["id"]] = len(ops)
        yield Edit(after, {}, calls)


def _operations(_program: ScenarioProgram, values: Values) -> Iterator[Edit]:
    """Operations: halves of long lists, then single ones, the last first."""
    for position, task in enumerate(values["task"]):
        count = len(task["ops"])
        size = count // 2
        while size:
            for start in reversed(range(0, count, size)):
                if count > size:
                    after = deepcopy(values)
                    del after["task"][position]["ops"][start : start + size]
                    if after["task"][position]["ops"]:
                        yield Edit(after)
            size //= 2


def _setup(_program: ScenarioProgram, values: Values) -> Iterator[Edit]:
    """Operations of the setup."""
    for part in ("ops", "launch"):
        for position in reversed(range(len(values.get("setup", {}).get(part, ())))):
            yield Edit(_without(values, "setup", part, position))


def _declarations(_program: ScenarioProgram, values: Values) -> Iterator[Edit]:
    """What nobody refers to."""
    for key in ("map", "slot", "file", "vm"):
        for position in reversed(range(len(values.get(key, ())))):
            yield Edit(_without(values, key, position))


def _fixed(program: ScenarioProgram, values: Values) -> Iterator[Edit]:
    """Chunks as ranges, once it is known which."""
    after = fix_ranges(program, values)
    if after != values:
        yield Edit(after)


def _pages(program: ScenarioProgram, values: Values) -> Iterator[Edit]:
    """Ranges of a page or of half as many pages, then smaller files."""
    known = ranges(program)
    for position, names in enumerate(task_names(values)):
        for number, op in enumerate(values["task"][position]["ops"]):
            pages = known[names[0]][number] if names else None
            if pages is None or op.get("chunk") is not None or op.get("slice"):
                continue
            lo, hi = pages
            half = (lo + hi) // 2
            for start, end in dict.fromkeys([(lo, lo + 1), (hi - 1, hi), (lo, half), (half, hi)]):
                if end <= start or end - start >= hi - lo:
                    continue
                after = deepcopy(values)
                changed = after["task"][position]["ops"][number]
                changed["gfn" if op.get("gfn") is not None else "start"] = start
                changed["count"] = end - start
                yield Edit(after)
    for position, file in enumerate(values.get("file", ())):
        pages_now = file["pages"]
        for fewer in dict.fromkeys([1, pages_now // 2, pages_now - 1]):
            if 0 < fewer < pages_now:
                after = deepcopy(values)
                after["file"][position]["pages"] = fewer
                yield Edit(after)


def _times(_program: ScenarioProgram, values: Values) -> Iterator[Edit]:
    """Times, which an exploring run has no use for but as one more moment to switch."""
    for key in ("gap", "start", "pace"):
        after = deepcopy(values)
        for task in after["task"]:
            task.pop(key, None)
            for op in task["ops"]:
                op.pop(key if key == "pace" else "", None)
        if after != values:
            yield Edit(after)


def _options(_program: ScenarioProgram, values: Values) -> Iterator[Edit]:
    """What an operation does beyond the ordinary, and numbers that are the default."""
    for position, task in enumerate(values["task"]):
        for number, op in enumerate(task["ops"]):
            for key in sorted(op.keys() - _NEEDED):
                yield Edit(_without(values, "task", position, "ops", number, key))
    for position, vm in enumerate(values.get("vm", ())):
        for key in sorted(vm.keys() - {"id", "type"}):
            yield Edit(_without(values, "vm", position, key))


_EDITS: tuple[Edits, ...] = (
    _tasks,
    _faults,
    _rounds,
    _times,
    _fixed,
    _operations,
    _unrolled,
    _setup,
    _pages,
    _declarations,
)
_COSMETIC: tuple[Edits, ...] = (_options,)
