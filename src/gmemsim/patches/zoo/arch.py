# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of the arch hooks and of launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from .entry import bug, missing

if TYPE_CHECKING:
    from ...actors.inode import GmemFile
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


def _with_choices(parent: type[Kernel], name: str, **choices: Any) -> type[Kernel]:
    class WithChoices(parent):
        async def kvm_gmem_create(
            self, t: Task, vm: Vm, label: str, size: int, flags: frozenset[str] = frozenset()
        ) -> GmemFile | int:
            arch: Any = vm.arch
            arch.choices = attrs.evolve(arch.choices, **choices)
            return cast("GmemFile | int", await super().kvm_gmem_create(t, vm, label, size, flags))

    WithChoices.__name__ = WithChoices.__qualname__ = name
    return WithChoices


def tdx_unmap_failure_frees_page(parent: type[Kernel]) -> type[Kernel]:
    """A leaf that the module would not remove is forgotten, and its page freed: KVM holds no reference of its own.

    Source: "KVM: TDX: Hold folio ref count on fatal error", proposed 2025-06-10.
    """
    return _with_choices(parent, "TdxUnmapFailureFreesPage", page_references=False)


def tdx_wbinvd_failure_reuse(parent: type[Kernel]) -> type[Kernel]:
    """PAGE.REMOVE succeeds and the write-back fails: the page is freed as if nothing had been (report, 2026-04-01)."""
    return _with_choices(parent, "TdxWbinvdFailureReuse", leak_unflushed=False)


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
    bug(
        "tdx-unmap-failure-frees-page",
        rules="I31",
        make=tdx_unmap_failure_frees_page,
        arches=("tdx",),
        scenario="zoo-tdx_fails",
    ),
    bug(
        "tdx-wbinvd-failure-reuse",
        rules="I31",
        make=tdx_wbinvd_failure_reuse,
        arches=("tdx",),
        scenario="zoo-tdx_fails",
    ),
    missing("zap-drops-whole-huge-leaf", _HUGE),
    missing("direct-map-flag-not-cleared", _DIRECT_MAP),
)
