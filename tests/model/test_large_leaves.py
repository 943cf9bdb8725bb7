"""Stage-2 leaves above 4 KiB: which level a fault maps, how leaves meet, what a zap takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.model.large_rig import BASE, HUGE, PAGE, LargeRig

from gmemsim.actors.errno import ENOMEM
from gmemsim.actors.fault import RetPf
from gmemsim.actors.stage2 import Spte, Stage2
from gmemsim.arch.memory import data
from gmemsim.arch.sw_protected import SwProtected
from gmemsim.arch.tdx import Tdx
from gmemsim.audit.kvm_events import Map, TlbFlush
from gmemsim.engine.strategy import RandomStrategy

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

GIB = 1 << 18


def test_a_fault_maps_the_whole_huge_page() -> None:
    """One leaf from the aligned gfn on; every gfn in it is translated, and only those."""
    rig = LargeRig()
    rig.call(rig.touch(HUGE + 7, data("a")))
    assert rig.leaves() == [(HUGE, 2)]
    assert [event.level for event in rig.only(Map)] == [2]
    rig.call(rig.touch(2 * HUGE - 1, data("b")))
    assert not rig.only(Map), "the second page needs no fault"
    folio = rig.inode.folios.get(HUGE)
    assert folio is not None
    spte = rig.vm.stage2.find(BASE + HUGE + 9, True)
    assert spte is not None
    assert spte.pfn == folio.pfn + 9
    assert rig.vm.stage2.find(BASE + HUGE - 1, True) is None
    assert rig.memory.read(folio.pfn + 7) == data("a")
    assert rig.memory.read(folio.pfn + HUGE - 1) == data("b")


@pytest.mark.parametrize(
    ("base", "pages", "offset", "page"),
    [
        (BASE + 1, 2 * HUGE, 0, HUGE + 7),  # gfn and file index not congruent
        (BASE, 2 * HUGE - 1, 0, HUGE + 7),  # the tail of the huge page is not in the slot
        (BASE + 8, 2 * HUGE - 8, 8, 7),  # the head is not
    ],
)
def test_slots_that_allow_4k_only(base: int, pages: int, offset: int, page: int) -> None:
    """Alignment and edges of the slot (`lpage_info`)."""
    rig = LargeRig(base=base, pages=pages, file_pages=2 * HUGE, offset=offset)
    rig.call(rig.touch(page))
    assert rig.leaves() == [(page, 1)]


def test_an_unaligned_slot_with_congruent_offset_maps_large_inside() -> None:
    """Only the cut huge page is mapped small."""
    rig = LargeRig(base=BASE + 8, pages=2 * HUGE - 8, file_pages=2 * HUGE, offset=8)
    rig.call(rig.touch(HUGE))
    assert rig.leaves() == [(HUGE - 8, 2)]


class Limited(SwProtected):
    """An arch with an opinion."""

    limit = 2

    async def max_mapping_level(
        self, t: Any, vm: Any, gfn: int, pfn: int, private: bool, prefetch: bool
    ) -> int:
        return self.limit


def test_1g_and_how_it_is_split_level_by_level() -> None:
    """A 1 GiB leaf; then the arch allows 2 MiB, then 4 KiB only: no frame changes, only the grain."""
    rig = LargeRig(pages=GIB, size="HUGETLB_1G")
    rig.vm.arch = Limited(rig.memory)
    rig.arch.limit = 3
    rig.call(rig.touch(5))
    assert rig.leaves() == [(0, 3)]
    before = {page: rig.frame(page) for page in (0, 5, 600, GIB - 1)}

    def fault(t: Task) -> Any:
        return rig.kernel.kvm_mmu_do_page_fault(t, rig.vm.vcpus[0], BASE + 5, None)

    for limit, levels in ((2, {2}), (1, {1, 2})):
        rig.arch.limit = limit
        rig.call(fault)
        assert {level for _, level in rig.leaves()} == levels
        assert before == {page: rig.frame(page) for page in before}
    assert len(rig.leaves()) == HUGE - 1 + HUGE
    assert not rig.only(TlbFlush), "the translation is the same either way"


def test_a_table_is_replaced_by_a_leaf() -> None:
    """512 small leaves below a table, then the level allowed goes up: the table goes with all of them, and a flush."""
    rig = LargeRig()
    rig.vm.arch = Limited(rig.memory)
    rig.arch.limit = 1
    for page in (0, 3):
        rig.call(rig.touch(page))
    assert rig.leaves() == [(0, 1), (3, 1)]
    rig.arch.limit = 2
    rig.call(rig.touch(7))
    assert rig.leaves() == [(0, 2)]
    assert len(rig.only(TlbFlush)) == 1
    assert (2, BASE >> 9) not in rig.vm.stage2.tables(True)


def test_a_zap_takes_a_cut_leaf_whole() -> None:
    """Neighbours fault again, and find what they wrote."""
    rig = LargeRig()
    for page in (3, 4, HUGE):
        rig.call(rig.touch(page, data(f"{page}")))
    assert rig.leaves() == [(0, 2), (HUGE, 2)]
    assert rig.call(rig.convert(3, 4, False)).ret == 0
    assert rig.leaves() == [(HUGE, 2)]
    seen = rig.call(rig.touch(4))
    assert (seen.value, seen.faults) == (data("4"), 1)
    assert (4, 1) in rig.leaves(), "split folio: mapped small from now on"


def test_prefault_advances_by_the_mapping() -> None:
    """One step a huge page, from its middle to its end (guest-memfd.md 4.6 rule d)."""
    rig = LargeRig(pages=4 * HUGE)

    def prefault(t: Task) -> Any:
        gpa = (BASE + 5) * PAGE
        return rig.kernel.kvm_vcpu_pre_fault_memory(t, rig.vm.vcpus[0], gpa, 2 * HUGE * PAGE)

    assert rig.call(prefault) == (0, (BASE + 5 + 2 * HUGE) * PAGE, 0)
    assert [event.gfn - BASE for event in rig.only(Map)] == [5, HUGE, 2 * HUGE]
    assert rig.leaves() == [(0, 2), (HUGE, 2), (2 * HUGE, 2)]


@pytest.mark.parametrize("limits", [(1, 2), (2, 1), (2, 2)])
def test_two_vcpus_at_different_levels(limits: tuple[int, int]) -> None:
    """Whatever the order, nothing stands below a leaf, and every gfn that was touched is translated right."""

    class PerTask(Limited):
        async def max_mapping_level(
            self, t: Any, vm: Any, gfn: int, pfn: int, private: bool, prefetch: bool
        ) -> int:
            return limits[int(t.name[1:])]

    seen = set()
    for seed in range(60):
        rig = LargeRig()
        rig.vm.arch = PerTask(rig.memory)
        done = rig.run(
            rig.touch(3, data("a")), rig.touch(4, data("b"), vcpu=1), strategy=RandomStrategy(seed)
        )
        assert [result.kind for result in done] == ["ok", "ok"]
        leaves = rig.leaves()
        seen.add(tuple(leaves[:2]))
        if any(level == 2 for _, level in leaves):
            assert leaves == [(0, 2)]
        folio = rig.inode.folios.get(0)
        assert folio is not None
        for page in (3, 4):
            spte = rig.vm.stage2.find(BASE + page, True)
            assert spte is None or spte.pfn == folio.pfn + page
    if limits != (2, 2):
        assert len(seen) > 1


class Mirror(SwProtected):
    """Private mappings in a table of their own, whose every change the arch hears of."""

    mirror_root = True

    def __init__(self, memory: Any) -> None:
        super().__init__(memory)
        self.heard: list[tuple[Any, ...]] = []
        self.fail = 0

    async def set_spte(self, t: Any, vm: Any, gfn: int, pfn: int, private: bool, level: int = 1) -> int:
        self.heard.append(("set", gfn - BASE, level))
        return 0

    async def remove_sptes(self, t: Any, vm: Any, leaves: list[tuple[int, int]], level: int = 1) -> None:
        self.heard += [("remove", gfn - BASE, level) for gfn, _ in leaves]

    async def split_spte(self, t: Any, vm: Any, gfn: int, pfn: int, level: int) -> int:
        self.heard.append(("split", gfn - BASE, level))
        return self.fail


@pytest.mark.parametrize("what", ["convert", "punch"])
def test_a_mirror_root_is_split_before_the_zap(what: str) -> None:
    """Exactly the range is removed; the neighbours stay mapped, in 4 KiB."""
    rig = LargeRig("hugepage", kind=Mirror)
    for page in (3, HUGE):
        rig.call(rig.touch(page))
    rig.arch.heard.clear()
    if what == "convert":
        assert rig.call(rig.convert(3, 5, False)).ret == 0
    else:
        assert rig.call(lambda t: rig.kernel.kvm_gmem_punch_hole(t, rig.inode, 3, 5)) == 0
    assert rig.arch.heard == [("split", 0, 2), ("remove", 3, 1), ("remove", 4, 1)]
    assert len(rig.leaves()) == HUGE - 2 + 1


def test_a_range_that_cuts_two_leaves_splits_both_and_removes_whole_ones_whole() -> None:
    rig = LargeRig(kind=Mirror, pages=3 * HUGE)
    for page in (0, HUGE, 2 * HUGE):
        rig.call(rig.touch(page))
    rig.arch.heard.clear()
    assert rig.call(rig.convert(HUGE - 1, 2 * HUGE + 1, False)).ret == 0
    assert rig.arch.heard == [
        ("split", 0, 2), ("split", 2 * HUGE, 2),
        ("remove", HUGE - 1, 1), ("remove", HUGE, 2), ("remove", 2 * HUGE, 1),
    ]  # fmt: skip


def test_a_split_that_fails_changes_nothing() -> None:
    """-ENOMEM to the caller, with every mapping and attribute as it was; and the next call succeeds."""
    rig = LargeRig(kind=Mirror)
    rig.call(rig.touch(3, data("kept")))
    rig.arch.fail = ENOMEM
    done = rig.call(rig.convert(3, 4, False))
    assert (done.ret, done.error_index) == (ENOMEM, 3)
    assert rig.leaves() == [(0, 2)]
    assert rig.inode.attributes is not None
    assert rig.inode.attributes.uniform(0, 2 * HUGE, True)
    assert rig.vm.in_progress == 0
    rig.arch.fail = 0
    assert rig.call(rig.convert(3, 4, False)).ret == 0


def test_a_mirror_root_neither_splits_in_a_fault_nor_merges() -> None:
    """A fault below a large leaf takes that; a fault above a table maps below it."""
    rig = LargeRig(kind=Mirror)
    rig.call(rig.touch(3))
    fault = rig.kernel.kvm_mmu_do_page_fault

    class Small(Mirror):
        async def max_mapping_level(self, *_: Any) -> int:
            return 1

    large, small = rig.arch, Small(rig.memory)
    rig.vm.arch = small
    assert rig.call(lambda t: fault(t, rig.vm.vcpus[0], BASE + 4, True)) == RetPf.SPURIOUS
    assert rig.leaves() == [(0, 2)]
    rig.call(lambda t: fault(t, rig.vm.vcpus[0], BASE + HUGE, True))
    rig.vm.arch = large
    rig.call(lambda t: fault(t, rig.vm.vcpus[0], BASE + HUGE + 1, True))
    assert rig.leaves() == [(0, 2), (HUGE, 1), (HUGE + 1, 1)]


class SmallTdx(Tdx):
    """TDX that maps single pages, and whose hooks know no level."""

    async def max_mapping_level(self, *_: Any) -> int:
        return 1

    async def set_spte(self, t: Any, vm: Any, gfn: int, pfn: int, private: bool) -> int:  # type: ignore[override]
        return await super().set_spte(t, vm, gfn, pfn, private)


def test_an_arch_of_single_pages() -> None:
    """Huge folios are mapped in 4 KiB."""
    rig = LargeRig(kind=SmallTdx)
    assert rig.call(rig.accept(3)).value == "accepted"
    assert rig.call(rig.touch(3, data("x"))).kind == "ok"
    assert rig.leaves() == [(3, 1)]
    assert rig.call(rig.convert(3, 4, False)).ret == 0
    assert rig.leaves() == []


def test_find_without_large_leaves_looks_at_one_entry() -> None:
    """The flag that guards the look-up goes up with the first large leaf, and down when the roots go."""
    tables = Stage2("s", False)
    tables.root(True)[0] = Spte(64, 1, True, None)
    assert tables.find(1, True) is None
    tables.root(True)[512] = Spte(1024, 2, True, None)
    assert tables.find(513, True) is None
    tables.large = True
    assert tables.find(513, True) == Spte(1025, 2, True, None)
    assert tables.find(1, True) is None
    tables.clear()
    assert not tables.large
