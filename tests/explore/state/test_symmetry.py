"""States that differ only in which of several tasks that do the same is where are looked at once, and rightly so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.engine.interrupts import TimeUp
from gmemsim.engine.op import Op
from gmemsim.explore import campaign
from gmemsim.explore.campaign import Campaign, run_campaign
from gmemsim.explore.clock import OutOfTime
from gmemsim.explore.exchanges import AsksWho, compare, must_be_alike
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.state.coroutines import supported
from gmemsim.explore.state.symmetry import Renaming, alike, renamings
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import build
from gmemsim.studies.operations import Cell, scenario_text

if TYPE_CHECKING:
    from gmemsim.actors.inode import GmemInode
    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task
    from gmemsim.explore.runs import Run

needs_restoring = pytest.mark.skipif(
    not supported(), reason="coroutines cannot be put back on this interpreter"
)

TWO = """
[scenario]
name = "two"
summary = "two tasks"
question = "Are they alike?"
[[vm]]
id = "vm0"
[[file]]
id = "gmem0"
pages = 2
[[slot]]
id = 0
file = "gmem0"
gfn = 0x10000
"""


def tasks(*rows: str) -> str:
    """Tasks `t0`, `t1`, … with these lines."""
    return TWO + "".join(f'[[task]]\nname = "t{number}"\n{row}\n' for number, row in enumerate(rows))


def program(names: tuple[str, ...], patch: str | type[V3] = "v3", arch: str = "snp") -> ScenarioProgram:
    text = scenario_text(Cell(names, "v3", arch))
    return ScenarioProgram(scenario=loads(text, "cell.toml"), patch=patch, arch=arch, small=False)


PUNCH = 'ops = [{ op = "punch" }]'


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        (tasks(PUNCH, PUNCH), (("t0", "t1"),)),
        (tasks(PUNCH, 'ops = [{ op = "allocate" }]', PUNCH, PUNCH), (("t0", "t2", "t3"),)),
        (tasks(PUNCH + "\ninstances = 2"), (("t00", "t01"),)),
        (tasks(PUNCH, 'ops = [{ op = "punch", start = 1, count = 1 }]'), ()),
        (tasks(PUNCH, PUNCH + "\nrepeat = 2"), ()),
        (tasks(PUNCH, PUNCH, 'ops = [{ op = "signal", task = "t0" }]'), ()),
        (tasks(*['ops = [{ op = "punch", slice = true }]'] * 2), ()),
        (tasks(*['ops = [{ op = "punch", chunk = 1, pick = "random" }]'] * 2), ()),
        (TWO + '[[task]]\nrole = "vcpu"\ninstances = 2\nops = [{ op = "touch" }]', ()),
    ],
    ids=["two", "three", "instances", "pages", "rounds", "signalled", "slices", "random", "vCPUs"],
)
def test_who_is_alike(text: str, groups: tuple[tuple[str, ...], ...]) -> None:
    assert alike(build(loads(text, "two.toml"), "v3").workload) == groups


def test_a_text_is_renamed_as_a_whole() -> None:
    renaming = Renaming({"t0": "t1", "t1": "t0"}, {0: 1, 1: 0})
    fields = ["task 1 t1 ready", "'t0'", "task 0", "former task 0", "('t0.t1', 't01', 0)", "task 2 t2 parked"]
    wanted = ["task 0 t0 ready", "'t1'", "task 1", "former task 0", "('t1.t0', 't01', 0)", "task 2 t2 parked"]
    assert renaming.text("\x1f".join(fields)) == "\x1f".join(wanted)
    assert renaming.text("\x1f".join(wanted)) == "\x1f".join(fields)
    assert renaming.rank(("task", "00000001")) == ("task", "00000000")
    assert renaming.rank(("str", "'t0'")) == ("str", "'t1'")
    assert renaming.order(3) == [1, 0, 2]


def test_all_ways_to_exchange_tasks() -> None:
    numbers = {f"t{number}": number for number in range(6)}
    orders = {tuple(one.order(4)) for one in renamings([("t0", "t1", "t3")], numbers)}
    assert orders == {(1, 0, 2, 3), (0, 3, 2, 1), (3, 1, 2, 0), (1, 3, 2, 0), (3, 0, 2, 1)}
    assert len(renamings([("t0", "t1"), ("t2", "t3")], numbers)) == 3
    assert not renamings([("t0", "t9")], numbers)
    assert not renamings([tuple(numbers)], numbers), (
        "720 readings of each state would cost more than they save"
    )


@needs_restoring
@pytest.mark.parametrize(
    ("names", "arch"),
    [
        (("close", "close", "delete slot"), "snp"),
        (("make slot", "make slot", "delete slot"), "tdx"),
        (("allocate", "close", "close"), "sw-protected"),
        (("close", "close", "close"), "sw-protected"),
    ],
)
def test_states_that_are_taken_for_one_have_the_same_steps(names: tuple[str, ...], arch: str) -> None:
    done = compare(program(names, arch=arch), 4_000)
    assert done.result.complete
    assert done.alike
    assert not done.unlike
    result = search(program(names, arch=arch), Stateful(3), Limits(schedules=None), keep_going=True)
    assert (result.states, result.exchanged) == (done.left, done.alike)
    assert {one.sort for one in result.found} == {one.sort for one in done.result.found}
    assert done.left < 0.65 * done.states


class LooksAtNames(V3):
    """Its first task takes a step more than the others."""

    async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        done = await super().kvm_gmem_punch_hole(t, inode, start, end)
        if t.name == "t0":
            await t.point(Op("load", "name", mode="r"))
        return done


@needs_restoring
def test_a_patch_that_looks_at_names_is_seen() -> None:
    done = compare(program(("punch", "punch"), LooksAtNames, "sw-protected"))
    assert done.alike
    assert done.unlike


@needs_restoring
def test_a_campaign_refuses_such_a_patch() -> None:
    plan = Campaign(program=program(("punch", "punch", "delete slot"), LooksAtNames), strategy="stateful:3")
    with pytest.raises(AsksWho, match=r"\(t0, t1\), but a schedule comes to other states"):
        run_campaign(plan)


class Spins(V3):
    """Whoever punches after the first waits for ever, and sees it."""

    busy = False

    async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        while self.busy:
            await t.point(Op("load", "busy", mode="r"))
        self.busy = True
        return await super().kvm_gmem_punch_hole(t, inode, start, end)


@needs_restoring
def test_the_look_at_a_patch_ends_where_it_goes_round() -> None:
    cell = program(("punch", "punch"), Spins, "sw-protected")
    engines: list[Engine] = []

    class Counted:
        name = cell.name

        def build(self, strategy: Any, **options: Any) -> Run:
            run = cell.build(strategy, **options)
            engines.append(run.engine)
            return run

    must_be_alike(Counted(), Limits(steps=3_000))
    assert 200 < max(engine.steps for engine in engines) < 1_000
    result = search(cell, Stateful(3), Limits(schedules=None))
    assert [one.failure.rule for one in result.found] == ["livelock"]


@needs_restoring
def test_the_look_at_a_patch_ends_in_time() -> None:
    cell = program(("punch", "punch", "delete slot"))
    with pytest.raises(OutOfTime):
        must_be_alike(cell, Limits(seconds=0.0))
    result = run_campaign(Campaign(program=cell, strategy="stateful:3", limits=Limits(seconds=0.0))).search
    assert (result.stopped, result.complete, result.schedules) == ("seconds", False, 0)


@pytest.mark.parametrize(
    ("stop", "stopped"), [(TimeUp(9.0), "seconds"), (KeyboardInterrupt(), "interrupted")]
)
def test_the_look_at_a_patch_can_be_interrupted(
    monkeypatch: pytest.MonkeyPatch, stop: KeyboardInterrupt, stopped: str
) -> None:
    def interrupted(*_: object) -> None:
        raise stop

    monkeypatch.setattr(campaign, "must_be_alike", interrupted)
    plan = Campaign(program=program(("punch", "punch")), strategy="stateful:3")
    result = run_campaign(plan).search
    assert (result.stopped, result.complete, result.schedules) == (stopped, False, 0)


@needs_restoring
def test_outcomes_are_not_collected() -> None:
    with pytest.raises(ValueError, match="leaves out outcomes"):
        search(program(("close", "close")), Stateful(3), collect_outcomes=True)


@needs_restoring
def test_a_deadlock_of_two_that_are_alike_is_found() -> None:
    cell = program(("punch", "memory failure", "memory failure"), arch="sw-protected")
    result = search(cell, Stateful(3), Limits(schedules=None, states=2_000))
    assert [one.sort for one in result.found] == [
        ("deadlock", "folio invalidate_lock", "memory-failure-against-punch")
    ]
