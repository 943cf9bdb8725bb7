"""Fields that claim a lock, and plain memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from gmemsim.engine.cell import Cell
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.explore.judges.races import CLAIMS, Access, Claim, GuardedBy, HappensBefore
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Limits, Observer, SearchResult, search
from gmemsim.explore.strategies.dfs import DepthFirst
from gmemsim.patches.registry import PATCHES
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.scenario import loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.actors.folio import Folio
    from gmemsim.actors.inode import GmemInode
    from gmemsim.actors.kernel import Kernel
    from gmemsim.actors.vm import Vm
    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task


class AtRandom(RandomStrategy):
    """Uniform."""

    name: ClassVar[str] = "at random"
    summary: ClassVar[str] = ""
    complete = False
    bound = ""


def every(setup: Callable[[Engine], None], observer: Observer) -> SearchResult:
    def program(engine: Engine) -> Callable[[], object]:
        setup(engine)
        return str

    return search(TaskProgram("x", program), DepthFirst(), observers=[observer], keep_going=True)


# -- plain memory --------------------------------------------------------------------------------------------


def two_writers(lock_both: bool) -> Callable[[Engine], None]:
    def setup(engine: Engine) -> None:
        cell, lock = Cell("plain", 0), Mutex("lock")

        async def body(t: Task, guarded: bool) -> None:
            if guarded:
                await lock.lock(t)
            await cell.store(t, 1)
            if guarded:
                await lock.unlock(t)

        engine.spawn("a", body, True)
        engine.spawn("b", body, lock_both)

    return setup


def test_lock_orders_plain_accesses() -> None:
    assert not every(two_writers(True), HappensBefore(["plain"])).found


def test_unordered_plain_accesses_are_a_race() -> None:
    (found,) = every(two_writers(False), HappensBefore(["plain"])).found
    assert found.failure.rule == "race"
    first, second = found.failure.details["accesses"]
    assert isinstance(first, Access)
    assert {first.task, second.task} == {"a", "b"}
    assert first.step < second.step


def test_atomic_accesses_are_no_race() -> None:
    assert not every(two_writers(False), HappensBefore([])).found


def test_two_readers_are_no_race() -> None:
    def setup(engine: Engine) -> None:
        cell = Cell("plain", 0)

        async def body(t: Task) -> None:
            await cell.load(t)

        engine.spawn("a", body)
        engine.spawn("b", body)

    assert not every(setup, HappensBefore(["plain"])).found


@pytest.mark.parametrize(("flag_is_read", "races"), [(True, False), (False, True)])
def test_flag_publishes_what_was_written_before(flag_is_read: bool, races: bool) -> None:
    """Message passing: the reader looks at the data only once it has seen the flag."""

    def setup(engine: Engine) -> None:
        payload, flag = Cell("plain", 0), Cell("flag", 0)

        async def write(t: Task) -> None:
            await payload.store(t, 1)
            await flag.store(t, 1)

        async def read(t: Task) -> None:
            if not flag_is_read or await flag.load(t):
                await payload.load(t)

        engine.spawn("write", write)
        engine.spawn("read", read)

    assert bool(every(setup, HappensBefore(["plain"])).found) is races


# -- claims ----------------------------------------------------------------------------------------------------

SHARED = (Claim("count", "sem", "r", "w", "test"),)


@pytest.mark.parametrize(
    ("mode", "write", "fine"), [("", False, False), ("r", False, True), ("r", True, False), ("w", True, True)]
)
def test_claim_needs_the_mode(mode: str, write: bool, fine: bool) -> None:
    """One task alone shows it: nobody has to be near."""

    def setup(engine: Engine) -> None:
        cell, sem = Cell("count", 0), RwSem("sem")

        async def body(t: Task) -> None:
            if mode == "r":
                await sem.down_read(t)
            elif mode == "w":
                await sem.down_write(t)
            await (cell.store(t, 1) if write else cell.load(t))
            if mode == "r":
                await sem.up_read(t)
            elif mode == "w":
                await sem.up_write(t)

        engine.spawn("a", body)

    result = every(setup, GuardedBy(SHARED))
    assert [found.failure.rule for found in result.found] == ([] if fine else ["guarded_by"])


def test_claim_names_the_other_access() -> None:
    def setup(engine: Engine) -> None:
        cell, sem = Cell("count", 0), RwSem("sem")

        async def good(t: Task) -> None:
            await sem.down_write(t)
            await cell.store(t, 1)
            await sem.up_write(t)

        async def bad(t: Task) -> None:
            await cell.load(t)
            await cell.store(t, 1)

        engine.spawn("good", good)
        engine.spawn("bad", bad)

    result = every(setup, GuardedBy([Claim("count", "sem", None, "w", "test")]))
    (found,) = result.found
    assert [access.task for access in found.failure.details["accesses"]] in (["bad"], ["good", "bad"])


TEXT = """
[scenario]
name = "claims"
summary = "for tests of the claims"
question = "who holds what?"

[[vm]]
id = "vm0"

[[file]]
id = "gmem0"
pages = 2

[[slot]]
file = "gmem0"
gfn = 0x1000

[[task]]
role = "vcpu"
instances = 2
ops = [{ op = "write", value = "x" }, { op = "prefault" }]

[[task]]
name = "vmm"
ops = [{ op = "convert", private = false }, { op = "punch" }, { op = "unbind", slot = 0 }]
"""


def run(kernel: type[Kernel] | str, seeds: int, text: str = TEXT) -> set[str]:
    program = ScenarioProgram(scenario=loads(text), patch=kernel, arch="sw-protected")
    rules: set[str] = set()
    for seed in range(seeds):
        result = search(program, AtRandom(seed), Limits(schedules=1), observers=[GuardedBy()])
        rules |= {found.failure.rule for found in result.found}
    return rules


@pytest.mark.parametrize("patch", sorted(PATCHES))
def test_versions_keep_their_claims(patch: str) -> None:
    assert not run(patch, 12)


class ConvertsUnlocked(V3):
    """Never takes slots_lock."""

    async def kvm_vm_set_mem_attributes(self, t: Task, vm: Vm, start: int, end: int, private: bool) -> int:
        await self._change(t, vm, start, end, private)
        return 0


class ClearsUnlocked(V3):
    """Clears a folio whose lock it gave up."""

    async def kvm_gmem_clear_folio(self, t: Task, inode: GmemInode, folio: Folio, pages: int) -> None:
        await self.folio_unlock(t, folio)
        await super().kvm_gmem_clear_folio(t, inode, folio, pages)
        await folio.lock.lock(t)


class StartsUnlocked(V3):
    """Begins an invalidation before it takes mmu_lock."""

    async def kvm_mmu_invalidate_start(self, t: Task, vm: Vm, notifier: bool = False) -> None:
        await vm.mmu_lock.write_unlock(t)
        await super().kvm_mmu_invalidate_start(t, vm, notifier)
        await vm.mmu_lock.write_lock(t)


@pytest.mark.parametrize("kernel", [ConvertsUnlocked, ClearsUnlocked, StartsUnlocked])
def test_kernel_that_breaks_a_claim(kernel: type[Kernel]) -> None:
    """The very first run shows it, and nothing else is seen before it."""
    assert run(kernel, 1, TEXT.replace(', { op = "unbind", slot = 0 }', "")) == {"guarded_by"}


def test_every_claim_says_where_it_is_made() -> None:
    assert all(claim.source for claim in CLAIMS)
    assert len({(claim.kind, claim.of_inode) for claim in CLAIMS}) == len(CLAIMS)
