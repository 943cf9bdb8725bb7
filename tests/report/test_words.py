"""Steps, operations and events in words."""

from __future__ import annotations

import pytest

from gmemsim.audit.base import Event
from gmemsim.audit.events import Contended, Lock, LockRequest, Unlock
from gmemsim.audit.kvm_events import Fallocate, FilemapGetRet, MapRet, TdpFaultRet, Zap
from gmemsim.engine.op import Op
from gmemsim.report.words import event_text, kind_of, lock_of, op_text, pages


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Lock("gmem0.invalidate_lock", "w"), "has gmem0.invalidate_lock (w)"),
        (Unlock("vm0.mmu_lock", "r"), "gives back vm0.mmu_lock (r)"),
        (Contended("gmem0.folio[3]", "w"), "must wait for gmem0.folio[3] (w)"),
        (LockRequest("vm0.lock", "r"), "asks for vm0.lock (r)"),
        (Fallocate(True, 0, 4), "fallocate [0, 4) punch"),
        (Fallocate(False, 3, 4), "fallocate 3 punch=no"),
        (Zap("vm0", 0x100, 0x102, "private"), "zap [0x100, 0x102) vm0 private"),
        (FilemapGetRet(-2), "filemap_get_ret pfn=-ENOENT"),
        (FilemapGetRet(0x1000), "filemap_get_ret pfn=0x1000"),
        (MapRet(5), "map_ret ret=FIXED"),
        (TdpFaultRet(1), "tdp_fault_ret ret=RETRY"),
        (TdpFaultRet(-14), "tdp_fault_ret ret=-EFAULT"),
    ],
)
def test_events(event: Event, text: str) -> None:
    """Ranges half open, frames in hexadecimal, errors and RET_PF values by name."""
    assert event_text(event) == text


@pytest.mark.parametrize(
    ("op", "primitive", "text"),
    [
        (Op("acquire", "gmem0.invalidate_lock", mode="r"), "down_read", "down_read(gmem0.invalidate_lock)"),
        (Op("acquire", "gmem0.folio", 3, 4), "lock", "folio_lock(gmem0.folio[3])"),
        (Op("acquire", "vm0.slots_lock"), "lock", "mutex_lock(vm0.slots_lock)"),
        (Op("wait", "vm0.srcu"), "synchronize", "srcu_synchronize(vm0.srcu)"),
        (Op("load", "vm0.seq", mode="r"), "", "load vm0.seq"),
        (Op("rmw", "gmem0.ref", 2, 3), "", "rmw gmem0.ref[2]"),
        (Op("load", "gmem0", 2, 5), "", "load gmem0[2, 5)"),
        (Op("load", "vm0.spte", 0x100, 0x102), "", "load vm0.spte[0x100, 0x102)"),
        (Op("rmw", "vm0.spte", 0x100, 0x101), "", "rmw vm0.spte[0x100]"),
        (Op("start", "mce"), "", "starts"),
    ],
)
def test_operations(op: Op, primitive: str, text: str) -> None:
    """As the call of a primitive, or as an access of a place."""
    assert op_text(op, primitive) == text


def test_labels_and_ranges() -> None:
    """A folio's lock is named as events name it."""
    assert lock_of(Op("acquire", "gmem0.folio", 3, 4)) == "gmem0.folio[3]"
    assert lock_of(Op("acquire", "vm0.mmu_lock")) == "vm0.mmu_lock"
    assert (pages(3, 4), pages(3, 6), pages(16, 32, True)) == ("3", "[3, 6)", "[0x10, 0x20)")


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (Lock("a", "w"), "lock"),
        (MapRet(5), "fault"),
        (Fallocate(True, 0, 4), "gmem"),
        (FilemapGetRet(-2), "cache"),
        (Zap("vm0", 1, 2, "both"), "mmu"),
    ],
)
def test_kinds(event: Event, kind: str) -> None:
    """What colours an event is its family."""
    assert kind_of(event) == kind
