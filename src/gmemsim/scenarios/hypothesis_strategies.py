"""Hypothesis strategies: workloads, schedules, and both at once so that they shrink together.

A schedule is a short list of interruptions: in which call, after how many choices there, who goes next. An empty list
is the run without preemptions, so deleting entries removes preemptions. In `cases` every operation carries its own
interruptions: when Hypothesis deletes an operation they go with it, and those of the others stay where they were.

Needs the package hypothesis. Runs take milliseconds but the first of a process does not: switch off Hypothesis'
deadline (`@settings(deadline=None)`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
from hypothesis import strategies as st

from ..engine.answers import candidate
from .scenario import Scenario, loads
from .tables import VM_TYPES
from .toml_text import toml_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

    from ..engine.engine import Engine
    from ..engine.task import Task

#: Choices within one call that an interruption can come after: about as many as a fault of two pages has.
_LONGEST: Final = 60
#: Most operations of one thread that shrink well.
_OPS: Final = 4
#: Operations of a vCPU, and of a host thread.
_GUEST: Final = ("touch", "read", "write", "prefault")
_HOST: Final = ("punch", "allocate", "convert", "memory_failure")
_MAPPED: Final = ("host_touch", "host_read", "madvise")
#: VM types whose files can be mapped by the host from the start.
_SHARED: Final = ("default",)
#: Fault points that any workload can meet.
_FAULTS: Final = ("alloc_folio", "need_resched", "signal")


@attrs.frozen
class Interruption:
    """In call `call` of `task`, the choice after `after` others is answered `to` instead of 0."""

    task: str
    call: int
    after: int
    to: int = 1


class Interruptions:
    """A schedule (`engine.strategy.Strategy`): the default answer, except where it is interrupted.

    A task that has run alone for very long gives way: a fault that is retried while another task holds things up would
    else be retried for ever.
    """

    def __init__(self, interruptions: Iterable[Interruption] = ()) -> None:
        self.interruptions = tuple(interruptions)
        self._answers = {(each.task, each.call, each.after): each.to for each in self.interruptions}
        self._met: dict[tuple[str, int], int] = {}
        self._alone = 0

    def begin(self, engine: Engine) -> bool:
        """Ready for another run."""
        self._met.clear()
        self._alone = 0
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Who runs next."""
        asked = runnable[0].engine.current if current is None else current
        name, call = ("-", 0) if asked is None else (asked.name, asked.call)
        answer = self._answer(name, call, len(runnable))
        self._alone = 0 if answer or current is None else self._alone + 1
        if self._alone > 8 * _LONGEST:
            self._alone = 0
            answer = 1
        return candidate(runnable, current, answer)

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Any other choice."""
        return self._answer(task.name, task.call, bound)

    def _answer(self, task: str, call: int, bound: int) -> int:
        key = (task, call)
        met = self._met.get(key, 0)
        self._met[key] = met + 1
        return min(self._answers.get((task, call, met), 0), bound - 1)

    def __repr__(self) -> str:
        inner = ", ".join(
            f"{each.task} call {each.call} after {each.after}: {each.to}" for each in self.interruptions
        )
        return f"Interruptions({inner})"


@attrs.frozen(repr=False)
class Case:
    """A workload and a schedule for it, drawn together."""

    scenario: Scenario
    schedule: Interruptions

    def __repr__(self) -> str:
        # What Hypothesis prints of the smallest failing example: the text can be saved and run.
        return f"Case(loads('''\n{self.scenario.source.text}'''), {self.schedule!r})"


def schedules(
    tasks: Sequence[str] = ("vcpu0", "vcpu1"), *, calls: int = _OPS, preemptions: int = 4
) -> SearchStrategy[Interruptions]:
    """Schedules of a scenario that is given.

    Args:
        tasks: who can be interrupted, by name; who else there is goes on.
        calls: in which calls of each; those of the first round are numbered from 1.
        preemptions: most interruptions of one run.
    """
    one = st.builds(
        Interruption,
        st.sampled_from(tasks),
        st.integers(1, calls),
        st.integers(0, _LONGEST),
        st.integers(1, 3),
    )
    return st.lists(one, max_size=preemptions).map(Interruptions)


def workloads(
    *,
    vcpus: int = 2,
    hosts: int = 1,
    ops: int = _OPS,
    pages: int = 2,
    arches: Sequence[str] = ("sw-protected",),
    faults: int = 0,
) -> SearchStrategy[Scenario]:
    """Small scenarios: threads that access, punch, allocate and convert pages of one file.

    Args:
        vcpus, hosts: most vCPU and VMM threads; there is at least one vCPU.
        ops: most operations of a thread.
        pages: most pages of the file.
        arches: VM types to choose from.
        faults: most times that each fault point may fire.

    Raises:
        ValueError: a number is out of range, or there is no such VM type.
    """
    return _drawn(vcpus, hosts, ops, pages, tuple(arches), faults, 0).map(lambda case: case.scenario)


def cases(
    *,
    vcpus: int = 2,
    hosts: int = 1,
    ops: int = _OPS,
    pages: int = 2,
    arches: Sequence[str] = ("sw-protected",),
    faults: int = 0,
    preemptions: int = 2,
) -> SearchStrategy[Case]:
    """Workloads and schedules that shrink together.

    Args:
        preemptions: most interruptions within one operation.
        The rest is as in `workloads`.
    """
    return _drawn(vcpus, hosts, ops, pages, tuple(arches), faults, preemptions)


def _drawn(
    vcpus: int, hosts: int, ops: int, pages: int, arches: tuple[str, ...], faults: int, preemptions: int
) -> SearchStrategy[Case]:
    if min(vcpus, ops, pages) < 1 or min(hosts, faults, preemptions) < 0:
        raise ValueError("expected at least one vCPU, operation and page, and no negative number")
    unknown = [arch for arch in arches if arch not in VM_TYPES]
    if unknown or not arches:
        raise ValueError(
            f"arches: expected some of {', '.join(VM_TYPES)}, got {', '.join(unknown) or 'none'}"
        )
    return _case(vcpus, hosts, ops, pages, arches, faults, preemptions)


@st.composite
def _case(
    draw: DrawFn,
    vcpus: int,
    hosts: int,
    ops: int,
    pages: int,
    arches: tuple[str, ...],
    faults: int,
    preemptions: int,
) -> Case:
    arch = draw(st.sampled_from(arches))
    size = draw(st.integers(1, pages))
    mapped = arch in _SHARED
    interruptions: list[Interruption] = []
    tasks: list[dict[str, Any]] = []
    kinds = [("vcpu", vcpus, 1, _GUEST), ("host", hosts, 0, (*_HOST, *(_MAPPED if mapped else ())))]
    for role, most, least, names in kinds:
        threads = draw(
            st.lists(
                st.lists(_op(names, size, preemptions), min_size=1, max_size=ops),
                min_size=least,
                max_size=most,
            )
        )
        for number, thread in enumerate(threads):
            name = f"{role}{number}"
            table: dict[str, Any] = {"role": role} if role == "vcpu" else {"name": name}
            table["ops"] = [op for op, _ in thread]
            tasks.append(table)
            for position, (_, stops) in enumerate(thread):
                interruptions += [Interruption(name, position + 1, after, to) for after, to in stops]
    values: dict[str, Any] = {
        "scenario": {"name": "drawn", "summary": "Drawn by Hypothesis", "vm_types": [arch]},
        "vm": [{"id": "vm0", "accept": "tolerant"}],
        "file": [{"id": "gmem0", "pages": size}],
        "slot": [{"file": "gmem0", "gfn": 0x100}],
        "task": tasks,
    }
    if arch == "tdx":
        # Else the guest of a page that was taken away dies of it, which is its own fault.
        values["vm"][0]["choices"] = {"sept_ve_disable": False}
    if mapped:
        values["map"] = [{"id": "map0", "file": "gmem0"}]
    fires = (
        draw(st.dictionaries(st.sampled_from(_FAULTS), st.integers(1, faults), max_size=2)) if faults else {}
    )
    if fires:
        values["faults"] = fires
    return Case(loads(toml_text(values), "drawn.toml"), Interruptions(interruptions))


def _op(
    names: tuple[str, ...], pages: int, preemptions: int
) -> SearchStrategy[tuple[dict[str, Any], list[tuple[int, int]]]]:
    """One operation with its interruptions."""

    def make(name: str, start: int, count: int, private: bool) -> dict[str, Any]:
        op: dict[str, Any] = {"op": name, "start": start, "count": min(count, pages - start)}
        if name == "write":
            op["value"] = "w"
        if name == "convert":
            op["private"] = private
        return op

    op = st.builds(
        make, st.sampled_from(names), st.integers(0, pages - 1), st.integers(1, pages), st.booleans()
    )
    stops = st.lists(st.tuples(st.integers(0, _LONGEST), st.integers(1, 3)), max_size=preemptions)
    return st.tuples(op, stops)
