"""PG_dirty, the LRU batch's reference, poison entries of host page tables, and pins: what eviction and checks see."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.model.inplace_rig import InplaceRig
from tests.model.rig import BASE, PAGE, Rig

from gmemsim.actors.errno import EFAULT
from gmemsim.actors.folio import Folio
from gmemsim.actors.release import RELEASES
from gmemsim.audit.kvm_events import EvictFolio, PageCacheDelete, PoisonEntry, Sigbus
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.patches.inplace import Inplace
from gmemsim.patches.inplace_v8 import InplaceV8
from gmemsim.patches.mainline_7_3 import Mainline73
from gmemsim.patches.v3 import V3

if TYPE_CHECKING:
    from gmemsim.actors.inode import GmemInode, HostMapping
    from gmemsim.actors.kernel import Kernel
    from gmemsim.engine.task import Task

RELEASED = [V3, Mainline73]


def fault_in(rig: Rig, how: str) -> None:
    """Have the page used in one way."""
    if how == "guest read":
        rig.call(rig.guest())
    elif how == "pre-fault":
        rig.call(rig.op("prefault", 0, 0, 0, 1))
    else:
        rig.call(rig.op("touch", 0, 0, how == "host write"))


@pytest.mark.parametrize("kernel", RELEASED)
@pytest.mark.parametrize(
    ("how", "dirty"), [("guest read", True), ("pre-fault", True), ("host write", True), ("host read", False)]
)
def test_what_dirties(kernel: type[Kernel], how: str, dirty: bool) -> None:
    rig = Rig(kernel, "shared")
    fault_in(rig, how)
    assert rig.inode.folios[0].dirty is dirty


@pytest.mark.parametrize("kernel", [*RELEASED, Inplace])
@pytest.mark.parametrize(("write", "dirty"), [(True, True), (False, False)])
def test_a_write_fault_dirties_before_the_store(kernel: type[Kernel], write: bool, dirty: bool) -> None:
    """Seen where the entry goes before the access is repeated: `fault_dirty_shared_page` has been there."""
    rig = Rig(kernel, "shared")
    rig.call(lambda t: rig.kernel.host_fault(t, rig.mappings[0], 0, write))
    assert rig.inode.folios[0].dirty is dirty
    rig.call(rig.op("discard", 0, 0, 1))
    rig.call(rig.kernel.lru_add_drain_all)
    events = poisoned_touch(rig)
    assert any(isinstance(event, EvictFolio) for event in events) is not dirty
    assert (Sigbus(0, True) in events) is dirty


@pytest.mark.parametrize("mapped", [False, True])
def test_a_pin_faults_for_a_write(mapped: bool) -> None:
    """And dirties nothing where it needs no fault: the entry that a read made is writable."""
    rig = Rig(V3, "shared")
    if mapped:
        fault_in(rig, "host read")
    rig.call(lambda t: rig.kernel.pin_user_page(t, rig.mappings[0], 0))
    assert rig.inode.folios[0].dirty is not mapped


def test_in_place_kvm_has_no_page_to_dirty() -> None:
    """As posted in v8 get_pfn still hands a page out; as applied it does not, and only host writes dirty it."""
    for kernel, dirty in ((InplaceV8, True), (Inplace, False)):
        rig = Rig(kernel, "shared")
        fault_in(rig, "guest read")
        assert rig.inode.folios[0].dirty is dirty
        fault_in(rig, "host write")
        assert rig.inode.folios[0].dirty


def test_a_retry_dirties_nothing() -> None:
    rig = Rig(V3, "shared")
    rig.vm.in_progress, rig.vm.range_start, rig.vm.range_end = 1, BASE, BASE + 1
    vcpu = rig.vm.vcpus[0]
    rig.call(lambda t: rig.kernel.kvm_mmu_do_page_fault(t, vcpu, BASE, False))
    assert 0 not in rig.inode.folios or not rig.inode.folios[0].dirty


def test_release_6_12_leaves_it_to_the_entries() -> None:
    """There the fault drops its page after mmu_lock, and no host can map a file to ask."""
    rig = Rig(V3, "private", release=RELEASES["6.12"])
    rig.call(rig.guest())
    assert not rig.inode.folios[0].dirty


def poisoned_touch(rig: Rig, draws: bool = False) -> list[object]:
    """A host fault between memory_failure's bit and its reference; events."""
    rig.inode.folios[0].poisoned = True
    rig.call(rig.op("touch", 0, 0, False), faults={} if draws else None)
    return [event for _, event in rig.events]


@pytest.mark.parametrize("kernel", RELEASED)
@pytest.mark.parametrize("how", ["guest read", "pre-fault", "host write"])
def test_a_dirty_page_is_not_evicted(kernel: type[Kernel], how: str) -> None:
    rig = Rig(kernel, "shared")
    fault_in(rig, how)
    rig.call(rig.op("discard", 0, 0, 1))
    events = poisoned_touch(rig)
    assert Sigbus(0, True) in events
    assert sum(isinstance(event, Sigbus) for event in events) == 1
    assert 0 in rig.inode.folios


@pytest.mark.parametrize("kernel", [*RELEASED, InplaceV8])
def test_a_clean_page_is_evicted_once_no_batch_holds_it(kernel: type[Kernel]) -> None:
    for held in (True, False):
        rig = Rig(kernel, "shared")
        fault_in(rig, "host read")
        rig.call(rig.op("discard", 0, 0, 1))
        if not held:
            rig.call(rig.kernel.lru_add_drain_all)
        events = poisoned_touch(rig, draws=held)
        assert any(isinstance(event, EvictFolio) for event in events) is not held
        assert any(isinstance(event, PageCacheDelete) for event in events) is not held
        assert (Sigbus(0, True) in events) is held


def test_memory_failure_waits_for_the_lru_list() -> None:
    """It drains the batches if the page is not on a list yet, and nobody has to draw afterwards."""
    rig = Rig(V3, "shared")
    fault_in(rig, "host read")
    assert not rig.inode.folios[0].lru
    rig.call(rig.op("fail", 0, 0))
    assert rig.inode.folios[0].lru


@pytest.mark.parametrize("kernel", [*RELEASED, Inplace])
def test_a_poison_entry_outlives_the_hole(kernel: type[Kernel]) -> None:
    rig = Rig(kernel, "shared")
    mapping = next(iter(rig.mappings.values()))

    def touch(where: HostMapping = mapping) -> str:
        return str(rig.call(lambda t: rig.kernel.host_access(t, where, 0, None)))

    fault_in(rig, "host write")
    rig.call(rig.op("fail", 0, 0))
    assert PoisonEntry(mapping.label, 0) in [event for _, event in rig.events]
    assert touch() == "SIGBUS"
    rig.call(rig.op("fallocate", 0, 0, 1, True))
    assert touch() == "SIGBUS"
    assert rig.call(lambda t: rig.kernel.pin_user_page(t, mapping, 0)) == EFAULT
    other = rig.call(lambda t: rig.kernel.kvm_gmem_mmap(t, rig.files[0], rig.process, "other", 0, 1))
    assert touch(other) == "zero"
    assert touch() == "SIGBUS"
    rig.call(lambda t: rig.kernel.madvise_dontneed(t, mapping, 0, 1))
    assert touch() == "zero"


def test_no_entry_no_poison() -> None:
    """Memory failure marks what it takes out, not what was never faulted in."""
    rig = Rig(V3, "shared")
    rig.call(rig.op("fallocate", 0, 0, 1, False))
    rig.call(rig.op("fail", 0, 0))
    assert not next(iter(rig.mappings.values())).hwpoison


def test_munmap_drops_poison_entries() -> None:
    rig = Rig(V3, "shared")
    mapping = next(iter(rig.mappings.values()))
    fault_in(rig, "host read")
    rig.call(rig.op("fail", 0, 0))
    assert mapping.hwpoison == {0}
    rig.call(lambda t: rig.kernel.munmap(t, mapping))
    assert not mapping.hwpoison


def test_a_pin_can_be_seen() -> None:
    """Between pin and unpin there is a step at which a conversion meets the pin."""
    reasons: set[str] = set()

    class Noted(Inplace):
        async def folio_is_used(self, t: Task, inode: GmemInode, folio: Folio) -> str:
            why = await super().folio_is_used(t, inode, folio)
            reasons.add(why)
            return why

    async def pin(rig: InplaceRig, t: Task) -> None:
        found = await rig.kernel.pin_user_page(t, next(iter(rig.mappings.values())), 0)
        if isinstance(found, Folio):
            await rig.kernel.unpin_user_page(t, rig.inode, found)

    async def convert(rig: InplaceRig, t: Task) -> None:
        await rig.inplace.kvm_gmem_set_attributes(t, rig.files[0], 0, PAGE, True)

    for seed in range(500):
        rig = InplaceRig(Noted, shared=True)
        rig.run_all(partial(pin, rig), partial(convert, rig), strategy=RandomStrategy(seed))
        if "pinned" in reasons:
            return
    pytest.fail(f"only {reasons}")
