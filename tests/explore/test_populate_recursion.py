"""Population that faults its own page: alone under the exclusive lock, and shared with a writer in the queue.

Why a populate callback must not call get_pfn once faults take the invalidate lock (guest-memfd.md 6 rule 7): exclusive,
shared by the same task is a deadlock by itself; shared then shared is one as soon as a writer has queued in between
(rwsem.md N5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.explore.judges.deadlock import WaitFor
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, SearchResult, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.inplace import Inplace
from gmemsim.scenarios.scenario import loads

if TYPE_CHECKING:
    from gmemsim.actors.folio import Folio
    from gmemsim.actors.inode import GmemFile
    from gmemsim.actors.kernel import Kernel
    from gmemsim.actors.memslot import Memslot
    from gmemsim.actors.vm import Vm
    from gmemsim.arch.base import Content
    from gmemsim.engine.task import Task

HEAD = """
[scenario]
name = "populate"
summary = "A launch page is added"
question = "Does it end?"
vm_types = ["snp"]

[[vm]]
id = "vm0"

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
gfn = 0x100

[setup]
finalize = false

[[task]]
name = "launch"
ops = [{ op = "populate", source = "image" }]
"""

WRITER = """
[[task]]
name = "writer"
ops = [{ op = "punch" }]
"""


class FaultsItsPage(Inplace):
    """The callback asks guest_memfd for the page that it was given."""

    async def post_populate(self, t: Task, vm: Vm, gfn: int, folio: Folio, content: Content) -> int:
        slot = vm.slot_of(gfn)
        assert slot is not None
        ret, _ = await self.kvm_gmem_get_pfn(t, vm, slot, gfn)
        return ret


class FaultsItsPageShared(FaultsItsPage):
    """And population takes the invalidate lock shared, so that this works as long as nobody writes."""

    async def kvm_gmem_populate_one(
        self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, content: str | None
    ) -> int:
        lock = file.inode.invalidate_lock
        await lock.downgrade_write(t)
        ret = await super().kvm_gmem_populate_one(t, vm, slot, file, gfn, content)
        await lock.up_read(t)
        await lock.down_write(t)
        return ret


def searched(patch: type[Kernel], text: str) -> SearchResult:
    program = ScenarioProgram(scenario=loads(text), patch=patch, arch="snp", rules=frozenset())
    return search(program, make_strategy("pos", 0), Limits(schedules=300))


@pytest.mark.parametrize("text", [HEAD, HEAD + WRITER])
def test_as_it_is(text: str) -> None:
    assert not searched(Inplace, text).found


def test_exclusive_then_shared_is_a_deadlock_of_one() -> None:
    (found,) = searched(FaultsItsPage, HEAD).found
    assert found.schedule == 1
    assert found.failure.rule == "deadlock"
    stuck = found.failure.details["wait_for"]
    assert isinstance(stuck, WaitFor)
    assert [(edge.task, edge.on, edge.mode, edge.behind) for edge in stuck.edges] == [
        ("launch", "gmem0.invalidate_lock", "r", "launch")
    ]


def test_shared_then_shared_needs_a_writer_between() -> None:
    assert not searched(FaultsItsPageShared, HEAD).found
    (found,) = searched(FaultsItsPageShared, HEAD + WRITER).found
    assert found.failure.rule == "deadlock"
    stuck = found.failure.details["wait_for"]
    waits = {(edge.task, edge.mode, edge.behind, edge.as_holder) for edge in stuck.edges}
    # The writer waits for the first hold, the second hold for its place in the queue.
    assert ("writer", "w", "launch", True) in waits
    assert ("launch", "r", "writer", False) in waits
