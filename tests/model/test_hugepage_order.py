"""Huge folios: the order of steps of a conversion and of a hole, what an error undoes, and the worker that merges."""

from __future__ import annotations

from typing import Any

import pytest
from tests.model.rig import BASE, names, only
from tests.model.test_hugepage import HUGE, HugeRig, rig

from gmemsim.actors.errno import EAGAIN, EINVAL, ENOMEM
from gmemsim.audit.huge_events import HugeMerge, HugePagesPut, HugeRefCheck, HugeSplit
from gmemsim.audit.inplace_events import GmemAttrStore, MakeShared, RefCheck
from gmemsim.audit.kvm_events import (
    FreePage,
    InvEnd,
    InvStart,
    MmuInvEnd,
    PageCacheDelete,
    TlbFlush,
    UnmapHost,
    Zap,
)
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.task import Task
from gmemsim.patches.hugepage import Hugepage
from gmemsim.patches.hugepage_mutex import HugepageMutex


def test_to_shared_goes_step_by_step() -> None:
    """The whole huge page waits, the exact range is zapped, attributes come before structure."""
    machine = rig()
    machine.poke(5)
    assert machine.to(False, 5, 7).ret == 0
    found = names(machine.events, InvStart, Zap, TlbFlush, MakeShared, GmemAttrStore, HugeSplit, InvEnd)
    assert found == ["InvStart", "Zap", "TlbFlush", "MakeShared", "GmemAttrStore", "HugeSplit", "InvEnd"]
    (start,) = only(machine.events, InvStart)
    (zap,) = only(machine.events, Zap)
    (made,) = only(machine.events, MakeShared)
    assert (start.start, start.end) == (0, HUGE)
    assert (zap.start, zap.end, zap.filter) == (BASE + 5, BASE + 7, "private")
    assert made.pages == 2


def test_to_private_goes_step_by_step() -> None:
    """Host mappings and references are looked at inside the invalidation; merge comes last."""
    machine = rig()
    machine.poke(5)
    assert machine.to(False, 5, 7).ret == 0
    machine.call(machine.host(5))
    assert machine.to(True, 5, 7).ret == 0
    found = names(
        machine.events, InvStart, UnmapHost, RefCheck, HugeRefCheck, Zap, GmemAttrStore, HugeMerge, InvEnd
    )
    assert found == [
        "InvStart",
        "UnmapHost",
        "RefCheck",
        "HugeRefCheck",
        "Zap",
        "GmemAttrStore",
        "HugeMerge",
        "InvEnd",
    ]


def test_a_failed_conversion_bumps_the_sequence() -> None:
    """Unlike E: the invalidation had begun when a pin was found; nothing was stored."""
    machine = rig()
    assert machine.to(False, 5, 7).ret == 0
    machine.call(lambda t: machine.kernel.pin_user_page(t, machine.mappings[0], 6))
    seq = machine.vm.seq
    assert machine.to(True, 5, 7) == (EAGAIN, 6)
    assert machine.vm.seq == seq + 1
    assert (machine.vm.in_progress, len(only(machine.events, MmuInvEnd))) == (0, 1)
    assert not only(machine.events, GmemAttrStore, HugeMerge)
    assert machine.kinds == [(0, 5, True), (5, 7, False), (7, 2 * HUGE, True)]


def test_what_is_converted_already_is_left_out() -> None:
    """One work item a sub-range of the other kind; none, no events."""
    machine = rig()
    assert machine.to(False, 4, 6).ret == 0
    assert machine.to(False, 0, 10).ret == 0
    assert [(e.start, e.end) for e in only(machine.events, GmemAttrStore)] == [(0, 4), (6, 10)]
    assert len(only(machine.events, MmuInvEnd)) == 2
    assert machine.to(False, 0, 10).ret == 0
    assert not only(machine.events, InvStart, GmemAttrStore)


@pytest.mark.parametrize(("private", "point"), [(False, "huge_insert"), (True, "huge_merge")])
def test_an_error_undoes_all_items(private: bool, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two huge pages of which the second cannot be restructured: attributes and structure are as before."""
    machine = rig()
    machine.poke(0)
    machine.poke(HUGE)
    if private:
        assert machine.to(False, HUGE - 2, HUGE - 1).ret == 0
        assert machine.to(False, HUGE + 1, HUGE + 2).ret == 0
    before, orders = machine.kinds, machine.orders()
    asked: list[str] = []

    def fault(self: Task, name: str) -> bool:
        asked.append(name)
        return name == point and asked.count(point) == 2

    monkeypatch.setattr(Task, "fault", fault)
    assert machine.to(private).ret == ENOMEM
    assert machine.kinds == before
    assert machine.orders() == orders
    assert machine.vm.in_progress == 0


def test_a_hole_over_a_shared_huge_page_merges_it_first() -> None:
    """Zap, unmap, references, merge, and only then one folio leaves and goes back to the pool at once."""
    machine = rig()
    assert machine.to(False, 5, 7).ret == 0
    machine.call(machine.host(5))
    assert machine.punch(0, HUGE) == 0
    found = names(machine.events, InvStart, UnmapHost, RefCheck, HugeMerge, PageCacheDelete, FreePage, InvEnd)
    assert found == [
        "InvStart",
        "UnmapHost",
        "RefCheck",
        "HugeMerge",
        "PageCacheDelete",
        "FreePage",
        "InvEnd",
    ]
    assert machine.used == 0


def test_holes_of_the_later_version() -> None:
    """A part of a huge page is -EINVAL; a pinned page does not stop the hole, only the pool waits for it."""
    machine = rig(HugepageMutex)
    assert machine.to(False, 5, 7).ret == 0
    folio = machine.call(lambda t: machine.kernel.pin_user_page(t, machine.mappings[0], 5))
    assert machine.punch(0, 5) == EINVAL
    assert machine.punch(0, HUGE) == 0
    assert not only(machine.events, HugeMerge)
    assert not machine.inode.folios
    assert machine.used == 1
    machine.call(lambda t: machine.kernel.unpin_user_page(t, machine.inode, folio))
    assert names(machine.events, HugePagesPut, FreePage) == ["HugePagesPut", "FreePage"]
    assert machine.used == 0


class Prefers:
    """Runs the first task, or the last, whenever it can."""

    def __init__(self, last: bool) -> None:
        self.last = last

    def begin(self, engine: Engine) -> bool:
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        return runnable[-1 if self.last else 0]

    def draw(self, task: Task, label: str, bound: int) -> int:
        return 0


@pytest.mark.parametrize(
    ("patch", "worker_first", "result"),
    [(Hugepage, False, "zero"), (HugepageMutex, False, "oom"), (HugepageMutex, True, "zero")],
)
def test_the_pool_lags_behind_a_hole(patch: type[Hugepage], worker_first: bool, result: str) -> None:
    """Q13: merged before the hole the huge page is there at once; by the worker it may be missed by who comes first."""
    machine = HugeRig(patch, "private", pages=HUGE)
    assert machine.to(False, 5, 7).ret == 0
    machine.call(machine.host(5))

    async def both(t: Task) -> str:
        assert await machine.kernel.kvm_gmem_punch_hole(t, machine.inode, 0, HUGE) == 0
        found = await machine.host(5)(t)
        assert isinstance(found, str)
        return found

    engine = Engine(Prefers(worker_first))
    task = engine.spawn("t", both)
    bare.run(engine)
    assert task.result == result
    assert machine.used == (result == "zero")
    assert not machine.huge.subpools["gmem0"].stash or result == "zero"


def test_neighbours_in_the_huge_page_retry() -> None:
    """While one page is converted, a fault on another page of its huge page cannot be installed."""
    machine = rig()
    machine.poke(HUGE)
    seen: list[bool] = []

    def look(task: Task, event: Any) -> None:
        if isinstance(event, GmemAttrStore):
            seen.append(machine.kernel.mmu_invalidate_retry_gfn(machine.vm, machine.vm.seq, BASE + HUGE - 1))
            seen.append(machine.kernel.mmu_invalidate_retry_gfn(machine.vm, machine.vm.seq, BASE + HUGE))

    machine.recorders.append(look)
    assert machine.to(False, 5, 6).ret == 0
    assert seen == [True, False]


@pytest.mark.parametrize(("patch", "ret"), [(Hugepage, EAGAIN), (HugepageMutex, 0)])
def test_poison_in_a_split_huge_page(patch: type[Hugepage], ret: int) -> None:
    """Its extra reference stops the hole that merges first; the other goes through, and the pool stays short."""
    machine = rig(patch)
    assert machine.to(False, 5, 7).ret == 0
    machine.call(machine.host(5))
    machine.call(lambda t: machine.kernel.memory_failure(t, machine.inode, 5))
    assert machine.punch(0, HUGE) == ret
    assert machine.used == 1
    assert (5 in machine.inode.folios) == (ret != 0)
