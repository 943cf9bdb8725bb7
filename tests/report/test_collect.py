"""What a report says is what the run did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from tests.explore.repairs import without_abba
from tests.report.cases import CASES
from tests.report.reports import found, report

from gmemsim.engine.cell import Cell
from gmemsim.engine.errors import TapeMismatch
from gmemsim.engine.strategy import FirstRunnable, ReplayStrategy
from gmemsim.engine.tape import Tape
from gmemsim.explore.failure import Failure
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Found
from gmemsim.patches.registry import PATCHES
from gmemsim.report import NotReproduced, report_failure
from gmemsim.report.recording import record
from gmemsim.scenarios.scenario import loads
from gmemsim.studies import operations

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task
    from gmemsim.report.model import Access, FailureReport

NAMES = sorted(CASES)


def call(made: FailureReport, task: str, number: int) -> tuple[str, str, str]:
    (one,) = (one for one in made.calls if (one.task, one.number) == (task, number))
    return one.text, one.state, one.outcome


def place(access: Access | None) -> tuple[str, str, str]:
    assert access is not None
    return access.task, access.function, access.what


# -- the run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_same_failure(name: str) -> None:
    """Rule and summary are those that the search found; every step of the run is there."""
    _, one = found(name)
    made = report(name)
    assert (made.rule, made.summary) == (one.failure.rule, one.failure.summary)
    assert made.choices == len(one.tape)
    assert [step.number for step in made.steps] == list(range(1, len(made.steps) + 1))
    assert made.moment.step in made.shown
    assert made.shown <= {step.number for step in made.steps}
    assert made.rule in made.verdict
    assert "\n" not in made.verdict
    assert made.says
    assert made.source


def test_not_reproduced() -> None:
    """A tape that shows nothing, or something else, is no ground for a report."""
    program, one = found("abba")
    assert isinstance(program, ScenarioProgram)
    other = attrs.evolve(one, failure=Failure("I2", "no page is read", "GuestTouch"))
    with pytest.raises(NotReproduced, match=r"I2 .* shows deadlock"):
        report_failure(program, other)
    repaired = attrs.evolve(program, patch=without_abba(PATCHES["v3"]))
    with pytest.raises((NotReproduced, TapeMismatch)):
        report_failure(repaired, one)


def test_steps_by_number() -> None:
    """From 1 to the last; nothing beyond."""
    made = report("livelock")
    step = made.step(750)
    assert step is not None
    assert step.number == 750
    assert made.step(0) is None
    assert made.step(801) is None


def test_long_slices_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a loop its begin and its end are shown, and always the failure."""
    whole = report("recheck")
    monkeypatch.setattr("gmemsim.report.slicing.LARGEST", 8)
    made = report_failure(*found("recheck"), tries=0)
    assert len(made.shown) < len(whole.shown)
    assert {1, 2, 41} <= made.shown


# -- the workload --------------------------------------------------------------------------------------


def test_calls() -> None:
    """As calls, with what had come of them; the setup first."""
    made = report("abba")
    assert made.calls[0].task == "setup"
    assert made.calls[0].text == "fallocate gmem0 page 0"
    assert call(made, "mce", 1) == ("memory_failure gmem0 page 0", "running", "")
    assert call(made, "punch", 1) == ("fallocate PUNCH_HOLE gmem0 page 0", "running", "")


def test_calls_of_instances_and_of_what_is_over() -> None:
    """Each instance has its own share of a range; what is done has its outcome; the unmet wish is told."""
    assert call(report("crowd"), "allocate1", 1)[0] == "fallocate gmem0 page 1"
    made = report("alone")
    assert call(made, "punch", 1) == ("fallocate gmem0 page 0", "done", "ok")
    assert call(made, "punch", 2)[1] == "running"
    made = report("unmet")
    assert call(made, "vcpu0", 1) == ("KVM_PRE_FAULT_MEMORY vm0 gfn 0x100", "failed", "EAGAIN")
    assert made.moment.task == "vcpu0"
    assert "EAGAIN" in made.moment.event


def test_calls_of_a_program_in_python() -> None:
    """There the steps tell."""
    made = report("torn")
    assert [(one.task, one.number, one.state) for one in made.calls] == [
        ("careful", 1, "done"),
        ("careful", 2, "running"),
        ("careless", 1, "done"),
    ]
    assert made.context == ()


def test_context() -> None:
    """Scenario, version and the like."""
    context = dict(report("livelock").context)
    assert context["patch"] == "baseline"
    assert context["release"] == "6.12"
    assert context["VM type"] == "sw-protected"


# -- locks ---------------------------------------------------------------------------------------------


def test_lock_state() -> None:
    """Holder, mode, since when and where; the queue in its order."""
    made = report("crowd")
    (lock,) = (state for state in made.locks if state.lock == "gmem0.invalidate_lock")
    (holder,) = lock.holders
    assert (holder.task, holder.mode, holder.function) == ("punch", "w", "kvm_gmem_punch_hole")
    taken = made.step(holder.since)
    assert taken is not None
    assert taken.task == "punch"
    assert [wait.task for wait in lock.queue] == ["allocate1", "allocate0", "mce"]
    assert {wait.mode for wait in lock.queue} == {"r"}
    for wait in lock.queue:
        slept = made.step(wait.since)
        assert slept is not None
        assert (slept.task, slept.waits_for) == (wait.task, lock.lock)


def test_lock_state_of_a_new_folio() -> None:
    """Whoever inserts a folio has it locked, without a lock event."""
    made = report("recheck")
    born = [hold for hold in made.holds if hold.lock == "gmem0.folio[0]"]
    assert born[0].task == "vcpu0"
    step = made.step(born[0].since)
    assert step is not None
    assert any(type(happening.event).__name__ == "PageCacheAdd" for happening in step.happenings)
    assert born[0].until


def test_lock_state_in_the_middle_of_a_run() -> None:
    """A failure that shows at the end but happened before: the locks are those of then."""
    made = report("unmet")
    assert made.moment.step < len(made.steps)
    assert [state.lock for state in made.locks] == ["vm0.slots_arch_lock", "vm0.slots_lock"]
    assert all(hold.until > made.moment.step for state in made.locks for hold in state.holders)


def test_srcu_sections_are_held() -> None:
    """A read section has no lock events, and is what the livelock is about."""
    (srcu,) = (state for state in report("livelock").locks if state.lock == "vm0.srcu")
    assert [hold.task for hold in srcu.holders] == ["vcpu0"]
    assert [wait.task for wait in srcu.queue] == ["deleter"]


# -- why -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["abba", "crowd"])
def test_cycle(name: str) -> None:
    """Both tasks, what they have and want, and in which kernel functions."""
    made = report(name)
    first, second = made.why.cycle
    page = "gmem0.folio[0]"
    assert place(first.took) == ("mce", "memory_failure", f"folio_lock({page})")
    assert place(first.asks) == ("mce", "kvm_gmem_error_folio", "down_read(gmem0.invalidate_lock)")
    assert place(second.took) == ("punch", "kvm_gmem_punch_hole", "down_write(gmem0.invalidate_lock)")
    assert place(second.asks) == ("punch", "filemap_get_folio", f"folio_lock({page})")
    assert (first.has, first.wants, first.holder) == (page, "gmem0.invalidate_lock", "punch")
    if name == "crowd":
        assert "allocate0, allocate1" in made.why.text


def test_cycle_through_a_queue() -> None:
    """Readers that hold shared wait behind writers that are only queued: who is in front counts as much."""
    made = report("behind")
    assert [(edge.task, edge.wants, edge.holder, edge.holds) for edge in made.why.cycle] == [
        ("reader0", "second", "writer1", False),
        ("writer1", "second", "reader1", True),
        ("reader1", "first", "writer0", False),
        ("writer0", "first", "reader0", True),
    ]
    assert [edge.took is None for edge in made.why.cycle] == [False, True, False, True]
    assert "writer1 is queued for second (w)" in made.why.text
    for state in made.locks:
        assert [hold.mode for hold in state.holders] == ["r"]
        assert [wait.mode for wait in state.queue] == ["w", "r"]


def test_no_cycle() -> None:
    """Who ended without giving the lock back is named."""
    why = report("kept").why
    assert not why.cycle
    assert "heir waits for kept" in why.text
    assert "keeper ended without giving it back" in why.text


def test_conflict() -> None:
    """The two accesses, their kernel functions, and that the passing schedule turns them round."""
    pair = report("unmet").why.conflict
    assert pair is not None
    assert pair.on == "vm0.memslots"
    assert place(pair.first) == ("deleter", "swap_active_memslots", "store vm0.memslots")
    assert place(pair.second) == ("vcpu0", "kvm_mmu_do_page_fault", "load vm0.memslots")
    assert "slot_publish: kvm_swap_active_memslots" in pair.first.mirrors
    assert pair.flips
    pair = report("recheck").why.conflict
    assert pair is not None
    assert pair.on == "vm0.seq"
    assert (pair.first.task, pair.first.function) == ("punch", "kvm_mmu_invalidate_end")
    assert pair.second.task == "vcpu0"


def test_a_crash_is_no_race() -> None:
    """It is explained by where it was raised, whatever accesses came before."""
    why = report("torn").why
    assert "raised an exception" in why.text
    assert (why.conflict, why.more) == (None, ())


@pytest.mark.parametrize("name", ["alone", "recheck", "unmet"])
def test_turned_round_means_turned_round(name: str) -> None:
    """Look for both accesses in the passing run, by counting, and compare their places."""
    made = report(name)
    program, _ = found(name)
    assert made.nearest is not None
    passing = record(program, ReplayStrategy(Tape(made.nearest.tape)), 20_000)
    looked = 0
    for pair in (made.why.conflict, *made.why.more):
        if pair is None or not pair.flips:
            continue
        places = []
        for access in (pair.first, pair.second):
            step = made.step(access.step)
            assert step is not None
            same = [s for s in made.steps if (s.task, s.call, s.op) == (step.task, step.call, step.op)]
            there = [
                s.number for s in passing.steps if (s.task, s.call, s.op) == (step.task, step.call, step.op)
            ]
            places.append(there[same.index(step)])
        assert places[0] > places[1]
        looked += 1
    assert looked


def test_livelock() -> None:
    """Who goes round and where, who waits meanwhile, and one round of it is shown."""
    made = report("livelock")
    assert "vcpu0 in kvm_mmu_faultin_pfn" in made.why.text
    assert "deleter for vm0.srcu" in made.why.text
    assert {796, 797, 798, 799, 800} <= made.shown
    assert len(made.shown) < 30


def test_functions_are_the_kernels() -> None:
    """The stack of a step, outermost first, without the machinery around it."""
    step = next(step for step in report("abba").steps if step.waits_for == "gmem0.folio[0]")
    assert step.functions == (
        "kvm_gmem_fallocate",
        "kvm_gmem_punch_hole",
        "truncate_inode_pages_range",
        "filemap_get_folio",
    )
    named = {
        function
        for step in report("abba").steps
        for happening in step.happenings
        for function in happening.functions
    }
    assert not named & {"run", "step", "point", "park", "rec", "request", "answer", "lock"}
    assert {"kvm_mmu_invalidate_start", "kvm_unmap_gfn_range"} <= named


# -- the slice -----------------------------------------------------------------------------------------


def test_steps_that_matter() -> None:
    """The reason, the choice, begin and end of calls, sleeps; not the walk through page tables."""
    made = report("recheck")
    assert made.nearest is not None
    assert made.why.conflict is not None
    wanted = {
        made.nearest.step,
        made.why.conflict.first.step,
        made.why.conflict.second.step,
        made.moment.step,
    }
    assert wanted <= made.shown
    tables = [step.number for step in made.steps if step.op.obj == "vm0.tables" and not step.preempted]
    assert tables
    assert not set(tables) & made.shown


@pytest.mark.parametrize("name", ["alone", "crowd", "recheck", "unmet"])
def test_turns_matter(name: str) -> None:
    """Wherever a task is stopped, sleeps, is woken, or a call begins or ends."""
    made = report(name)
    turns = [s.number for s in made.steps if s.call != s.then or s.waits_for or s.preempted or s.woken_by]
    assert turns
    assert set(turns) <= made.shown


def _spin(engine: Engine) -> Callable[[], object]:
    flag: Cell[bool] = Cell("flag", False)

    async def spinner(t: Task) -> None:
        t.call = 1
        while not await flag.load(t):
            pass

    async def setter(t: Task) -> None:
        await flag.store(t, True)

    engine.spawn("spinner", spinner)
    engine.spawn("setter", setter)
    return lambda: ""


def test_unfair_schedule() -> None:
    """A loop that only goes on because somebody is never chosen: the report says who."""
    program = TaskProgram("spin", _spin)
    run = record(program, FirstRunnable(), 300)
    assert run.failure is not None
    made = report_failure(program, Found(run.failure, run.engine.tape, 1, 301))
    assert "Meanwhile setter could run and was hardly ever chosen: the schedule is unfair." in made.why.text
    assert "unfair" not in report("livelock").why.text


def test_a_huge_folio_that_is_split_right_away_is_nobodys() -> None:
    """Who inserted it lets go of its lock without an event: the pages' locks have the same names."""
    cell = operations.Cell(("touch", "host write"), "hugepage", "sw-protected", huge=True)
    scenario = loads(operations.scenario_text(cell), "cell.toml")
    program = ScenarioProgram(scenario=scenario, patch="hugepage", arch="sw-protected")
    recording = record(program, FirstRunnable(), 20_000)
    assert recording.failure is None
    assert any(hold.lock == "gmem0.folio[0]" for hold in recording.holds)
    assert all(hold.until for hold in recording.holds)
