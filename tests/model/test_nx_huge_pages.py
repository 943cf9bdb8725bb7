"""set_nx_huge_pages: the direct roots of every VM become obsolete, whatever its type (mmu.c of 6.12.117 and 7.3.4)."""

from __future__ import annotations

import pytest
from tests.model.rig import BASE, PAGE, Rig, only

from gmemsim.actors.vm import Vm
from gmemsim.audit.events import Lock
from gmemsim.audit.kvm_events import ArchInvalidate, TlbFlush, Zap
from gmemsim.patches.registry import load_patch
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import build


def rig(kind: str) -> Rig:
    return Rig(load_patch("mainline-7.3"), kind, pages=2)


def write(r: Rig) -> None:
    r.call(r.kernel.set_nx_huge_pages)


@pytest.mark.parametrize("kind", ["shared", "private", "snp"])
def test_the_leaves_go_and_the_pages_stay(kind: str) -> None:
    r = rig(kind)
    if not r.vm.finalized:
        assert r.call(lambda t: r.kernel.launch_finish(t, r.vm)) == 0
    r.call(r.guest())
    frame = r.inode.folios[0].pfn
    generation = r.vm.root_generation
    write(r)
    assert r.vm.root_generation == generation + 1
    assert not r.vm.stage2.all()
    assert not r.vm.vcpus[0].tlb
    assert not only(r.events, ArchInvalidate)
    r.call(r.guest())
    assert r.inode.folios[0].pfn == frame
    (leaf,) = r.vm.stage2.all()
    assert leaf[1].pfn == frame


def test_a_mirror_root_stays() -> None:
    """KVM_DIRECT_ROOTS; yet a private fault that keeps the direct root is stale as well (is_page_fault_stale)."""
    r = rig("tdx")
    vcpu = r.vm.vcpus[0]
    r.call(r.op("launch", 0))
    r.call(lambda t: r.kernel.kvm_vcpu_pre_fault_memory(t, vcpu, BASE * PAGE, PAGE))
    before = r.vm.stage2.all()
    assert before
    generation = r.vm.root_generation
    write(r)
    assert r.vm.stage2.all() == before
    assert r.vm.root_generation == generation + 1
    assert [zap.filter for zap in only(r.events, Zap)] == ["shared"]
    assert only(r.events, TlbFlush)


def test_each_vm_in_turn_the_newest_first() -> None:
    r = rig("private")
    r.world.vms["vm1"] = Vm("vm1", 1, r.vm.arch)
    write(r)
    taken = [event.lock for event in only(r.events, Lock)]
    assert taken == ["vm_list_lock", "vm1.slots_lock", "vm1.mmu_lock", "vm0.slots_lock", "vm0.mmu_lock"]


@pytest.mark.parametrize(("arch", "outcome"), [("default", "ok"), ("snp", "ok"), ("pkvm", "ENOENT")])
def test_as_an_operation(arch: str, outcome: str) -> None:
    """The parameter is of kvm.ko on x86."""
    text = f"""
        [scenario]
        name = "mine"
        summary = "a write"
        [[vm]]
        id = "vm0"
        [[file]]
        id = "gmem0"
        pages = 1
        [[slot]]
        file = "gmem0"
        [[task]]
        name = "root"
        ops = [{{ op = "nx_huge_pages", expect = "{outcome}" }}]
        """
    patch = "inplace" if arch == "pkvm" else "mainline-7.3"
    session = build(loads(text, "mine.toml"), patch, arch).run()
    assert not session.violations
