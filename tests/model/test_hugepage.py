"""Huge folios: pool, clearing, split and merge, holes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.model.inplace_rig import InplaceRig
from tests.model.rig import PAGE

from gmemsim.actors.errno import EAGAIN, EINVAL, ENOMEM
from gmemsim.arch.memory import STALE, ZERO, data
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import Deadlock
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.patches.hugepage import Hugepage
from gmemsim.patches.hugepage_mutex import HugepageMutex

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

HUGE = 512
GIB = 1 << 18


class HugeRig(InplaceRig):
    """Two huge pages, private, mapped by the host."""

    order = 9

    def add_vm(self, *args: Any, **options: Any) -> Any:
        self.flags = frozenset({*self.flags, "HUGETLB", {9: "HUGETLB_2M", 18: "HUGETLB_1G"}[self.order]})
        return super().add_vm(*args, **options)

    @property
    def huge(self) -> Hugepage:
        assert isinstance(self.kernel, Hugepage)
        return self.kernel

    @property
    def used(self) -> int:
        return self.huge.subpools["gmem0"].used

    def orders(self) -> dict[int, int]:
        cache = self.huge.huge_cache(self.inode)
        assert cache is not None
        return {0: 0, self.order: 0, **cache.orders()}

    def poke(self, page: int, write: bool = True) -> None:
        self.call(lambda t: self.access(t, 0, 0, page, write))

    def punch(self, start: int, end: int) -> Any:
        return self.call(lambda t: self.kernel.kvm_gmem_punch_hole(t, self.inode, start, end))


class GibRig(HugeRig):
    """The same with pages of 1 GiB."""

    order = 18


def rig(kernel: type[Hugepage] = Hugepage, kind: str = "private") -> HugeRig:
    return HugeRig(kernel, kind, pages=2 * HUGE)


@pytest.mark.parametrize(
    ("size", "flags", "ret"),
    [
        (HUGE, {"HUGETLB", "HUGETLB_2M"}, None),
        (HUGE + 1, {"HUGETLB"}, EINVAL),
        (1, {"HUGETLB"}, EINVAL),
        (HUGE, {"HUGETLB_2M"}, EINVAL),
        (HUGE * ((1 << 20) - 1), {"HUGETLB"}, ENOMEM),
        (GIB, {"HUGETLB", "HUGETLB_1G"}, None),
        (GIB + HUGE, {"HUGETLB", "HUGETLB_1G"}, EINVAL),
        (GIB * (1 << 11), {"HUGETLB", "HUGETLB_1G"}, None),
        (GIB * ((1 << 11) + 1), {"HUGETLB", "HUGETLB_1G"}, ENOMEM),
        (GIB, {"HUGETLB", "HUGETLB_1G", "HUGETLB_2M"}, EINVAL),
        (GIB, {"HUGETLB_1G"}, EINVAL),
        (1, set(), None),
    ],
)
def test_create(size: int, flags: set[str], ret: int | None) -> None:
    """Whole huge pages, reserved at once; the rig's own file has two of them."""
    machine = rig()
    made = machine.call(
        lambda t: machine.kernel.kvm_gmem_create(t, machine.vm, "g", size * PAGE, frozenset(flags))
    )
    assert (made if isinstance(made, int) else None) == ret


def test_a_touch_takes_one_huge_page_and_clears_all_of_it() -> None:
    """One entry in the page cache, whichever index is touched; every page is clean."""
    machine = rig()
    machine.poke(HUGE + 7)
    (folio,) = machine.inode.folios.values()
    assert (folio.index, folio.order, folio.ref, machine.used) == (HUGE, 9, HUGE, 1)
    assert machine.memory.read(folio.pfn + 7) == data("guest")
    assert {machine.memory.read(folio.pfn + page) for page in range(HUGE) if page != 7} == {ZERO}
    machine.poke(HUGE + 8)
    assert len(machine.inode.folios) == 1


def test_only_page_zero_cleared_leaves_stale_data() -> None:
    """Clearing one page while the flag speaks for the whole folio shows in what the guest can read."""

    class FirstOnly(Hugepage):
        def pages_to_clear(self, folio: Any) -> int:
            return 1

    machine = rig(FirstOnly)
    machine.poke(3, write=False)
    (folio,) = machine.inode.folios.values()
    assert machine.memory.read(folio.pfn + 3) == STALE


@pytest.mark.parametrize("kind", ["private", "snp"])
def test_split_and_merge(kind: str) -> None:
    """One shared page splits its huge range only; the range is one folio again when none is shared."""
    machine = rig(kind=kind)
    machine.poke(0)
    machine.poke(HUGE)
    assert machine.orders() == {0: 0, 9: 2}
    assert machine.to(False, 5, 6).ret == 0
    assert machine.orders() == {0: HUGE, 9: 1}
    assert machine.call(machine.host(5, data("host"))) == data("host")
    assert machine.to(False, 9, 10).ret == 0
    assert machine.to(True, 5, 6).ret == 0
    assert machine.orders() == {0: HUGE, 9: 1}
    assert machine.to(True, 9, 10).ret == 0
    assert machine.orders() == {0: 0, 9: 2}
    assert machine.used == 2
    assert not machine.huge.subpools["gmem0"].stash


def test_a_page_of_a_shared_range_is_split_right_away() -> None:
    """Allocation into a range with a shared page; no host access meets a huge folio."""
    machine = rig()
    assert machine.to(False, 5, 6).ret == 0
    assert machine.call(machine.host(5)) == ZERO
    assert machine.orders() == {0: HUGE, 9: 0}


@pytest.mark.parametrize("point", ["huge_vmemmap", "huge_stash", "huge_insert"])
def test_a_failed_split_is_undone(point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two splits fails: the first range is merged again, and nothing is shared."""
    from gmemsim.engine.task import Task

    machine = rig()
    machine.poke(0)
    machine.poke(HUGE)
    asked: list[str] = []

    def fault(self: Task, name: str) -> bool:
        asked.append(name)
        return name == point and asked.count(point) == 2

    monkeypatch.setattr(Task, "fault", fault)
    done = machine.to(False)
    assert done.ret == ENOMEM
    assert machine.orders() == {0: 0, 9: 2}
    assert machine.kinds == [(0, 2 * HUGE, True)]


def test_a_folio_that_cannot_be_split_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's fault fails, and the pool has its huge page back; the next one succeeds."""
    from gmemsim.engine.task import Task

    machine = rig()
    assert machine.to(False, 5, 6).ret == 0
    with monkeypatch.context() as patched:
        patched.setattr(Task, "fault", lambda self, name: name == "huge_stash")
        assert machine.call(machine.host(5)) == "oom"
    assert not machine.inode.folios
    assert machine.used == 0
    assert machine.call(machine.host(5)) == ZERO


def test_holes() -> None:
    """A whole huge page goes back to the pool; a part of one is only zeroed."""
    machine = rig()
    machine.poke(0)
    machine.poke(1)
    machine.poke(HUGE)
    assert machine.punch(1, 2 * HUGE) == 0
    (folio,) = machine.inode.folios.values()
    assert (folio.index, machine.used) == (0, 1)
    assert machine.memory.read(folio.pfn) == data("guest")
    assert machine.memory.read(folio.pfn + 1) == ZERO


def test_a_pinned_page_stops_the_hole() -> None:
    """-EAGAIN, and the pool gets the huge page back when the last of its pages has come back."""
    machine = rig()
    assert machine.to(False, 5, 6).ret == 0
    mapping = machine.mappings[0]
    folio = machine.call(lambda t: machine.kernel.pin_user_page(t, mapping, 5))
    assert machine.punch(0, HUGE) == EAGAIN
    assert machine.used == 1

    async def unpin(t: Task) -> None:
        await machine.kernel.unpin_user_page(t, machine.inode, folio)

    machine.call(unpin)
    assert machine.punch(0, HUGE) == 0
    assert machine.used == 0
    assert not machine.inode.folios


def test_a_file_of_a_tebibyte_costs_nothing_untouched() -> None:
    """Only what is touched has folios, frames and contents."""
    machine = HugeRig(Hugepage, "private", pages=(1 << 40) // PAGE)
    machine.poke((1 << 28) - 1)
    assert len(machine.inode.folios) == 1
    assert machine.memory.in_use == HUGE


@pytest.mark.parametrize(("patch", "hangs"), [(Hugepage, True), (HugepageMutex, False)])
def test_two_who_allocate_in_one_shared_huge_page(patch: type[Hugepage], hangs: bool) -> None:
    """A look-up between insertion and split keeps the split from freezing; the mutex closes that window."""
    found = 0
    for seed in range(12):
        machine = rig(patch)
        assert machine.to(False, 5, 7).ret == 0
        engine = Engine(RandomStrategy(seed))
        engine.spawn("h5", machine.host(5))
        engine.spawn("h6", machine.host(6))
        try:
            bare.run(engine)
        except Deadlock as error:
            found += "hugetlb.freeze" in str(error)
        else:
            assert machine.orders() == {0: HUGE, 9: 0}
            assert machine.used == 1
    assert (found > 0) == hangs


def test_a_gibibyte_is_split_for_one_page_and_merged_again() -> None:
    """262,144 small folios, of which only those that somebody looked at are objects; contents survive both ways."""
    machine = GibRig(Hugepage, "private", pages=2 * GIB)
    machine.poke(7)
    assert machine.orders() == {0: 0, 18: 1}
    assert machine.to(False, GIB - 1, GIB).ret == 0
    assert machine.orders() == {0: GIB, 18: 0}
    assert len(machine.inode.folios) == 0
    assert machine.call(machine.host(GIB - 1, data("host"))) == data("host")
    assert len(machine.inode.folios) == 1
    assert machine.to(True, GIB - 1, GIB).ret == 0
    assert machine.orders() == {0: 0, 18: 1}
    (folio,) = machine.inode.folios.values()
    assert folio.uptodate
    assert machine.memory.read(folio.pfn + 7) == data("guest")
    assert machine.memory.read(folio.pfn + GIB - 1) == data("host")
    assert machine.memory.huge.pieces <= 5
    assert machine.punch(0, GIB) == 0
    assert machine.used == 0
    assert machine.memory.in_use == 0


def test_a_pin_in_a_split_gibibyte() -> None:
    """The reference check passes untouched pages as ranges and stops at the pinned one."""
    machine = GibRig(Hugepage, "private", pages=GIB)
    assert machine.to(False).ret == 0
    folio = machine.call(lambda t: machine.kernel.pin_user_page(t, machine.mappings[0], 100))
    assert machine.to(True) == (EAGAIN, 100)
    machine.call(lambda t: machine.kernel.unpin_user_page(t, machine.inode, folio))
    assert machine.to(True).ret == 0
    assert machine.orders() == {0: 0, 18: 1}


def test_allocation_goes_from_folio_to_folio() -> None:
    """fallocate over 2 GiB takes two huge pages, and a split one is not looked at page by page."""
    machine = GibRig(Hugepage, "private", pages=2 * GIB)
    assert machine.to(False, 5, 6).ret == 0
    assert machine.call(lambda t: machine.kernel.kvm_gmem_allocate(t, machine.inode, 0, 2 * GIB)) == 0
    assert machine.orders() == {0: GIB, 18: 1}
    assert len(machine.inode.folios) <= 2


def test_a_split_file_that_goes_away_gives_its_pages_back() -> None:
    """The inode's truncation queues pages of a split folio; the worker gives the huge page back when all came."""
    machine = GibRig(Hugepage, "private", pages=2 * GIB)
    machine.poke(GIB + 3)
    assert machine.to(False, 5, 6).ret == 0
    assert machine.call(machine.host(5)) == ZERO
    pool = machine.huge.subpools["gmem0"]
    machine.call(lambda t: machine.kernel.evict_inode(t, machine.inode, machine.vm))
    assert (pool.used, pool.stash, machine.memory.in_use) == (0, {}, 0)
    assert not machine.huge.huge_frames
