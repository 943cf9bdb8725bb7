"""Pairs of small logs with a known answer, each a kind of difference that a maintainer would mind, or none."""

from __future__ import annotations

import pytest

from gmemsim.audit.base import Event
from gmemsim.audit.events import Contended, Lock, Receive, Send, Unlock
from gmemsim.audit.kvm_events import (
    ArchInvalidate,
    Clear,
    Faultin,
    FreePage,
    GetPfn,
    GetPfnRet,
    GuestTouch,
    HostTouch,
    Map,
    MmuInvEnd,
    MmuInvStart,
    PopulateRet,
    Prepare,
    PrepareRet,
    SetUptodate,
    TdpFault,
    TlbFlush,
    Truncate,
    Zap,
)
from gmemsim.compare.diff import diff

Log = list[tuple[str, Event]]


def fault(vcpu: str, gfn: int, pfn: int, index: int | None = None) -> Log:
    at = gfn - 100 if index is None else index
    return [
        (vcpu, TdpFault(gfn)),
        (vcpu, Faultin(gfn)),
        (vcpu, GetPfn(gfn, at)),
        (vcpu, GetPfnRet(0, pfn)),
        (vcpu, Map(gfn, pfn, 1)),
    ]


def touch(vcpu: str, gfn: int, pfn: int, write: bool = True, vm: str = "vm0") -> Log:
    return [(vcpu, GuestTouch(vm, gfn, True, pfn, write, "x"))]


def held(task: str, *locks: str, mode: str = "w") -> Log:
    return [(task, Lock(lock, mode)) for lock in locks] + [
        (task, Unlock(lock, mode)) for lock in reversed(locks)
    ]


def host(index: int, write: bool = False) -> Log:
    return [("vmm", HostTouch(index, write, "x"))]


FREE: Log = [("punch", FreePage(500))]
ZAP: Log = [("punch", Zap("vm0", 100, 104, "both"))]
FLUSH: Log = [("punch", TlbFlush("vm0"))]
PREPARED: Log = [("vcpu0", Prepare(100, 500, 0)), ("vcpu0", PrepareRet(0, True))]

#: Left, right, whether tasks may be exchanged, and whether they are the same.
PAIRS: dict[str, tuple[Log, Log, bool, bool]] = {
    # use after free
    "a write lands after the page was freed": (
        [*fault("vcpu0", 100, 500), *touch("vcpu0", 100, 500), *FREE],
        [*fault("vcpu0", 100, 500), *FREE, *touch("vcpu0", 100, 500)],
        False, False,
    ),
    "another page is freed before the write": (
        [*fault("vcpu0", 100, 501), *touch("vcpu0", 100, 501), *FREE],
        [*fault("vcpu0", 100, 501), *FREE, *touch("vcpu0", 100, 501)],
        False, True,
    ),
    "a frame is cleared after it went to somebody else": (
        [("a", Clear(0, 500, 1)), *FREE, *touch("b", 107, 500, vm="vm1")],
        [*FREE, *touch("b", 107, 500, vm="vm1"), ("a", Clear(0, 500, 1))],
        False, False,
    ),
    # aliased frames
    "two pages share a frame": (
        [*fault("vcpu0", 100, 500), *fault("vcpu1", 101, 501)],
        [*fault("vcpu0", 100, 500), *fault("vcpu1", 101, 500)],
        False, False,
    ),
    "the same frames under other names": (
        [*fault("vcpu0", 100, 500), *fault("vcpu1", 101, 501), *FREE],
        [*fault("vcpu0", 100, 77), *fault("vcpu1", 101, 500), ("punch", FreePage(77))],
        False, True,
    ),
    "a frame comes back under another name": (
        [*fault("vcpu0", 100, 500), *FREE, *fault("vcpu1", 101, 500)],
        [*fault("vcpu0", 100, 500), *FREE, *fault("vcpu1", 101, 502)],
        False, False,
    ),
    # order of locks
    "two locks taken in the other order by one task": (
        held("vmm", "gmem0.invalidate_lock", "vm0.slots_lock"),
        held("vmm", "vm0.slots_lock", "gmem0.invalidate_lock"),
        False, False,
    ),
    "a reader and the writer that comes before it": (
        [*held("punch", "gmem0.invalidate_lock"), *held("vcpu0", "gmem0.invalidate_lock", mode="r")],
        [*held("vcpu0", "gmem0.invalidate_lock", mode="r"), *held("punch", "gmem0.invalidate_lock")],
        False, False,
    ),
    "locks of two files": (
        [*held("a", "gmem0.invalidate_lock"), *held("b", "gmem1.invalidate_lock")],
        [*held("b", "gmem1.invalidate_lock"), *held("a", "gmem0.invalidate_lock")],
        False, True,
    ),
    "somebody had to wait": (
        held("a", "l"), [("a", Contended("l", "w")), *held("a", "l")], False, False,
    ),
    # flush after the touch
    "a touch between zap and flush": (
        [*ZAP, *FLUSH, *touch("vcpu0", 102, 500)], [*ZAP, *touch("vcpu0", 102, 500), *FLUSH], False, False,
    ),
    "a flush of another VM": (
        [("q", TlbFlush("vm1")), *touch("vcpu0", 102, 500), *touch("vcpu9", 1, 9, vm="vm1")],
        [*touch("vcpu0", 102, 500), ("q", TlbFlush("vm1")), *touch("vcpu9", 1, 9, vm="vm1")],
        False, True,
    ),
    # what the host sees of a page that a guest has
    "a store of the guest after the host's load": (
        [*fault("vcpu0", 100, 500), *touch("vcpu0", 100, 500), *host(0)],
        [*fault("vcpu0", 100, 500), *host(0), *touch("vcpu0", 100, 500)],
        False, False,
    ),
    "a store of the host after the guest's load": (
        [*fault("vcpu0", 100, 500), *touch("vcpu0", 100, 500, write=False), *host(0, write=True)],
        [*fault("vcpu0", 100, 500), *host(0, write=True), *touch("vcpu0", 100, 500, write=False)],
        False, False,
    ),
    "two loads": (
        [*fault("vcpu0", 100, 500), *touch("vcpu0", 100, 500, write=False), *host(0)],
        [*fault("vcpu0", 100, 500), *host(0), *touch("vcpu0", 100, 500, write=False)],
        False, True,
    ),
    "a store of the guest and a load of the page beside it": (
        [*fault("vcpu0", 100, 500), *fault("vcpu0", 101, 501), *touch("vcpu0", 100, 500), *host(1)],
        [*fault("vcpu0", 100, 500), *fault("vcpu0", 101, 501), *host(1), *touch("vcpu0", 100, 500)],
        False, True,
    ),
    "a zap and the host's load": (
        [*fault("vcpu0", 100, 500), *ZAP, *host(0)], [*fault("vcpu0", 100, 500), *host(0), *ZAP], False, True,
    ),
    # counts
    "prepared twice": (PREPARED, [*PREPARED, *PREPARED], False, False),
    "cleared before uptodate, and once more after": (
        [("a", Clear(0, 500, 1)), ("a", SetUptodate(0, 500))],
        [("a", Clear(0, 500, 1)), ("a", SetUptodate(0, 500)), ("a", Clear(0, 500, 1))],
        False, False,
    ),
    # errnos
    "EEXIST in place of EAGAIN": (
        [("a", PopulateRet(-17))], [("a", PopulateRet(-11))], False, False,
    ),
    "an errno in place of a frame": (
        [("a", GetPfn(100, 0)), ("a", GetPfnRet(0, 500))], [("a", GetPfn(100, 0)), ("a", GetPfnRet(-133, -1))],
        False, False,
    ),
    # threads that do the same
    "vCPUs exchanged": (
        [*fault("vcpu0", 100, 500), *fault("vcpu1", 101, 501), *touch("vcpu1", 101, 501)],
        [*fault("vcpu1", 100, 500), *fault("vcpu0", 101, 501), *touch("vcpu0", 101, 501)],
        True, True,
    ),
    "vCPUs exchanged, but nobody said that they may be": (
        [*fault("vcpu0", 100, 500), *fault("vcpu1", 101, 501)],
        [*fault("vcpu1", 100, 500), *fault("vcpu0", 101, 501)],
        False, False,
    ),
    "half of what two vCPUs do exchanged": (
        [*fault("vcpu0", 100, 500), *touch("vcpu0", 100, 500), *fault("vcpu1", 101, 501), *touch("vcpu1", 101, 501)],
        [*fault("vcpu1", 100, 500), *touch("vcpu0", 100, 500), *fault("vcpu0", 101, 501), *touch("vcpu1", 101, 501)],
        True, False,
    ),
    # ranges
    "the last page of a range": (
        [("p", Truncate(0, 513)), *fault("vcpu0", 612, 500)],
        [*fault("vcpu0", 612, 500), ("p", Truncate(0, 513))],
        False, False,
    ),
    "the page behind a range": (
        [("p", Truncate(0, 512)), *fault("vcpu0", 612, 500)],
        [*fault("vcpu0", 612, 500), ("p", Truncate(0, 512))],
        False, True,
    ),
    "a range of frames and a frame in it": (
        [("p", ArchInvalidate(400, 1000)), ("vcpu0", Prepare(100, 999, 0))],
        [("vcpu0", Prepare(100, 999, 0)), ("p", ArchInvalidate(400, 1000))],
        False, False,
    ),
    "the zapped range is a page longer": (ZAP, [("punch", Zap("vm0", 100, 105, "both"))], False, False),
    # invalidations and messages
    "a fault that began inside of an invalidation": (
        [("p", MmuInvStart("vm0")), ("p", MmuInvEnd("vm0")), *fault("vcpu0", 100, 500)],
        [("p", MmuInvStart("vm0")), *fault("vcpu0", 100, 500), ("p", MmuInvEnd("vm0"))],
        False, False,
    ),
    "a reply to the other request": (
        [("a", Send("arch", 1, "prepare", "")), ("b", Send("arch", 2, "prepare", "")),
         ("arch", Receive("arch", 1, "prepare")), ("arch", Receive("arch", 2, "prepare"))],
        [("a", Send("arch", 1, "prepare", "")), ("b", Send("arch", 2, "prepare", "")),
         ("arch", Receive("arch", 2, "prepare")), ("arch", Receive("arch", 1, "prepare"))],
        False, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_the_answer_is_the_known_one(name: str) -> None:
    left, right, symmetric, same = PAIRS[name]
    for one, other in ((left, right), (right, left)):
        found = diff(one, other, symmetric=symmetric)
        assert found.equal is same
        assert bool(found.changes) is not same
