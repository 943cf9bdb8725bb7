"""What is gathered of a run that failed: operations, functions, edges; by searches, replays and reports alike."""

from __future__ import annotations

from gmemsim.engine.strategy import ReplayStrategy
from gmemsim.explore.judges.livelock import judge
from gmemsim.explore.measure import attempt
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.scene import Party
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.report import report_failure
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.scenario import loads

PUNCH = ScenarioProgram(scenario=load_named("zoo-poison_punch"), patch="v3", arch="sw-protected")

#: A vCPU goes on and tries for ever, since the invalidation of the other two never ends.
SPINS = """
[scenario]
name = "spins"
summary = "A vCPU beside a deadlock"
question = "What is the rest of the run?"

[[vm]]
id = "vm0"

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
gfn = 0x10000

[setup]
ops = [{ op = "allocate" }]

[[task]]
role = "vcpu"
ops = [{ op = "touch" }]

[[task]]
name = "mce"
ops = [{ op = "memory_failure" }]

[[task]]
name = "hole"
ops = [{ op = "punch" }]
"""


def test_who_was_where() -> None:
    (found,) = search(PUNCH, make_strategy("pos", 0), Limits(schedules=50)).found
    scene = found.failure.scene
    assert scene is not None
    assert (scene.version, scene.release, scene.vm_types) == ("v3", "7.2", ("sw-protected",))
    error, punch = scene.parties
    assert (error.task, error.operation, error.before) == ("mce", "memory_failure", ("allocate",))
    assert error.functions[-1] == "kvm_gmem_error_folio"
    assert (punch.task, punch.operation, punch.before) == ("punch", "punch", ())
    assert "truncate_inode_pages_range" in punch.functions
    assert {(edge.task, edge.behind) for edge in scene.waits} == {("mce", "punch"), ("punch", "mce")}


def test_a_replay_and_a_report_see_the_same() -> None:
    (found,) = search(PUNCH, make_strategy("pos", 0), Limits(schedules=50)).found
    again = attempt(PUNCH, ReplayStrategy(found.tape)).failure
    assert again is not None
    assert again.scene == found.failure.scene
    report = report_failure(PUNCH, found, tries=0)
    assert report.known is not None
    assert report.known.ident == "memory-failure-against-punch"


def test_a_task_that_raised_is_on_no_stack_any_more() -> None:
    program = ScenarioProgram(scenario=load_named("zoo-slot_delete_kind"), patch="inplace", arch="snp")
    (found,) = search(program, make_strategy("random", 0), Limits(schedules=150)).found
    scene = found.failure.scene
    assert scene is not None
    (guilty,) = (party for party in scene.parties if party.task == found.failure.task)
    assert guilty.operation == "touch"
    assert guilty.functions[-1] == "kvm_tdp_mmu_map"


def test_of_a_livelock_the_fair_turns_are_looked_at() -> None:
    program = ScenarioProgram(scenario=loads(SPINS), patch="v3", arch="sw-protected")
    found = search(
        program, make_strategy("pos", 0), Limits(schedules=200, steps=2_000), keep_going=True, judge=judge
    ).found
    stuck = [one.failure for one in found if one.failure.scene is not None]
    assert stuck
    for failure in stuck:
        assert failure.scene is not None
        operations = {party.task: party.operation for party in failure.scene.parties}
        assert operations["mce"] == "memory_failure"
        assert operations["hole"] == "punch"


def test_a_program_in_python_has_tasks_and_no_operations() -> None:
    from gmemsim.engine.locks.mutex import Mutex
    from gmemsim.explore.program import TaskProgram

    def setup(engine):  # type: ignore[no-untyped-def]
        one, two = Mutex("one"), Mutex("two")

        async def both(t, first, second):  # type: ignore[no-untyped-def]
            await first.lock(t)
            await second.lock(t)
            await second.unlock(t)
            await first.unlock(t)

        engine.spawn("a", both, one, two)
        engine.spawn("b", both, two, one)
        return str

    (found,) = search(TaskProgram("abba", setup), make_strategy("dfs", 0), Limits(schedules=50)).found
    scene = found.failure.scene
    assert scene is not None
    assert scene.version == ""
    assert [attrs_of(party) for party in scene.parties] == [("a", ""), ("b", "")]
    assert len(scene.waits) == 2


def attrs_of(party: Party) -> tuple[str, str]:
    return party.task, party.operation
