"""KVM_BUG_ON: what KVM cannot mend costs the VM, whose later calls all fail with -EIO."""

from __future__ import annotations

from typing import Any

import pytest
from tests.model.rig import BASE, PAGE, Rig, only

from gmemsim.actors.errno import EINTR, EIO
from gmemsim.actors.gmem_populate import Source
from gmemsim.actors.release import RELEASES
from gmemsim.arch.memory import data
from gmemsim.audit.kvm_events import TdpFault, TdpFaultRet
from gmemsim.patches.baseline import Baseline
from gmemsim.patches.mainline_7_3 import Mainline73
from gmemsim.patches.v3 import V3

both = pytest.mark.parametrize("patch", [V3, Mainline73])


def populate(r: Rig, faults: dict[str, int] | None = None) -> Any:
    """SNP_LAUNCH_UPDATE of the first page, its locks left out."""
    source = Source(r.process, (data("image"),))
    return r.call(lambda t: r.kernel.kvm_gmem_populate(t, r.vm, BASE, 1, source), faults=faults)


def later_calls(r: Rig) -> list[Any]:
    """What each kind of call on the VM answers."""
    kernel, vm, vcpu = r.kernel, r.vm, r.vm.vcpus[0]
    address = BASE * PAGE
    run = r.call(lambda t: kernel.guest_access(t, vcpu, BASE, True, None))
    accept = r.call(lambda t: kernel.guest_accept(t, vcpu, BASE))
    return [
        r.call(lambda t: kernel.kvm_set_memory_region(t, vm, 0, 0, 0)),
        r.call(lambda t: kernel.kvm_vm_ioctl_set_mem_attributes(t, vm, address, PAGE, False)),
        r.call(lambda t: kernel.kvm_gmem_create(t, vm, "late", PAGE)),
        r.call(lambda t: kernel.kvm_vcpu_pre_fault_memory(t, vcpu, address, PAGE))[0],
        r.call(lambda t: kernel.launch_finish(t, vm)),
        run.errno,
        accept.errno,
    ]


@both
def test_a_reclaim_that_fails(patch: type[V3]) -> None:
    """snp_page_reclaim: the firmware keeps a page of a failed launch update; it is leaked, and the VM is dead."""
    r = Rig(patch, "snp")
    assert populate(r, {"psp_launch_update": 1, "psp_page_reclaim": 1}) == EIO
    assert r.vm.dead
    assert len(r.memory.leaked) == 1
    assert later_calls(r) == [EIO] * 7
    assert len(r.vm.slots) == 1, "nothing was done"
    punched = r.call(lambda t: r.kernel.kvm_gmem_fallocate(t, r.files[0], 0, PAGE, True))
    assert punched == 0, "calls on the file are not the VM's"


@both
@pytest.mark.parametrize(("signal", "expected"), [(False, EIO), (True, EINTR)])
def test_a_pre_fault_looks_before_each_try(patch: type[V3], signal: bool, expected: int) -> None:
    """`kvm_tdp_page_prefault`: the signal first, then KVM_REQ_VM_DEAD, and no fault of a VM that is dead."""
    r = Rig(patch, "snp")
    assert populate(r, {"psp_launch_update": 1, "psp_page_reclaim": 1}) == EIO
    vcpu = r.vm.vcpus[0]
    ret = r.call(lambda t: r.kernel.kvm_tdp_map_page(t, vcpu, BASE, True), signal=signal)
    assert ret == expected
    assert not only(r.events, TdpFault)


@pytest.mark.parametrize(("release", "pages"), [("6.12", 2), ("6.18", 1), ("7.2", 1)])
def test_a_vm_that_dies_while_it_is_pre_faulted(release: str, pages: int) -> None:
    """What was mapped by then is a success, as after any other error; 6.12.117 does not look, and goes on."""
    r = Rig(Baseline, "snp", release=RELEASES[release])
    r.vm.finalized = True
    vcpu = r.vm.vcpus[0]

    def die(task: Any, event: Any) -> None:
        if isinstance(event, TdpFaultRet):
            r.vm.killed = True

    r.recorders.append(die)
    ret, address, left = r.call(lambda t: r.kernel.kvm_vcpu_pre_fault_memory(t, vcpu, BASE * PAGE, 2 * PAGE))
    assert (ret, address, left) == (0, (BASE + pages) * PAGE, (2 - pages) * PAGE)
    assert len(only(r.events, TdpFault)) == pages


@both
def test_a_reclaimed_page_costs_no_vm(patch: type[V3]) -> None:
    """The same without the second failure: -EIO of that call, and the launch can go on."""
    r = Rig(patch, "snp")
    assert populate(r, {"psp_launch_update": 1}) == EIO
    assert not r.vm.dead
    assert not r.memory.leaked
    assert populate(r) == 1


@both
def test_a_page_that_cannot_be_made_shared_after_the_reclaim(patch: type[V3]) -> None:
    """kvm_rmp_make_shared: the same end."""
    r = Rig(patch, "snp")
    inner = r.arch.rmp_make_shared

    async def refused(*args: Any) -> int:
        await inner(*args)
        return -14

    r.arch.rmp_make_shared = refused
    assert populate(r, {"psp_launch_update": 1}) == EIO
    assert r.vm.dead
    assert len(r.memory.leaked) == 1


def test_make_private_takes_one_page() -> None:
    """sev_gmem_make_private of 7.3.4 refuses more with -EIO; a version with huge pages has to change that."""
    r = Rig(Mainline73, "snp")
    assert r.call(lambda t: r.arch.make_private(t, r.vm, BASE, 0, 2)) == (EIO, False)
    assert r.call(lambda t: r.arch.make_private(t, r.vm, BASE, 0, 1)) == (0, True)
