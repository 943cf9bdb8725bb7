"""What the event log shows of each patch version: rows of the table in guest-memfd.md 5, canonical orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.model.rig import BASE, PAGE, Rig, names, only

from gmemsim.actors.errno import EEXIST, EFAULT, EINTR, EINVAL, EIO, ENOMEM
from gmemsim.actors.gmem_populate import Source
from gmemsim.actors.release import RELEASES
from gmemsim.arch.memory import data
from gmemsim.audit.events import Lock, LockRequest, Unlock
from gmemsim.audit.kvm_events import (
    ArchInvalidate,
    ArchReclaim,
    AttrStore,
    Clear,
    ExitMemoryFault,
    FallocateRet,
    GetPfnRet,
    Gup,
    MakePrivate,
    MakePrivateRet,
    Map,
    MmuInvEnd,
    MmuInvStart,
    PageCacheDelete,
    PopulateCallback,
    Prepare,
    PrepareRet,
    SetUptodate,
    TlbFlush,
    Truncate,
    Zap,
)
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.patches.registry import PATCHES

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

ALL = sorted(PATCHES)
CLEARING = (Clear, SetUptodate, Prepare, MakePrivate)
PREPARED = (PrepareRet, MakePrivateRet)

every_patch = pytest.mark.parametrize("patch", ALL)


def launched(patch: str) -> Rig:
    """A VM whose pages hardware has to be told about, ready to run."""
    r = Rig(PATCHES[patch], "assigned")
    r.vm.finalized = True
    return r


def access(r: Rig, page: int = 0, **how: Any) -> Any:
    vcpu = r.vm.vcpus[0]
    return r.call(lambda t: r.kernel.guest_access(t, vcpu, BASE + page, None, None), **how)


def convert(r: Rig, private: bool, pages: int = 1) -> int:
    ret: int = r.call(
        lambda t: r.kernel.kvm_vm_ioctl_set_mem_attributes(t, r.vm, BASE * PAGE, pages * PAGE, private)
    )
    return ret


def populate(r: Rig, pages: int = 1, source: Source | str | None = "", **how: Any) -> int:
    """Populate from page 0; the source is made up unless given."""
    given = source
    if source == "":
        given = Source(r.process, tuple(data(f"source{number}") for number in range(pages)))

    async def run(t: Task) -> int:
        await r.vm.slots_lock.lock(t)
        assert not isinstance(given, str)
        ret = await r.kernel.kvm_gmem_populate(t, r.vm, BASE, pages, given)
        await r.vm.slots_lock.unlock(t)
        return ret

    ret: int = r.call(run, **how)
    return ret


def prepared(r: Rig) -> list[str]:
    """What the prepare calls of the last run did."""
    return ["did" if event.did else "error" if event.ret else "noop" for event in only(r.events, *PREPARED)]


# -- rows 1 to 5: faults ---------------------------------------------------------------------------------


@every_patch
def test_row_1_first_private_fault(patch: str) -> None:
    r = launched(patch)
    assert access(r).value == "zero"
    expected = {
        "baseline": ["Clear", "Prepare", "SetUptodate"],
        "mainline-7.3": ["Clear", "SetUptodate", "MakePrivate"],
    }.get(patch, ["Clear", "SetUptodate", "Prepare"])
    assert names(r.events, *CLEARING) == expected
    assert [event.pages for event in only(r.events, Clear)] == [1], "row 2, while every folio has one page"


@every_patch
def test_row_1_without_the_hook(patch: str) -> None:
    """CONFIG_HAVE_KVM_ARCH_GMEM_PREPARE off, and in 7.3 shared memory: no arch call at all."""
    r = Rig(PATCHES[patch], "private", gmem_prepare=False)
    access(r)
    assert names(r.events, *CLEARING) == ["Clear", "SetUptodate"]
    r = Rig(PATCHES[patch], "shared")
    access(r)
    assert bool(only(r.events, Prepare, MakePrivate)) == (patch != "mainline-7.3")


@every_patch
def test_row_3_fault_again_after_a_zap(patch: str) -> None:
    r = launched(patch)
    access(r)
    convert(r, False)
    convert(r, True)
    assert not r.vm.stage2.all()
    access(r)
    assert names(r.events, Clear, SetUptodate) == []
    assert prepared(r) == ([] if patch == "baseline" else ["noop"])


@every_patch
def test_row_4_two_vcpus_one_page(patch: str) -> None:
    """Both got a pfn: one preparation did something; from v1 on the other was asked too."""
    both = 0
    for seed in range(40):
        r = launched(patch)
        r.run_all(r.guest(0), r.guest(1), strategy=RandomStrategy(seed))
        asked = len(only(r.events, GetPfnRet))
        both += asked > 1
        assert prepared(r) == ["did"] + ["noop"] * (0 if patch == "baseline" else asked - 1)
        assert len(only(r.events, Clear)) == 1
    assert both > 5


@every_patch
def test_row_5_prepare_fails_once(patch: str) -> None:
    r = launched(patch)
    assert access(r, faults={"prepare": 1}).kind == "exit_memory_fault"
    assert only(r.events, ExitMemoryFault)[0].ret == EINVAL
    access(r)
    assert len(only(r.events, Clear)) == (patch == "baseline")
    assert prepared(r) == ["did"]


# -- rows 6 to 11: populate ------------------------------------------------------------------------------


@every_patch
def test_row_6_populate_then_fault(patch: str) -> None:
    r = Rig(PATCHES[patch], "assigned")
    assert populate(r) == 1
    assert names(r.events, Clear) == []
    r.vm.finalized = True
    assert access(r).value == "data:source0"
    assert names(r.events, Clear, SetUptodate) == []
    assert prepared(r) == ([] if patch == "baseline" else ["noop"])


@every_patch
def test_row_7_populate_twice(patch: str) -> None:
    """-EEXIST from common code in baseline, from the arch after it."""
    r = Rig(PATCHES[patch], "assigned")
    populate(r)
    assert populate(r) == EEXIST
    assert [event.ret for event in only(r.events, PopulateCallback)] == (
        [] if patch == "baseline" else [EEXIST]
    )


@every_patch
def test_row_7_populate_after_fault(patch: str) -> None:
    r = launched(patch)
    access(r)
    assert populate(r) == EEXIST


@every_patch
def test_row_8_populate_fails_in_the_callback(patch: str) -> None:
    r = Rig(PATCHES[patch], "assigned")
    assert populate(r, faults={"populate": 1}) == EIO
    r.vm.finalized = True
    assert access(r).value == "zero"
    assert len(only(r.events, Clear)) == 1
    assert prepared(r) == ["did"]


@every_patch
def test_row_9_invalidate_lock_during_populate(patch: str) -> None:
    r = Rig(PATCHES[patch], "assigned")
    assert populate(r, 3) == 3
    steps = []
    for event in only(r.events, Lock, Unlock, Gup, PopulateCallback):
        if isinstance(event, Lock | Unlock):
            if event.lock.endswith("invalidate_lock"):
                assert event.mode == "w"
                steps.append("+" if isinstance(event, Lock) else "-")
        else:
            steps.append("gup" if isinstance(event, Gup) else "cb")
    expected = {
        "baseline": ["+", *["gup", "cb"] * 3, "-"],
        "v1": [*["gup"] * 3, "+", *["cb"] * 3, "-"],
    }.get(patch, ["gup", "+", "cb", "-"] * 3)
    assert steps == expected


@every_patch
@pytest.mark.parametrize("page", [0, 1, 2])
def test_row_10_signal_in_the_middle(patch: str, page: int) -> None:
    """The number of pages so far; -EINTR before the first."""
    r = Rig(PATCHES[patch], "assigned")
    done = 0

    def send(t: Task, event: Any) -> None:
        nonlocal done
        done += isinstance(event, PopulateCallback)
        t.signal_pending = done == page

    r.recorders.append(send)
    assert populate(r, 3) == (page or EINTR)


@every_patch
def test_row_11_unaligned_source(patch: str) -> None:
    contents = tuple(data(f"source{number}") for number in range(3))
    r = Rig(PATCHES[patch], "assigned")
    ret = populate(r, 2, Source(r.process, contents, offset=16))
    assert ret == (2 if patch in {"baseline", "v1"} else EINVAL)
    assert len(only(r.events, Gup)) == {"baseline": 2, "v1": 3}.get(patch, 0)


@every_patch
def test_populate_without_a_source_page(patch: str) -> None:
    """GUP fails at page 1: B did nothing yet (and its posted text keeps page 0), the others count page 0."""
    r = Rig(PATCHES[patch], "assigned")
    short = Source(r.process, (data("source0"), None))
    assert populate(r, 2, short) == (ENOMEM if patch == "v1" else 1)
    assert populate(Rig(PATCHES[patch], "assigned"), 1, Source(r.process, (None,))) == EFAULT


@every_patch
def test_populate_entry_checks(patch: str) -> None:
    r = Rig(PATCHES[patch], "assigned")
    assert populate(r, 0) == EINVAL
    assert populate(r, signal=True) == EINTR
    convert(r, False)
    assert populate(r) == EINVAL, "shared"
    assert populate(Rig(PATCHES[patch], "assigned"), 9) == 3, "clamped to the slot"
    r.call(lambda t: r.close(t, 0))
    assert populate(r) == EFAULT, "no live file"
    r.call(lambda t: r.delete(t, 0, 0))
    assert populate(r) == EINVAL, "no slot"


@every_patch
def test_populate_null_source(patch: str) -> None:
    """v2 calls GUP whatever the source; the others leave a NULL source to the arch."""
    r = Rig(PATCHES[patch], "assigned")
    assert populate(r, 1, None) == (EFAULT if patch == "v2" else -95)
    assert len(only(r.events, PopulateCallback)) == (patch != "v2")


# -- rows 12 to 22: conversions, punches, bindings -------------------------------------------------------


@every_patch
def test_row_12_fault_during_punch(patch: str) -> None:
    """It may allocate into the hole; the page is removed again or left."""
    left = 0
    for seed in range(120):
        r = launched(patch)
        r.run_all(r.guest(), r.op("fallocate", 0, 0, 1, True), strategy=RandomStrategy(seed))
        ended = [number for number, (_, event) in enumerate(r.events) if isinstance(event, FallocateRet)]
        added = [number for number, name in enumerate(names(r.events)) if name == "PageCacheAdd"]
        gone = [number for number, name in enumerate(names(r.events)) if name == "PageCacheDelete"]
        left += len([number for number in added if number < ended[0]]) > len(gone)
    assert left


@every_patch
def test_row_14_attribute_flips_inside_the_fault(patch: str) -> None:
    """A software-protected guest has no bit of its own: a conversion in the middle is an exit, not a retry."""
    exits = 0
    for seed in range(150):
        r = Rig(PATCHES[patch], "private", pages=1)
        result, _ = r.run_all(r.guest(), r.op("convert", 0, 0, 1, False), strategy=RandomStrategy(seed))
        exits += result.kind == "exit_memory_fault"
    assert exits


@every_patch
@pytest.mark.parametrize("private", [False, True])
def test_row_17_converted_already(patch: str, private: bool) -> None:
    r = launched(patch)
    if not private:
        assert convert(r, False) == 0
    assert convert(r, private) == 0
    assert names(r.events, MmuInvStart, Zap, TlbFlush, AttrStore, MmuInvEnd) == []


@every_patch
def test_row_18_private_to_shared(patch: str) -> None:
    """The mapping goes; the page stays, prepared, until it is punched."""
    r = launched(patch)
    access(r)
    folio = r.inode.folios[0]
    assert convert(r, False) == 0
    order = names(r.events, MmuInvStart, Zap, TlbFlush, AttrStore, MmuInvEnd)
    assert order == ["MmuInvStart", "Zap", "TlbFlush", "AttrStore", "MmuInvEnd"]
    assert only(r.events, Zap)[0].filter == "private"
    assert only(r.events, ArchInvalidate, ArchReclaim, PageCacheDelete, LockRequest) == []
    assert r.inode.folios[0] is folio
    assert folio.pfn in r.arch.assigned
    r.call(lambda t: r.fallocate(t, 0, 0, 1, True))
    hook = "ArchReclaim" if patch == "mainline-7.3" else "ArchInvalidate"
    assert names(r.events, ArchInvalidate, ArchReclaim) == [hook]
    assert not r.arch.assigned


@every_patch
def test_row_22_reference_at_the_map_step(patch: str) -> None:
    r = launched(patch)
    refs = []

    def look(t: Task, event: Any) -> None:
        if isinstance(event, Map):
            refs.append(r.inode.folios[0].ref)

    r.recorders.append(look)
    access(r)
    assert refs == [2]
    assert r.inode.folios[0].ref == 1


@every_patch
def test_order_of_a_punch(patch: str) -> None:
    """zap < flush < truncate < removal and hook < end of the invalidation, all under the exclusive lock."""
    r = launched(patch)
    access(r)
    r.call(lambda t: r.fallocate(t, 0, 0, 1, True))
    hook = "ArchReclaim" if patch == "mainline-7.3" else "ArchInvalidate"
    assert names(r.events, Zap, TlbFlush, Truncate, PageCacheDelete, ArchInvalidate, ArchReclaim, MmuInvEnd) == [
        "Zap", "TlbFlush", "Truncate", "PageCacheDelete", hook, "MmuInvEnd",
    ]  # fmt: skip
    held = [event.mode for event in only(r.events, Lock) if event.lock == "gmem0.invalidate_lock"]
    assert held == ["w"]


@every_patch
def test_faults_do_not_take_the_invalidate_lock(patch: str) -> None:
    """Neither vCPU nor host (the recordings: none of 1,767 and of 645)."""
    r = Rig(PATCHES[patch], "shared")
    access(r)
    vcpu = [event.lock for event in only(r.events, Lock)]
    r.call(lambda t: r.touch(t, 0, 1, True))
    assert not [
        lock for lock in [*vcpu, *(event.lock for event in only(r.events, Lock))] if "invalidate" in lock
    ]


@every_patch
def test_allocation_clears_nothing(patch: str) -> None:
    """The first fault does (the recordings)."""
    r = launched(patch)
    r.call(lambda t: r.fallocate(t, 0, 0, 1, False))
    assert names(r.events, *CLEARING) == []
    access(r)
    assert len(only(r.events, Clear)) == 1


@pytest.mark.parametrize(("release", "under"), [("6.12", False), ("6.18", True)])
def test_reference_is_dropped_before_or_after_mmu_lock(release: str, under: bool) -> None:
    """Since 6.13 while mmu_lock is still held (guest-memfd.md 4.6 step 13)."""
    r = Rig(PATCHES["baseline"], "private", release=RELEASES[release])
    refs = []

    def look(t: Task, event: Any) -> None:
        if isinstance(event, Unlock) and event.lock == "vm0.mmu_lock":
            refs.append(r.inode.folios[0].ref)

    r.recorders.append(look)
    access(r)
    assert refs == [1 if under else 2]
