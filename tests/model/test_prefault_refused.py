"""KVM_PRE_FAULT_MEMORY that is refused: what is asked first (kvm_main.c and mmu.c of 6.12.117, 7.2.12 and 7.3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.model.rig import BASE, PAGE, Rig, only

from gmemsim.actors.errno import EINTR, EINVAL, EIO, EOPNOTSUPP
from gmemsim.actors.release import RELEASES
from gmemsim.audit.events import Lock
from gmemsim.audit.kvm_events import Map, PreFault, PreFaultRet
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.patches.baseline import Baseline
from gmemsim.patches.mainline_7_3 import Mainline73
from gmemsim.patches.v3 import V3

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.task import Task

versions = pytest.mark.parametrize(
    ("patch", "release"), [(Baseline, "6.12"), (V3, "7.2"), (Mainline73, "7.3")]
)


def prefault(r: Rig, size: int = PAGE) -> Callable[[Task], Any]:
    return lambda t: r.kernel.kvm_vcpu_pre_fault_memory(t, r.vm.vcpus[0], BASE * PAGE, size)


@pytest.mark.parametrize("kind", ["snp", "tdx"])
@versions
def test_before_the_end_of_the_launch(patch: type[Baseline], release: str, kind: str) -> None:
    """The arguments, a signal, and only then whether it is allowed, which is asked for each page."""
    r = Rig(patch, kind, vcpus=1, release=RELEASES[release])
    assert r.run_all(prefault(r, 1), signal=True)[0][0] == EINVAL
    assert r.run_all(prefault(r), signal=True)[0] == (EINTR, BASE * PAGE, PAGE)
    assert not only(r.events, PreFault)
    assert r.run_all(prefault(r))[0] == (EOPNOTSUPP, BASE * PAGE, PAGE)
    assert len(only(r.events, PreFault)) == 1
    assert not only(r.events, Map)
    r.call(lambda t: r.kernel.launch_finish(t, r.vm))
    assert r.run_all(prefault(r), signal=True)[0][0] == EINTR
    assert r.run_all(prefault(r))[0][0] == 0


def test_a_vm_that_dies_while_the_mutex_is_waited_for() -> None:
    """`kvm_vcpu_ioctl` asks before it waits; the ioctl comes to whether the VM is dead only where it may pre-fault."""
    seen = set()
    for seed in range(30):
        r = Rig(V3, "tdx", vcpus=1)

        async def dies(t: Task, r: Rig = r) -> None:
            await r.vm.vcpus[0].mutex.lock(t)
            r.arch.kvm_bug(t, r.vm)
            await r.vm.vcpus[0].mutex.unlock(t)

        (ret, _, _) = r.run_all(prefault(r), dies, strategy=RandomStrategy(seed))[0]
        waited = any(task == "t0" for task, event in r.events if isinstance(event, Lock))
        assert ret == (EOPNOTSUPP if waited else EIO)
        seen.add(ret)
    assert seen == {EOPNOTSUPP, EIO}


def test_a_signal_does_not_end_the_wait_for_the_mutex() -> None:
    """mutex_lock_killable: only a kill would. What is done with the mutex sees the signal."""
    waits = 0
    for seed in range(40):
        r = Rig(V3, "tdx", vcpus=1)
        waiter: list[Task] = []

        async def waits_for_it(t: Task, r: Rig = r, waiter: list[Task] = waiter) -> Any:
            waiter.append(t)
            return await prefault(r)(t)

        async def holds(t: Task, r: Rig = r, waiter: list[Task] = waiter) -> bool:
            mutex = r.vm.vcpus[0].mutex
            await mutex.lock(t)
            await t.sleep(0)
            waiting = bool(waiter) and waiter[0].parked_on is mutex
            for task in waiter:
                t.engine.signal(task)
            await t.sleep(0)
            assert not only(r.events, PreFaultRet) or not waiting
            await mutex.unlock(t)
            return waiting

        (ret, _, _), waiting = r.run_all(waits_for_it, holds, strategy=RandomStrategy(seed))
        if waiting:
            waits += 1
            assert ret == EINTR
    assert waits
