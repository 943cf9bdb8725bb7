"""Checks by hand that no kernel of the other tests would tell apart from a check that looks elsewhere.

Each has the event that breaks the rule, and beside it the event that looks like it and does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.explore.mutants import MUTANTS
from tests.explore.workloads import BASE, Plan
from tests.model.inplace_rig import InplaceRig
from tests.model.test_hugepage import HUGE, HugeRig
from tests.oracles.bench import MMU, Bench

from gmemsim.actors.errno import EAGAIN, ENOMEM
from gmemsim.audit.events import Lock, Unlock
from gmemsim.audit.huge_events import HugePagesPut
from gmemsim.audit.inplace_events import GmemAttrStore, GmemSetAttributes, GmemSetAttributesRet, RefCheck
from gmemsim.audit.kvm_events import (
    Bind,
    FilemapAdd,
    FreePage,
    GetFolio,
    GetFolioRet,
    GetPfn,
    GuestTouch,
    HostTouch,
    Map,
    MapRet,
    PageCacheDelete,
    Pin,
    Prepare,
)
from gmemsim.patches.hugepage import Hugepage
from gmemsim.patches.inplace import Inplace

if TYPE_CHECKING:
    from gmemsim.actors.huge_pool import Subpool

READY = Plan([("prefault", 0, 0, 0, 1)])
MAPPED = Plan([("access", 0, 0, 0, False)])
TOUCHED = Plan([("touch", 0, 0, True)])


# -- stage-2 mappings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ret", "broken"), [(5, {"I19"}), (1, set())])
def test_a_fault_maps_a_folio_that_left(ret: int, broken: set[str]) -> None:
    bench = Bench(plan=READY)
    bench(MMU)
    bench.oracles.ledger.of(bench.a).fault = (BASE, bench.folio.pfn)
    bench.oracles.ledger.lives[bench.folio.pfn].cached = False
    assert bench(MapRet(ret)) == broken


def test_a_folio_leaves_while_a_guest_maps_it() -> None:
    bench = Bench(plan=MAPPED)
    assert bench(PageCacheDelete(0, bench.folio.pfn, 0)) == {"I19"}


def test_a_folio_leaves_while_the_host_maps_it() -> None:
    bench = Bench("shared", plan=TOUCHED)
    assert bench(PageCacheDelete(0, bench.folio.pfn, 0)) == {"I19"}


def test_mmu_lock_counts_while_it_is_held() -> None:
    bench = Bench(plan=READY)
    bench.oracles.ledger.of(bench.a).fault = (BASE, bench.folio.pfn)
    assert bench(MMU, Lock("psp.spin", "w"), Unlock("psp.spin", "w"), MapRet(5)) == set()
    assert bench(Unlock("vm0.mmu_lock", "w"), MapRet(5)) == {"I18"}


# -- bindings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ret", "broken"), [(0, {"I12", "I13"}), (-17, set())])
def test_a_bind_that_stores_another_range(ret: int, broken: set[str]) -> None:
    bench = Bench()
    file = bench.machine.files[0]
    [slot] = file.bindings.values()
    slot.bound_end += 1
    assert bench(Bind(file.label, slot.ident, slot.bound_start, slot.bound_end, ret)) == broken


# -- references ------------------------------------------------------------------------------------------


def test_a_pin_without_a_reference() -> None:
    bench = Bench("shared", plan=TOUCHED)
    bench.folio.pins += 1
    assert bench.rest() == set()  # nobody touched it
    bench(Pin(0, bench.folio.pfn))
    assert bench.rest() == {"I8"}


@pytest.mark.parametrize(("extra", "broken"), [(0, set()), (1, {"I10"})])
def test_a_fault_that_maps_a_pinned_page(extra: int, broken: set[str]) -> None:
    bench = Bench(machine=InplaceRig(Inplace, "private", shared=True), plan=TOUCHED)
    bench.folio.pins += 1
    bench.folio.ref += 1 + extra
    assert bench(Map(BASE, bench.folio.pfn, 1)) == broken


# -- dirty pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("write", "broken"), [(True, {"I49"}), (False, set())])
def test_a_page_that_the_host_wrote_becomes_clean(write: bool, broken: set[str]) -> None:
    bench = Bench("shared", plan=TOUCHED)
    bench(HostTouch(0, write, "data:host"))
    bench.folio.dirty = False
    assert bench.rest() == broken


# -- conversion in place ---------------------------------------------------------------------------------


def converting(*, private: bool = False) -> Bench:
    """A conversion of index 1 has begun, with the invalidate lock held."""
    bench = Bench(machine=InplaceRig(Inplace, "private", shared=private))
    label = bench.machine.files[0].label
    bench(GmemSetAttributes(label, 1, 2, private), Lock("gmem0.invalidate_lock", "w"))
    return bench


@pytest.mark.parametrize(
    ("store", "broken"),
    [
        (GmemAttrStore("gmem0", 1, 2, False), set()),
        (GmemAttrStore("gmem0", 0, 2, False), {"I27"}),
        (GmemAttrStore("gmem0", 1, 3, False), {"I27"}),
        (GmemAttrStore("gmem0", 1, 2, True), {"I27"}),
    ],
)
def test_a_conversion_stores_what_it_was_asked_for(store: GmemAttrStore, broken: set[str]) -> None:
    assert converting()(store) == broken


def test_a_conversion_stores_in_another_file() -> None:
    bench = converting()
    assert bench(Lock("gmem1.invalidate_lock", "w"), GmemAttrStore("gmem1", 1, 2, False)) == {"I27"}


@pytest.mark.parametrize(("stored", "broken"), [(True, {"I27"}), (False, set())])
def test_a_conversion_that_fails_has_stored_nothing(stored: bool, broken: set[str]) -> None:
    bench = converting()
    bench(*[GmemAttrStore("gmem0", 1, 2, False)] * stored)
    assert bench(GmemSetAttributesRet(ENOMEM, 0)) == broken
    assert bench(GmemSetAttributesRet(0, 0)) == broken  # and of no call at all nothing is said


def test_somebody_is_to_blame_for_the_last_check_only() -> None:
    """-EAGAIN after a check that found nobody; not if a later check was content."""
    bench = converting(private=True)
    bench.machine.do(lambda t: bench.machine.touch(t, 0, 1, False))
    folio = bench.machine.inode.folios[1]
    refused, content = (RefCheck(1, folio.pfn, folio.ref, ok) for ok in (False, True))
    folio.mapcount, folio.ref = 0, 1
    assert bench(refused, content, GmemSetAttributesRet(EAGAIN, 1)) == set()
    label = bench.machine.files[0].label
    assert bench(GmemSetAttributes(label, 1, 2, True), refused, GmemSetAttributesRet(EAGAIN, 1)) == {"I51"}


def test_minus_eagain_names_the_page_that_is_in_use() -> None:
    bench = converting(private=True)
    bench.machine.do(lambda t: bench.machine.touch(t, 0, 1, False))
    folio = bench.machine.inode.folios[1]
    folio.pins = 1
    bench(RefCheck(1, folio.pfn, folio.ref, False))
    assert bench(GmemSetAttributesRet(EAGAIN, 2)) == {"I51"}
    bench = converting(private=True)
    folio = bench.machine.inode.folios.get(1) or folio
    bench(RefCheck(1, folio.pfn, folio.ref, False))
    assert bench(GmemSetAttributesRet(EAGAIN, 1)) == set()


@pytest.mark.parametrize(
    ("at_check", "lets_go", "broken"),
    [(1, False, {"I25"}), (0, False, set()), (0, True, {"I25"})],
)
def test_a_reference_counts_at_the_check(at_check: int, lets_go: bool, broken: set[str]) -> None:
    """soft_offline_page takes one whenever it comes; a conversion that has begun to zap goes on (I26)."""
    bench = converting(private=True)
    bench.machine.do(lambda t: bench.machine.touch(t, 0, 1, False))
    folio = bench.machine.inode.folios[1]
    known = folio.pages + bench.machine.kernel.lru_references(folio)
    # The check holds one itself.
    folio.mapcount, folio.ref = 0, known + 1 + at_check
    found = bench(RefCheck(1, folio.pfn, folio.ref - 1, True))
    folio.ref = known + 1
    if lets_go:
        bench(Unlock("gmem0.invalidate_lock", "w"), Lock("gmem0.invalidate_lock", "w"))
    assert found | bench(GmemAttrStore("gmem0", 1, 2, True)) == broken


# -- huge folios -----------------------------------------------------------------------------------------


def huge() -> tuple[Bench, Subpool, int]:
    """A huge page is in the page cache: its file's pool of two, and its first frame."""
    rig = HugeRig(Hugepage, "private", pages=2 * HUGE)
    rig.poke(0)
    return Bench(machine=rig), rig.huge.subpools["gmem0"], next(iter(rig.huge.huge_frames))


@pytest.mark.parametrize(("back", "broken"), [(True, set()), (False, {"I45"})])
def test_no_more_huge_pages_are_out_than_were_reserved(back: bool, broken: set[str]) -> None:
    bench, pool, first = huge()
    others = [first + HUGE, first + 2 * HUGE]
    bench.machine.kernel.huge_frames |= dict.fromkeys(others, pool)  # type: ignore[attr-defined]
    assert bench(FilemapAdd(HUGE, others[0])) == set()
    bench(*[FreePage(others[0])] * back)
    assert bench(FilemapAdd(HUGE, others[1])) & {"I45"} == broken


@pytest.mark.parametrize(
    ("back", "known", "broken"), [(5, True, set()), (HUGE, True, {"I44"}), (5, False, {"I44"})]
)
def test_a_stash_entry_without_a_split_range(back: int, known: bool, broken: set[str]) -> None:
    """Fine while pages have yet to come back, and while the huge page is one that is in use."""
    bench, pool, first = huge()
    other = first + HUGE
    pool.stash[other] = back
    if known:
        bench.machine.kernel.huge_frames[other] = pool  # type: ignore[attr-defined]
        bench(FilemapAdd(HUGE, other), HugePagesPut(other, back))
        bench.oracles.ledger.lives.pop(other, None)
    bench.oracles.finish()
    assert {violation.rule for violation in bench.oracles.violations} == broken


def test_a_page_of_a_split_range_has_an_account_once_it_is_looked_up() -> None:
    rig = HugeRig(Hugepage, "private", pages=2 * HUGE)
    rig.poke(0)
    rig.to(False, 3, 4)
    bench = Bench(machine=rig)
    pfn = rig.inode.folios[3].pfn
    lives = bench.oracles.ledger.lives
    lives.pop(pfn, None)
    bench(GetFolio(3), GetFolioRet(pfn))
    assert lives[pfn].folio is rig.inode.folios[3]


# -- slots -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "pfn", "broken"),
    [(True, 0x77, set()), (True, 0x78, {"I52"}), (False, 0x78, set())],
)
def test_shared_memory_is_the_slot_s_own(user: bool, pfn: int, broken: set[str]) -> None:
    """What the guest reaches at a shared gfn is the user memory of its slot, at the slot's offset."""
    bench = Bench()
    [slot] = bench.machine.vm.slots
    slot.user_offset = 3
    if user:
        assert slot.user is not None
        slot.user.frames[4] = 0x77
    else:
        slot.user = None
    assert bench(GuestTouch("vm0", BASE + 1, False, pfn, False, "zero")) == broken


@pytest.mark.parametrize(("gfn", "order", "broken"), [(0, 0, set()), (0, 1, {"prepare_gfn"}), (1, 0, set())])
def test_a_prepare_reaches_into_another_slot(gfn: int, order: int, broken: set[str]) -> None:
    bench = Bench(plan=Plan([("delete", 0, 0), ("create", 0, 0, 0, 1, 0), ("create", 0, 1, 1, 2, 1)]))
    assert len(bench.machine.vm.slots) == 2
    bench(GetPfn(BASE + gfn, gfn))
    assert bench(Prepare(BASE + gfn, 0x2000, order)) & {"prepare_gfn"} == broken
    if broken:
        assert "slot 0 covers gfn 0x101 of slot 1" in bench.oracles.violations[-1].summary


def test_a_flush_that_is_missing_is_told_with_its_gfn() -> None:
    [mutant] = [mutant for mutant in MUTANTS if mutant.name == "never-flushes"]
    found = mutant.machine().run(mutant.plan, collect=True).violations[0]
    assert (found.rule, found.details["gfn"]) == ("I21", BASE)
    assert f"caches gfn {BASE:#x}, zapped" in found.summary
