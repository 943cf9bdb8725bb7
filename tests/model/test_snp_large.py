"""SNP at 2 MiB: levels of RMP and tables, the RMP fault, acceptance in both sizes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.model.large_rig import BASE, HUGE, LargeRig

from gmemsim.arch.memory import data
from gmemsim.arch.rmp import RmpCode, head_of
from gmemsim.audit.kvm_events import HardwareOp, Zap
from gmemsim.patches.registry import load_patch


def rig(**how: Any) -> LargeRig:
    return LargeRig(kind="snp", **how)


def operations(machine: LargeRig) -> list[str]:
    """Instructions that were executed."""
    return [event.op for event in machine.only(HardwareOp)]


def test_one_rmpupdate_one_leaf_one_pvalidate() -> None:
    """Everything at 2 MiB: one of each, and the guest reads what it wrote in every page."""
    machine = rig()
    done = machine.call(machine.accept(0, level=2))
    assert (done.kind, done.value) == ("ok", "validated")
    assert operations(machine) == ["RMPUPDATE", "PVALIDATE"]
    assert machine.leaves() == [(0, 2)]
    head = machine.frame(0)
    assert machine.arch.rmp.entry(head).level == 2
    for page in (0, 7, HUGE - 1):
        assert machine.call(machine.touch(page, data(f"{page}"))).kind == "ok"
    assert machine.call(machine.touch(7)).value == data("7")


def test_4k_acceptance_splits_the_rmp_entry_and_the_tables_follow() -> None:
    """PVALIDATE of 4 KiB on a 2 MiB entry: PSMASH, 512 gfns zapped from the faulting one on, tables rebuilt small."""
    machine = rig()
    machine.call(machine.touch(HUGE))
    machine.call(machine.touch(5))
    assert machine.leaves() == [(0, 2), (HUGE, 2)]
    done = machine.call(machine.accept(5))
    assert (done.kind, done.value) == ("ok", "validated")
    assert operations(machine) == ["PSMASH", "PVALIDATE"]
    assert [(event.start - BASE, event.end - BASE) for event in machine.only(Zap)] == [(5, 5 + HUGE)]
    # The next 2 MiB was zapped with it: the range begins at the faulting gfn.
    assert machine.leaves() == [(5, 1)]
    assert machine.arch.rmp.entry(machine.frame(5)).level == 1
    mismatch = machine.call(machine.accept(0, level=2))
    assert (mismatch.kind, mismatch.value) == ("ok", "size_mismatch")
    assert machine.call(machine.accept(HUGE, level=2)).value == "validated"


@pytest.mark.parametrize(("split", "zaps"), [(True, []), (False, [(5, 5 + HUGE)])])
def test_who_lost_the_psmash_leaves_the_zap_to_who_won(split: bool, zaps: list[tuple[int, int]]) -> None:
    """`sev_handle_rmp_fault`: a second look-up that says 4 KiB ends it; any other failure is warned of, and zapped."""
    machine = rig()
    machine.call(machine.touch(5))
    assert machine.leaves() == [(0, 2)]
    pfn, psmash = machine.frame(5), machine.arch.snp_rmptable_psmash

    async def late(t: Any, pfn: int) -> Any:
        """Another CPU's instruction comes between the look-up and this one."""
        if split:
            assert await psmash(t, pfn) == RmpCode.OK
            return await psmash(t, pfn)
        return RmpCode.PERMISSION

    machine.arch.snp_rmptable_psmash = late
    machine.call(lambda t: machine.kernel.sev_handle_rmp_fault(t, machine.vm.vcpus[0], BASE + 5))
    assert machine.arch.rmp.entry(head_of(pfn)).level == (1 if split else 2)
    assert [(event.start - BASE, event.end - BASE) for event in machine.only(Zap)] == zaps


def test_what_was_validated_at_2m_stays_so_in_4k() -> None:
    """A page goes to shared: PSMASH keeps the validated bit of the others, and their contents."""
    machine = rig()
    machine.call(machine.accept(0, level=2))
    machine.call(machine.touch(4, data("kept")))
    assert machine.call(machine.convert(3, 4, False)).ret == 0
    assert operations(machine) == ["PSMASH", "RMPUPDATE"]
    seen = machine.call(machine.touch(4))
    assert (seen.kind, seen.value) == ("ok", data("kept"))
    assert machine.leaves() == [(4, 1)]
    assert machine.call(machine.convert(3, 4, True)).ret == 0
    # Merged again; the RMP entries stay small, so the leaf does too.
    machine.call(machine.accept(3))
    assert machine.call(machine.touch(3)).kind == "ok"
    assert (3, 1) in machine.leaves()


def test_a_small_mapping_of_a_large_entry_faults_until_the_entry_is_split() -> None:
    """Trigger (b): the leaf is smaller than the RMP entry."""
    machine = rig()
    machine.call(machine.accept(0, level=2))

    async def shrink(t: Any) -> None:
        spte = machine.vm.stage2.root(True)[BASE]
        assert await machine.kernel.tdp_mmu_split_huge_page(t, machine.vm, True, BASE, spte)
        machine.vm.flush_tlbs()

    machine.call(shrink)
    done = machine.call(machine.touch(9, data("x")))
    assert done.kind == "ok"
    assert operations(machine) == ["PSMASH"]


def test_a_1g_folio_is_made_private_and_mapped_2m_at_a_time() -> None:
    """The RMP knows no larger page; other huge pages of the folio stay the host's."""
    machine = rig(pages=1 << 18, size="HUGETLB_1G")
    assert machine.call(machine.accept(3 * HUGE, level=2)).value == "validated"
    assert machine.leaves() == [(3 * HUGE, 2)]
    head = machine.frame(3 * HUGE) - 3 * HUGE
    assert not machine.arch.rmp.entry(head).assigned
    assert operations(machine) == ["RMPUPDATE", "PVALIDATE"]


def test_a_slot_that_holds_part_of_a_huge_page() -> None:
    """Its pages are made private one by one: an entry of 2 MiB would reach over the slot."""
    machine = rig(base=BASE + 8, pages=2 * HUGE - 8, file_pages=2 * HUGE, offset=8)
    assert machine.call(machine.accept(0)).value == "validated"
    assert machine.arch.rmp.entry(machine.frame(0)).level == 1
    assert not machine.arch.rmp.entry(machine.frame(0) + 1).assigned
    assert machine.call(machine.accept(HUGE - 8, level=2)).value == "validated"


@pytest.mark.parametrize("base", [BASE + 1, BASE + 256])
def test_a_slot_that_is_not_congruent_gets_small_entries(base: int) -> None:
    """Neither RMP nor tables go above 4 KiB, and the guest uses every page (else: arch.md 5.1 B15)."""
    machine = rig(base=base, pages=HUGE, file_pages=2 * HUGE)
    for page in (0, 300):
        assert machine.call(machine.accept(page)).value == "validated"
        assert machine.call(machine.touch(page, data("x"))).kind == "ok"
    assert machine.leaves() == [(0, 1), (300, 1)]


def test_b15_alignment_taken_for_granted() -> None:
    """A 2 MiB entry at the aligned-down gfn of a slot that is not aligned: the guest faults for ever."""

    class NotCongruent(load_patch("hugepage-mutex")):  # type: ignore[misc]
        def kvm_gmem_max_order(self, vm: Any, gfn: int, index: int, order: int) -> int:
            return order

    machine = rig(kernel=NotCongruent, base=BASE + 256, pages=HUGE, file_pages=2 * HUGE)
    flags: list[str] = []

    class Stop(Exception):
        pass

    def flag(t: Any, name: str, pfn: int) -> None:
        flags.append(name)
        raise Stop

    machine.arch.flag = flag
    with pytest.raises(Stop):
        machine.call(machine.touch(0, data("x")))
    assert flags == ["RMP_GPA_STALE"]
