"""Conversion in place on a software-protected VM: arguments, early-out, order of steps, faults.

See guest-memfd.md 4.8, 4.14.
"""

from __future__ import annotations

import pytest
from tests.model.inplace_rig import InplaceRig
from tests.model.rig import BASE, PAGE, Rig, names, only

from gmemsim.actors.errno import EAGAIN, EBADF, EFAULT, EINVAL, ENOMEM, ENOTTY
from gmemsim.actors.gmem_convert import Converted
from gmemsim.actors.gmem_user_fault import SIGBUS
from gmemsim.arch.memory import ZERO, data
from gmemsim.audit.events import Lock, Unlock
from gmemsim.audit.inplace_events import GmemAttrStore, MakeShared, RefCheck
from gmemsim.audit.kvm_events import (
    Clear,
    ExitMemoryFault,
    MakePrivate,
    MmuInvEnd,
    MmuInvStart,
    SetUptodate,
    TlbFlush,
    UnmapHost,
    Zap,
)
from gmemsim.patches.inplace import Inplace, InplaceOff
from gmemsim.patches.inplace_v8 import InplaceV8
from gmemsim.patches.mainline_7_3 import Mainline73

both = pytest.mark.parametrize("patch", [InplaceV8, Inplace])


@both
def test_kind_follows_flags(patch: type[Inplace]) -> None:
    """A file begins private, or shared with INIT_SHARED, in one range without holes."""
    assert InplaceRig(patch).kinds == [(0, 3, True)]
    assert InplaceRig(patch, shared=True).kinds == [(0, 3, False)]


@both
def test_neighbours_are_merged(patch: type[Inplace]) -> None:
    """Ranges of one kind that touch are one range."""
    r = InplaceRig(patch)
    assert r.to(False, 1, 2).ret == 0
    assert r.kinds == [(0, 1, True), (1, 2, False), (2, 3, True)]
    assert r.to(False, 0, 1).ret == 0
    assert r.kinds == [(0, 2, False), (2, 3, True)]
    assert r.to(True, 0, 2).ret == 0
    assert r.kinds == [(0, 3, True)]


@both
@pytest.mark.parametrize(
    ("offset", "size", "flags"),
    [
        (1, PAGE, 0),
        (0, PAGE + 1, 0),
        (0, 0, 0),
        (0, 4 * PAGE, 0),
        (3 * PAGE, PAGE, 0),
        (-PAGE, PAGE, 0),
        (0, PAGE, 1),
    ],
)
def test_bad_arguments(patch: type[Inplace], offset: int, size: int, flags: int) -> None:
    """-EINVAL, without the lock and without events of a conversion."""
    r = InplaceRig(patch)
    done = r.call(lambda t: r.inplace.kvm_gmem_set_attributes(t, r.files[0], offset, size, False, flags))
    assert done == Converted(EINVAL)
    assert not only(r.events, Lock, Zap, GmemAttrStore)
    assert r.kinds == [(0, 3, True)]


def test_modes_exclude_each_other() -> None:
    """On: the VM's call takes no attribute. Off: the file's call does not exist and the VM's works."""
    r = InplaceRig(Inplace)

    def on_vm(r: Rig, private: bool) -> int:
        ret: int = r.call(
            lambda t: r.kernel.kvm_vm_ioctl_set_mem_attributes(t, r.vm, BASE * PAGE, PAGE, private)
        )
        return ret

    assert on_vm(r, True) == EINVAL
    assert on_vm(r, False) == 0
    assert r.kinds == [(0, 3, True)]
    off = InplaceRig(InplaceOff)
    assert off.inode.attributes is None
    assert off.to(False) == Converted(ENOTTY)
    assert on_vm(off, True) == 0
    assert off.vm.attributes == {BASE}


def test_closed_file() -> None:
    """-EBADF."""
    r = InplaceRig()
    r.call(r.op("munmap", 0))
    r.call(r.op("close", 0))
    assert r.to(False) == Converted(EBADF)


@both
def test_early_out(patch: type[Inplace]) -> None:
    """A range that has the kind already costs the lock and nothing else: no zap, no sequence."""
    r = InplaceRig(patch)
    seq = r.vm.seq
    assert r.to(True) == Converted(0)
    assert names(r.events, Lock, Unlock) == ["Lock", "Unlock"]
    assert not only(r.events, UnmapHost, RefCheck, Zap, MmuInvStart, GmemAttrStore)
    assert r.vm.seq == seq


@both
def test_no_memory_for_the_map(patch: type[Inplace]) -> None:
    """-ENOMEM with the begin of the range, before anything was touched."""
    r = InplaceRig(patch)
    done = r.call(r.set_attributes(1, 3, False), faults={"alloc_attributes": 1})
    assert done == Converted(ENOMEM, 1)
    assert not only(r.events, UnmapHost, Zap, GmemAttrStore)


@both
def test_order_to_shared(patch: type[Inplace]) -> None:
    """zap < flush < make_shared < store < end, under the exclusive lock; make_shared for present pages only."""
    r = InplaceRig(patch)
    r.call(r.guest(page=1))
    assert r.to(False).ret == 0
    steps = (Zap, TlbFlush, MakeShared, GmemAttrStore, MmuInvEnd)
    assert names(r.events, *steps) == ["Zap", "TlbFlush", "MakeShared", "GmemAttrStore", "MmuInvEnd"]
    kind = "private"
    assert [zap.filter for zap in only(r.events, Zap)] == [kind]
    assert not only(r.events, UnmapHost, RefCheck)
    held = [event for event in only(r.events, Lock) if event.lock.endswith("invalidate_lock")]
    assert [lock.mode for lock in held] == ["w"]


@both
def test_order_to_private(patch: type[Inplace]) -> None:
    """unmap_host < refcheck < invalidation < store; neither clear nor make_private."""
    r = InplaceRig(patch, shared=True)
    r.call(r.host(0, data("host")))
    r.call(r.guest(page=0))
    assert r.to(True, 0, 1).ret == 0
    found = names(r.events, UnmapHost, RefCheck, MmuInvStart, Zap, GmemAttrStore, MmuInvEnd)
    assert found[0] == "UnmapHost"
    assert found[1] == "RefCheck"
    assert found[-4:] == ["MmuInvStart", "Zap", "GmemAttrStore", "MmuInvEnd"]
    assert not only(r.events, Clear, MakePrivate, MakeShared)
    assert r.mappings[0].mapped == {}


@both
def test_content_survives_both_ways(patch: type[Inplace]) -> None:
    """The page is the same before and after, as far as common code is concerned."""
    r = InplaceRig(patch, shared=True)
    r.call(r.host(0, data("host")))
    assert r.to(True).ret == 0
    assert r.call(r.guest(page=0)).value == data("host")
    assert r.to(False).ret == 0
    assert r.call(r.host(0)) == data("host")


@both
def test_host_faults_by_index(patch: type[Inplace]) -> None:
    """SIGBUS on a private index, a page on a shared one; look-up under the shared lock, clearing outside."""
    r = InplaceRig(patch)
    assert r.call(r.host(0)) == SIGBUS
    assert r.to(False, 0, 1).ret == 0
    assert r.call(r.host(0)) == ZERO
    held = [e for e in only(r.events, Lock, Unlock, Clear) if isinstance(e, Clear) or "invalidate" in e.lock]
    assert [type(event).__name__ for event in held] == ["Lock", "Unlock", "Clear"]
    assert held[0].mode == "r"
    assert r.call(r.host(1)) == SIGBUS


@both
def test_guest_fault_under_shared_lock(patch: type[Inplace]) -> None:
    """Clear, uptodate, make_private, in this order, between lock and unlock; make_private only if private."""
    r = InplaceRig(patch)
    r.call(r.guest(page=0))
    steps = [
        event
        for event in only(r.events, Lock, Unlock, Clear, SetUptodate, MakePrivate)
        if not isinstance(event, (Lock, Unlock)) or "invalidate" in event.lock
    ]
    assert [type(event).__name__ for event in steps] == [
        "Lock",
        "Clear",
        "SetUptodate",
        "MakePrivate",
        "Unlock",
    ]
    assert steps[0].mode == "r"
    assert r.to(False).ret == 0
    r.call(r.guest(page=1))
    assert not only(r.events, MakePrivate)


@pytest.mark.parametrize(("patch", "references"), [(InplaceV8, 2), (Inplace, 1)])
def test_reference_of_get_pfn(patch: type[Inplace], references: int) -> None:
    """v8 hands the page out with its reference; as applied, get_pfn keeps none."""
    r = InplaceRig(patch)
    r.call(r.guest(page=0))
    r.call(r.inplace.lru_add_drain_all)
    ret, folio = r.call(lambda t: r.kernel.kvm_gmem_get_pfn(t, r.vm, r.vm.slots[0], BASE))
    assert ret == 0
    assert folio.ref == references


@both
def test_pinned_page(patch: type[Inplace]) -> None:
    """-EAGAIN with the offender's index; the host is unmapped, nothing else happened; after the unpin it works."""
    r = InplaceRig(patch, shared=True)
    for index in range(3):
        r.call(r.host(index, data("host")))
    r.call(r.op("pin", 0, 1))
    seq = r.vm.seq
    assert r.to(True) == Converted(EAGAIN, 1)
    assert r.mappings[0].mapped == {}
    assert r.vm.seq == seq
    assert not only(r.events, MmuInvStart, GmemAttrStore)
    assert r.kinds == [(0, 3, False)]
    assert r.call(r.host(1)) == data("host")
    r.call(r.op("unpin"))
    assert r.to(True) == Converted(0)


@both
def test_punch_leaves_kinds_alone(patch: type[Inplace]) -> None:
    """I27: a hole in a private range is private."""
    r = InplaceRig(patch)
    assert r.to(False, 1, 2).ret == 0
    r.call(r.op("fallocate", 0, 0, 3, True))
    assert r.kinds == [(0, 1, True), (1, 2, False), (2, 3, True)]
    assert r.call(r.host(0)) == SIGBUS


@both
def test_filter_of_a_mixed_range(patch: type[Inplace]) -> None:
    """v8 zaps what is private already as well; as applied only the kind that is left."""
    r = InplaceRig(patch, shared=True)
    assert r.to(True, 1, 2).ret == 0
    assert r.to(True).ret == 0
    assert [zap.filter for zap in only(r.events, Zap)] == (["both"] if patch is InplaceV8 else ["shared"])


def test_guest_access_after_conversion_maps_the_new_kind() -> None:
    """Hardware without a kind bit follows KVM's idea at the fault; no exit when nothing changes in between."""
    r = InplaceRig()
    r.call(r.guest(page=0))
    assert r.to(False).ret == 0
    result = r.call(r.guest(page=0))
    assert result.kind == "ok"
    spte = r.vm.stage2.find(BASE, False)
    assert spte is not None
    assert not spte.private


def test_access_of_the_wrong_kind_exits() -> None:
    """guest-memfd.md 5 row 14: the kind looked up at entry is checked again; a mismatch is an exit with -EFAULT."""
    r = InplaceRig()
    result = r.call(lambda t: r.kernel.guest_access(t, r.vm.vcpus[0], BASE, False, None))
    assert (result.kind, result.errno) == ("exit_memory_fault", EFAULT)
    assert [event.private for event in only(r.events, ExitMemoryFault)] == [False]


def test_parent_is_unchanged() -> None:
    """Versions without conversion in place keep no map and take no lock in faults."""
    r = Rig(Mainline73, "private")
    assert r.inode.attributes is None
    r.call(r.guest())
    assert not [event for event in only(r.events, Lock) if "invalidate" in event.lock]
