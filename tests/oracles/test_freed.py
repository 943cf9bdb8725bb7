"""Who uses an inode, a lock in it or a file after it was freed (use_after_free)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.explore.workloads import Machine, Plan
from tests.oracles.bench import Bench

from gmemsim.actors.inode import GmemInode
from gmemsim.audit.events import Contended, Lock, LockRequest, Unlock
from gmemsim.audit.kvm_events import Create, UseAfterFree
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.explore.findings.table import known
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.mainline_7_3 import Mainline73
from gmemsim.scenarios.catalogue import load_named

if TYPE_CHECKING:
    from gmemsim.actors.folio import Folio
    from gmemsim.audit.base import Event
    from gmemsim.engine.task import Task

INVALIDATE = "gmem0.invalidate_lock"


class DropsFolioLock(Mainline73):
    """Nothing keeps the file while the hook waits for a lock in its inode."""

    async def kvm_gmem_error_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        await self.folio_unlock(t, folio)
        await super().kvm_gmem_error_folio(t, inode, folio)
        await folio.lock.lock(t)


class Tries(DropsFolioLock):
    """The same with a trylock, which records no request."""

    async def kvm_gmem_error_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        await self.folio_unlock(t, folio)
        if await inode.invalidate_lock.down_read_trylock(t):
            await inode.invalidate_lock.up_read(t)
        await folio.lock.lock(t)


@pytest.mark.parametrize("patch", [DropsFolioLock, Tries])
def test_a_failure_that_lets_go_of_the_folio_uses_an_inode_that_was_evicted(patch: type[Mainline73]) -> None:
    program = ScenarioProgram(scenario=load_named("zoo-poison_close"), patch=patch, arch="sw-protected")
    result = search(program, make_strategy("preemption:1", 0), Limits(schedules=300), keep_going=True)
    failure = result.found[0].failure
    assert {(one.failure.rule, one.failure.task) for one in result.found} == {("use_after_free", "mce")}
    assert "the inode of gmem0" in failure.summary
    assert known(failure) is None


@pytest.mark.parametrize("event", [LockRequest, Contended, Lock, Unlock])
@pytest.mark.parametrize("lock", ["invalidate_lock", "i_mmap_rwsem"])
def test_each_way_to_use_a_lock_of_an_inode(event: type[Lock], lock: str) -> None:
    label = f"gmem0.{lock}"
    alive = Bench()
    assert "use_after_free" not in alive(event(label, "r"))
    gone = Bench()
    gone.oracles.ledger.kind(label)
    gone.machine.run(Plan([("close", 0)]))
    assert gone.rest() == set()  # the eviction itself is no use
    assert gone(event(label, "r")) == {"use_after_free"}


def test_the_file_that_has_the_label_now_is_another_one() -> None:
    """Only who holds the lock of the new file may come with its label."""
    bench = Bench()
    bench.oracles.ledger.kind(INVALIDATE)
    bench.machine.run(Plan([("close", 0)]))
    new = bench.machine.world.inodes["gmem0"] = GmemInode("gmem0", 2, frozenset())
    assert bench(Create("gmem0", 8192, "", 0)) == set()
    new.invalidate_lock.take_write(bench.b)
    assert bench(LockRequest(INVALIDATE, "w"), Lock(INVALIDATE, "w"), by=bench.b) == set()
    assert bench(Unlock(INVALIDATE, "w"), by=bench.b) == set()
    assert bench(Unlock(INVALIDATE, "r")) == {"use_after_free"}


@pytest.mark.parametrize("what", ["the inode of gmem0", "the file gmem0@vm0"])
def test_the_failure_says_what_was_used(what: str) -> None:
    bench = Bench()
    bench(UseAfterFree(what, -1))
    [found] = bench.oracles.violations
    assert found.summary == f"a uses {what} after it was freed"


def test_what_reads_the_inode_or_the_file_without_a_lock() -> None:
    """A list of files that was copied before the release leads to the file."""
    machine = Machine(Mainline73, "private", pages=1)
    inode, file = machine.inode, machine.files[0]
    machine.run(Plan([("close", 0)]))
    kernel = machine.kernel
    events: list[Event] = []
    engine = Engine(rec=lambda _, event: events.append(event))

    async def late(t: Task) -> None:
        await kernel.kvm_gmem_invalidate_start(t, inode, 0, 1, "private")
        await kernel.kvm_gmem_invalidate_end(t, inode, 0, 1)
        await kernel.filemap_get_folio(t, inode, 0, create=False)
        await kernel.kvm_gmem_file_invalidate_start(t, file, 0, 1, "private")
        await kernel.kvm_gmem_file_invalidate_end(t, file, 0, 1)

    engine.spawn("late", late)
    bare.run(engine)
    used = [event.what for event in events if isinstance(event, UseAfterFree)]
    assert used == ["the inode of gmem0"] * 3 + ["the file gmem0@vm0"] * 2
