"""The launch of SNP and TDX VMs: which locks its ioctls hold, and what a second finish answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.model.rig import BASE, PAGE, Rig, names, only

from gmemsim.actors.errno import EBUSY, EEXIST, EFAULT, EINVAL, EIO, EOPNOTSUPP
from gmemsim.actors.gmem_populate import Source
from gmemsim.actors.release import RELEASES
from gmemsim.arch.snp import Snp
from gmemsim.arch.tdx_state import TdxStatus
from gmemsim.audit.events import Lock
from gmemsim.audit.kvm_events import Clear, GetFolio, GetPfn, Gup, HardwareOp, Map, SetUptodate
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.patches.baseline import Baseline
from gmemsim.patches.inplace import InplaceOff
from gmemsim.patches.mainline_7_3 import Mainline73
from gmemsim.patches.v3 import V3

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

both = pytest.mark.parametrize("patch", [V3, Mainline73])


def finish(r: Rig) -> Any:
    return lambda t: r.kernel.launch_finish(t, r.vm)


def locks(r: Rig) -> list[str]:
    return [event.lock.rpartition(".")[2] for event in only(r.events, Lock)]


@both
@pytest.mark.parametrize(("kind", "vcpus"), [("snp", 2), ("tdx", 2)])
def test_a_second_finish(patch: type[V3], kind: str, vcpus: int) -> None:
    """TDX looks at its state; SNP finds a vCPU whose state is encrypted already (sev_es_sync_vmsa)."""
    r = Rig(patch, kind, vcpus=vcpus)
    assert r.call(finish(r)) == 0
    assert r.call(finish(r)) == EINVAL
    assert not only(r.events, HardwareOp), "the firmware is not asked"


@both
def test_a_second_finish_without_a_vcpu(patch: type[V3]) -> None:
    """Then only the firmware knows."""
    r = Rig(patch, "snp", vcpus=0)
    assert r.call(finish(r)) == 0
    assert r.call(finish(r)) == EIO
    assert len(only(r.events, HardwareOp)) == 1


def test_a_finish_that_failed_late_cannot_be_repeated() -> None:
    """The vCPUs are encrypted by then."""
    r = Rig(V3, "snp")
    assert r.call(finish(r), faults={"psp_launch_finish": 1}) == EIO
    assert r.call(finish(r)) == EINVAL
    assert not r.vm.finalized


@pytest.mark.parametrize(
    ("release", "mutexes"), [("6.12", 0), ("6.18", 0), ("6.19", 0), ("7.2", 2), ("7.3", 2)]
)
def test_locks_of_snp(release: str, mutexes: int) -> None:
    """`snp_launch_update_vmsa`: no vcpu->mutex in 6.12.117; they are given back before the firmware's last command."""
    r = Rig(V3, "snp", vcpus=2, release=RELEASES[release])
    r.call(finish(r))
    assert locks(r) == ["lock", *["mutex"] * mutexes]
    assert all(vcpu.state_protected for vcpu in r.vm.vcpus)
    r = Rig(V3, "snp", vcpus=2, release=RELEASES[release])
    r.call(r.op("populate", 0, 0, 1))
    assert locks(r)[:2] == ["lock", "slots_lock"]


_ALL = ["lock", "mutex", "mutex", "slots_lock"]


@pytest.mark.parametrize(
    ("release", "finishing", "updating"),
    [
        ("6.18", ["lock", "slots_lock"], ["mutex", "slots_lock"]),
        *((release, _ALL, _ALL) for release in ("6.19", "7.2", "7.3")),
    ],
)
def test_locks_of_tdx(release: str, finishing: list[str], updating: list[str]) -> None:
    """tdx_acquire_vm_state_locks since 6.19; before, KVM_TDX_INIT_MEM_REGION was an ioctl under one vCPU's mutex."""
    r = Rig(V3, "tdx", vcpus=2, release=RELEASES[release])
    r.call(finish(r))
    assert locks(r) == finishing
    r = Rig(V3, "tdx", vcpus=2, release=RELEASES[release])

    async def update(t: Task) -> None:
        await r.kernel.launch_update_lock(t, r.vm)
        await r.kernel.launch_update_unlock(t, r.vm)

    r.call(update)
    assert locks(r) == updating
    assert not any(lock.owner for lock in (r.vm.lock, r.vm.slots_lock, *(vcpu.mutex for vcpu in r.vm.vcpus)))


def test_nobody_waits_for_a_finish_that_takes_no_mutex() -> None:
    """SNP to 6.19: KVM_RUN and pre-fault go on beside it."""
    r = Rig(Baseline, "snp", vcpus=1)
    vcpu = r.vm.vcpus[0]
    ret, _, _ = r.call(lambda t: r.kernel.kvm_vcpu_pre_fault_memory(t, vcpu, BASE * PAGE, PAGE))
    assert ret == EOPNOTSUPP
    assert "mutex" not in locks(r)


@pytest.mark.parametrize("kind", ["snp", "tdx"])
def test_a_pre_fault_waits_for_the_finish(kind: str) -> None:
    """Both hold vcpu->mutex: the pre-fault comes before or after, and once the launch is over it takes none."""
    for seed in range(20):
        r = Rig(V3, kind, vcpus=1)
        vcpu = r.vm.vcpus[0]

        async def prefault(t: Task, r: Rig = r, vcpu: Any = vcpu) -> Any:
            return await r.kernel.kvm_vcpu_pre_fault_memory(t, vcpu, BASE * PAGE, PAGE)

        done, (ret, _, _) = r.run_all(finish(r), prefault, strategy=RandomStrategy(seed))
        assert done == 0
        assert ret in (0, -95)
        r.call(prefault)
        assert "mutex" not in locks(r)


def run(r: Rig, which: str = "guest_access") -> Any:
    """KVM_RUN: an access, or the guest's accept."""
    more = (True, None) if which == "guest_access" else ()
    return lambda t: getattr(r.kernel, which)(t, r.vm.vcpus[0], BASE, *more)


@pytest.mark.parametrize("call", ["guest_access", "guest_accept"])
@both
def test_a_vcpu_does_not_run_before_the_end_of_the_launch(patch: type[V3], call: str) -> None:
    """tdx_vcpu_pre_run; on SNP hardware refuses the save area. Either way the VM lives, and nothing is faulted."""
    for kind, answer in (("tdx", ("error", EINVAL)), ("snp", ("exit_fail_entry", 0))):
        r = Rig(patch, kind)
        done = r.call(run(r, call))
        assert (done.kind, done.errno) == answer
        assert not only(r.events, GetPfn)
        assert not r.vm.dead
        assert r.call(finish(r)) == 0
        assert r.call(run(r, call)).kind not in ("error", "exit_fail_entry")
        assert only(r.events, GetPfn), "an access to a page that is not accepted, or its accept"


def test_hardware_enters_with_a_save_area_that_the_launch_has_made() -> None:
    """The last command of the launch failed."""
    r = Rig(V3, "snp")
    assert r.call(finish(r), faults={"psp_launch_finish": 1}) == EIO
    assert r.call(run(r)).kind != "exit_fail_entry"


@pytest.mark.parametrize("late", [False, True])
def test_a_late_command_takes_the_mutexes(late: bool) -> None:
    """tdx_acquire_vm_state_locks comes before the look at the TD's state; KVM_RUN holds its vCPU's against it."""
    r = Rig(V3, "tdx", vcpus=2)
    assert r.call(finish(r)) == 0
    r.vm.late_launch = late
    assert r.call(finish(r)) == EINVAL
    assert locks(r) == _ALL
    r.call(run(r))
    assert ("mutex" in locks(r)) is late


@pytest.mark.parametrize(
    ("kind", "release", "taken"),
    [("snp", "7.2", ["lock"]), ("tdx", "7.2", _ALL), ("tdx", "6.18", ["mutex"])],
)
def test_locks_of_a_command_with_wrong_arguments(kind: str, release: str, taken: list[str]) -> None:
    r = Rig(V3, kind, vcpus=2, release=RELEASES[release])
    assert r.call(lambda t: r.kernel.launch_update_lock(t, r.vm, EFAULT)) == EFAULT
    assert locks(r) == taken
    assert not any(lock.owner for lock in (r.vm.lock, r.vm.slots_lock, *(vcpu.mutex for vcpu in r.vm.vcpus)))
    r.vm.killed = True
    assert r.call(lambda t: r.kernel.launch_update_lock(t, r.vm, EFAULT)) == EIO
    assert locks(r) == []


# -- the callbacks before the series ---------------------------------------------------------------------


def populate(r: Rig, source: Source | None) -> int:
    """One page, slots_lock left out; with a vCPU the TDX ioctl's."""
    ret: int = r.call(lambda t: r.kernel.kvm_gmem_populate(t, r.vm, BASE, 1, source))
    return ret


@pytest.mark.parametrize(("patch", "errno"), [(Baseline, EEXIST), (V3, EFAULT)])
def test_snp_looks_at_the_rmp_before_it_copies(patch: type[Baseline], errno: int) -> None:
    """Before the series (6.12.107): a page that is assigned already and a source that is not there."""
    r = Rig(patch, "snp")
    r.call(lambda t: r.kernel.kvm_gmem_fallocate(t, r.files[0], 0, PAGE, False))
    pfn = r.inode.folios[0].pfn
    r.call(lambda t: r.arch.rmp_make_private(t, pfn, BASE, 1, r.arch.asid(r.vm), immutable=True))
    assert populate(r, Source(r.process, (None,))) == errno


@pytest.mark.parametrize(("patch", "before", "after"), [(Baseline, True, False), (V3, False, True)])
def test_order_of_a_tdx_launch(patch: type[Baseline], before: bool, after: bool) -> None:
    """To 6.18 a fault of its own maps the page (get_pfn, cleared); since then populate's own page is mapped."""
    r = Rig(patch, "tdx")
    assert populate(r, Source(r.process, ("data:image",))) == 1
    order = names(r.events, GetPfn, Clear, Gup, Map, SetUptodate)
    fault = ["GetPfn", "Clear", "SetUptodate"] if before else []
    assert order == ["Gup", *fault, "Map", *(["SetUptodate"] if after else [])]
    assert r.arch.td(r.vm).premapped == 0
    assert r.call(finish(r)) == 0
    vcpu = r.vm.vcpus[0]
    r.call(lambda t: r.kernel.guest_accept(t, vcpu, BASE))
    assert r.call(lambda t: r.kernel.guest_access(t, vcpu, BASE, True, None)).value == "data:image"


def test_a_tdx_source_that_is_missing_before_the_series() -> None:
    """Nobody tests for it: get_user_pages_fast of address 0 fails."""
    assert populate(Rig(Baseline, "tdx"), None) == EFAULT


@pytest.mark.parametrize(
    ("status", "errno"), [(TdxStatus.OPERAND_BUSY, EBUSY), (TdxStatus.OP_STATE_INCORRECT, EIO)]
)
def test_a_page_that_was_mapped_and_not_added(status: int, errno: int) -> None:
    """To 6.18: the count keeps the TD from being finalized, and the page counts as filled."""
    r = Rig(Baseline, "tdx")

    async def refused(*args: Any) -> int:
        return status

    r.arch.module.page_add = refused
    source = Source(r.process, ("data:image",))
    assert populate(r, source) == errno
    assert r.call(finish(r)) == EINVAL
    assert populate(r, source) == EEXIST


@pytest.mark.parametrize(("patch", "looked_up"), [(V3, 1), (Mainline73, 0), (InplaceOff, 0)])
def test_an_snp_source_that_is_missing(patch: type[V3], looked_up: int) -> None:
    """`snp_launch_update` of 7.3.4 refuses address 0 before any lock; to 7.2 the callback does, with the page there."""
    r = Rig(patch, "snp")
    assert populate(r, None) == EINVAL
    assert len(only(r.events, GetFolio)) == len(r.inode.folios) == looked_up
    assert isinstance(r.arch, Snp)
    r.arch.launch_page_type = "zero"
    assert populate(r, None) == 1, "the firmware clears the page"
