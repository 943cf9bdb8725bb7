# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of the arch hooks and of launch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .entry import bug, missing

if TYPE_CHECKING:
    from ...actors.kernel import Kernel
    from ...actors.vm import Vm
    from ...engine.task import Task

__all__ = ["BUGS"]


def launch_finish_repeated(parent: type[Kernel]) -> type[Kernel]:
    """KVM does not look at the launch state, and leaves it to the firmware to refuse a second finish."""

    class LaunchFinishRepeated(parent):
        async def launch_finish(self, t: Task, vm: Vm) -> int:
            await vm.lock.lock(t)
            ret = await vm.arch.launch_finish(t, vm)
            vm.finalized = True
            await vm.lock.unlock(t)
            return 0 if ret in (0, -22) else ret

    return LaunchFinishRepeated


_HUGE = "needs 2 MiB mappings, which come with huge folios"
_DIRECT_MAP = "needs the series that takes guest_memfd out of the host's direct map, which is not modelled"

BUGS = (
    missing("launch-finish-vcpu-unlocked", "the VMSA pages that a launch measures are not modelled"),
    bug(
        "launch-finish-repeated",
        rules="unexpected_outcome",
        make=launch_finish_repeated,
        arches=("snp",),
        scenario="zoo-finish_twice",
    ),
    missing("psmash-race-not-rechecked", _HUGE),
    missing("sev-flag-toctou", "VM types are fixed at creation here; their initialisation is not modelled"),
    missing(
        "tdx-seamcall-ioctl-contention",
        "the launch commands' own locking is the workload's here (kvm->lock, slots_lock), not a patch version's",
    ),
    missing(
        "tdx-unmap-failure-frees-page",
        "these versions hold a reference of mapped pages; without (`page_references`) the arch tests show SEPT_UAF",
    ),
    missing(
        "tdx-wbinvd-failure-reuse",
        "fault point tdx_wbinvd makes the flush fail, but no flag of the TDX actor speaks of reuse without writeback",
    ),
    missing("zap-drops-whole-huge-leaf", _HUGE),
    missing("direct-map-flag-not-cleared", _DIRECT_MAP),
)
