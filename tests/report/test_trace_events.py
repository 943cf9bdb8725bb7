"""Chrome trace events: what the viewers need to draw them right."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.report.cases import CASES, Random
from tests.report.reports import report

from gmemsim.audit.kvm_events import GetFolio, GetPfn, GetPfnRet
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.report import report_failure
from gmemsim.report.trace_events import trace_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task

Event = dict[str, Any]


def timed(name: str) -> list[Event]:
    events: list[Event] = trace_events(report(name))["traceEvents"]
    return [event for event in events if event["ph"] != "M"]


@pytest.mark.parametrize("name", sorted(CASES))
def test_slices_nest(name: str) -> None:
    """On a thread, of two slices that overlap one holds the other, and comes first in the file."""
    made = report(name)
    end = len(made.steps) + 1
    threads: defaultdict[tuple[int, int], list[Event]] = defaultdict(list)
    times = [event["ts"] for event in timed(name)]
    assert times == sorted(times)
    for event in timed(name):
        assert 0 <= event["ts"] <= end
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append(event)
    for slices in threads.values():
        stack: list[float] = []
        for event in slices:
            assert event["dur"] > 0
            begin, over = event["ts"], event["ts"] + event["dur"]
            assert over <= end + 1e-6
            while stack and stack[-1] <= begin + 1e-6:
                stack.pop()
            assert not stack or over <= stack[-1] + 1e-6
            stack.append(over)


@pytest.mark.parametrize("name", sorted(CASES))
def test_threads_have_names(name: str) -> None:
    """A thread a task, in the order of the report; every event is on a thread that has a name."""
    document = trace_events(report(name))
    assert msgspec.json.decode(msgspec.json.encode(document)) == document
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in document["traceEvents"]
        if event["name"] == "thread_name"
    }
    tasks = [task for (pid, _), task in sorted(names.items()) if pid == 1]
    assert tuple(tasks) == report(name).tasks
    for event in timed(name):
        if event.get("s") != "g":
            assert (event["pid"], event["tid"]) in names


def test_what_is_drawn() -> None:
    """Calls with functions inside, the wait in its function, the lock that is never given back, the failure."""
    events = timed("abba")
    slices = {event["name"]: event for event in events if event["ph"] == "X"}
    call, function = slices["fallocate PUNCH_HOLE gmem0 page 0"], slices["truncate 0"]
    wait = slices["waits for gmem0.folio[0]"]
    assert call["ts"] < function["ts"] < 22 < wait["ts"] < 23
    assert wait["ts"] + wait["dur"] == function["ts"] + function["dur"] == call["ts"] + call["dur"] == 23
    assert slices["memory_failure gmem0 page 0"]["args"]["cut off"]
    hold = slices["gmem0.invalidate_lock (exclusive)"]
    assert (hold["ts"], hold["dur"]) == (5, 23 - 5)
    assert slices["vm0.mmu_lock (exclusive)"]["dur"] == 16 - 6
    (failure,) = (event for event in events if event["cat"] == "failure")
    assert 22 < failure["ts"] < 23
    assert failure["name"] == "failure: deadlock"


def test_returns_end_functions() -> None:
    """A function's slice lasts from its entry event to its return, whose result it has."""
    (fault,) = (
        event for event in timed("recheck") if event["ph"] == "X" and event["name"].startswith("get_pfn ")
    )
    assert fault["args"]["returned"]["ret"] == 0
    made = report("recheck")
    inside = [
        step.number
        for step in made.steps
        for happening in step.happenings
        if type(happening.event).__name__ in {"GetPfn", "GetPfnRet"}
    ]
    assert int(fault["ts"]) == inside[0]
    assert int(fault["ts"] + fault["dur"]) == inside[1]


def test_wakes() -> None:
    """An arrow from the step that gave the lock back to the next step of who waited for it."""
    events = [event for event in timed("alone") if event.get("cat") == "wake"]
    made = report("alone")
    woken = [step for step in made.steps if step.woken_by]
    assert woken
    assert len(events) == 2 * len(woken)
    for step in woken:
        start, end = (event for event in events if event["id"] == step.number)
        assert (start["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
        assert end["ts"] == step.number
        assert start["ts"] < end["ts"]
        waker = made.step(start["ts"])
        assert waker is not None
        assert waker.task == step.woken_by
        assert made.tasks[start["tid"] - 1] == step.woken_by
        assert made.tasks[end["tid"] - 1] == step.task


def _returns_late(engine: Engine) -> Callable[[], object]:
    lock = Mutex("kept")

    async def fault(t: Task) -> None:
        t.call = 1
        for event in (GetPfn(1, 1), GetFolio(1), GetPfnRet(0, 7), GetPfn(2, 2)):
            if t.rec is not None:
                t.rec(t, event)
        await lock.lock(t)
        await lock.lock(t)

    engine.spawn("vcpu0", fault)
    return lambda: ""


def test_a_function_that_never_said_that_it_returns() -> None:
    """It ends with the one around it, and what is open at the end says that it was cut off."""
    program = TaskProgram("late", _returns_late)
    (found,) = search(program, Random(0), Limits(schedules=1)).found
    events: list[Event] = trace_events(report_failure(program, found, tries=0))["traceEvents"]
    outer, inner, last = (event for event in events if event.get("cat") == "function")
    assert (outer["name"], inner["name"]) == ("get_pfn gfn=0x1 index=1", "get_folio index=1")
    assert outer["ts"] < inner["ts"]
    assert inner["ts"] + inner["dur"] == outer["ts"] + outer["dur"]
    assert "cut off" not in outer["args"]
    assert last["args"]["cut off"]
