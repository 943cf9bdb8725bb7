"""How a stage-2 fault ends beside the page: no slot, no host memory, another leaf there (mmu.c of 7.3.4)."""

from __future__ import annotations

from typing import Any

from tests.model.rig import BASE, Rig, names, only

from gmemsim.actors.errno import EFAULT
from gmemsim.actors.fault import Fault, RetPf
from gmemsim.actors.stage2 import Spte
from gmemsim.audit.events import Lock
from gmemsim.audit.kvm_events import ExitMemoryFault, ExitMmio, FaultinRet, MapRet
from gmemsim.patches.v3 import V3


def access(r: Rig, page: int, private: bool | None) -> Any:
    vcpu = r.vm.vcpus[0]
    return r.call(lambda t: r.kernel.guest_access(t, vcpu, BASE + page, private, None))


def test_no_slot_is_mapped_as_mmio_under_mmu_lock() -> None:
    """kvm_handle_noslot_fault goes on to kvm_tdp_mmu_map, which installs an MMIO SPTE and says EMULATE."""
    r = Rig(V3, "private")
    assert access(r, 40, None).kind == "exit_mmio"
    found = names(r.events, FaultinRet, Lock, MapRet, ExitMmio)
    assert found[-4:] == ["FaultinRet", "Lock", "MapRet", "ExitMmio"]
    assert [event.ret for event in only(r.events, FaultinRet, MapRet)] == [RetPf.CONTINUE, RetPf.EMULATE]
    assert not r.vm.stage2.all()


def test_a_leaf_that_came_to_be_meanwhile_makes_it_spurious() -> None:
    """The slot was made and its page mapped since the fault found none; seen on 7.3.4, with a WARN."""
    r = Rig(V3, "private")
    assert access(r, 0, None).kind == "ok"
    (gfn, spte), *_ = r.vm.stage2.all()
    fault = Fault(r.vm.vcpus[1], gfn, True, False)
    assert fault.slot is None
    assert r.call(lambda t: r.kernel.tdp_mmu_map_mmio(t, fault)) == RetPf.SPURIOUS
    assert r.vm.stage2.find(gfn, True) is spte
    assert not only(r.events, ExitMmio)
    fault = Fault(r.vm.vcpus[1], BASE + 40, True, False)
    assert r.call(lambda t: r.kernel.tdp_mmu_map_mmio(t, fault)) == RetPf.EMULATE


def test_host_memory_that_cannot_be_had_is_no_memory_fault() -> None:
    """kvm_handle_error_pfn: a plain -EFAULT, the exit is not filled in."""
    r = Rig(V3, "private")
    r.vm.attributes.clear()
    r.memory.limit = r.memory.in_use
    result = access(r, 0, None)
    assert (result.kind, result.errno) == ("error", EFAULT)
    assert not only(r.events, ExitMemoryFault)


def test_a_leaf_that_is_there_stays() -> None:
    """With another frame too: a WARN, and the fault is spurious."""
    r = Rig(V3, "private")
    assert access(r, 0, None).kind == "ok"
    (gfn, spte), *_ = r.vm.stage2.all()
    root = r.vm.stage2.root(True)
    root[gfn] = other = Spte(spte.pfn + 7, spte.level, spte.private, spte.folio)
    ret = r.call(lambda t: r.kernel.kvm_mmu_do_page_fault(t, r.vm.vcpus[1], gfn, True))
    assert ret == RetPf.SPURIOUS
    assert root[gfn] is other
