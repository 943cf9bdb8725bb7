"""The state machine finds nothing in v3, and a planted bug in a few rules."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from gmemsim.engine.errors import Deadlock
from gmemsim.engine.op import Op
from gmemsim.engine.task import Task
from gmemsim.engine.unawaited import NeverAwaited
from gmemsim.oracles.violation import Violation
from gmemsim.patches.user_file import PatchError
from gmemsim.patches.v3 import V3
from gmemsim.testing import GmemMachine, loads

SETTINGS = settings(
    deadline=None,
    max_examples=30,
    stateful_step_count=12,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


class NoRecheck(V3):
    """The fault maps what it found, whatever happened meanwhile."""

    def mmu_invalidate_retry_gfn(self, vm: object, seq: int, gfn: int) -> bool:
        return False

    async def mmu_invalidate_retry_gfn_unsafe(self, t: object, vm: object, seq: int, gfn: int) -> bool:
        return False


#: One vCPU that touches, one thread that punches: as little as the race needs.
TINY = loads(
    """
    [scenario]
    name = "tiny"
    summary = "A touch and a punch"
    [[file]]
    id = "gmem0"
    pages = 1
    [[slot]]
    file = "gmem0"
    [[task]]
    role = "vcpu"
    ops = [{ op = "touch" }]
    [[task]]
    name = "host"
    ops = [{ op = "punch" }]
    """
)


class Tiny(GmemMachine):
    patch: ClassVar[type[V3]] = NoRecheck
    scenario = TINY


@pytest.mark.parametrize("patch", ["baseline", "v3"])
def test_nothing_is_wrong(patch: str) -> None:
    class Fine(GmemMachine):
        pass

    Fine.patch = patch
    run_state_machine_as_test(Fine, settings=SETTINGS)


def test_a_race_is_found_and_printed_as_rules() -> None:
    with pytest.raises(Violation, match="I18") as failure:
        run_state_machine_as_test(Tiny, settings=settings(SETTINGS, max_examples=150, stateful_step_count=4))
    notes = "\n".join(failure.value.__notes__)
    assert 2 <= notes.count("state.begin(") <= 3
    assert 1 <= notes.count("state.step(") <= 3


class NotAwaited(V3):
    async def kvm_gmem_make_ready(self, t: Any, vm: Any, inode: Any, folio: Any, gfn: Any) -> int:
        self.kvm_gmem_clear_folio(t, inode, folio, 1)  # type: ignore[unused-coroutine] # on purpose
        return await super().kvm_gmem_make_ready(t, vm, inode, folio, gfn)


class Counts(V3):
    made: ClassVar[list[int]] = []

    async def kvm_gmem_make_ready(self, t: Any, vm: Any, inode: Any, folio: Any, gfn: Any) -> int:
        self.made.append(gfn)
        return await super().kvm_gmem_make_ready(t, vm, inode, folio, gfn)


@pytest.mark.parametrize(
    ("patch", "error", "text"),
    [
        (NotAwaited, NeverAwaited, "kvm_gmem_clear_folio is called without await"),
        (Counts, PatchError, r"Counts\.made was changed by a run"),
    ],
)
def test_what_every_command_asks_of_a_patch(patch: type[V3], error: type[Exception], text: str) -> None:
    class Machine(GmemMachine):
        scenario = TINY

    Machine.patch = patch
    with pytest.raises(error, match=text):
        run_state_machine_as_test(Machine, settings=SETTINGS)


def by_hand(before: int) -> None:
    """The fault takes some steps, then the punch comes to its end, then the fault."""
    machine = Tiny()
    machine.begin(thread=0, operation=0)
    machine.step(thread=0, steps=before)
    machine.begin(thread=-1, operation=0)
    try:
        machine.step(thread=-1, steps=100)
    finally:
        machine.teardown()


def test_rules_are_the_schedule() -> None:
    """Only a punch between the look and the map is missed."""
    failed = []
    rules = set()
    for before in range(1, 40):
        try:
            by_hand(before)
        except Violation as violation:
            rules.add(violation.rule)
            failed.append(before)
    assert rules == {"I18"}
    assert 1 <= len(failed) <= 20
    assert failed == list(range(failed[0], failed[-1] + 1))
    assert failed[0] > 5


def test_a_thread_that_waits_for_ever_is_a_deadlock() -> None:
    class Stuck(V3):
        async def kvm_gmem_punch_hole(self, t: Task, inode: object, start: int, end: int) -> int:
            await t.park(Never(), Op("wait", "never"))
            return 0

    class Machine(Tiny):
        patch = Stuck

    machine = Machine()
    machine.begin(thread=1, operation=0)
    with pytest.raises(Deadlock, match="host waits for never held by nobody"):
        machine.teardown()
    assert all(task.handle.cr_frame is None for task in machine.session.tasks.values())


class Never:
    """What nobody wakes."""

    label = "never"

    def holders(self) -> list[str]:
        return ["nobody"]
