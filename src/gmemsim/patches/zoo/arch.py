# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of the arch hooks and of launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from ...actors.errno import EFAULT, EINVAL, EIO
from ...arch.spin import TryLock
from .entry import bug, missing

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemFile
    from ...actors.kernel import Kernel
    from ...actors.vm import Vcpu, Vm
    from ...engine.task import Task


def launch_finish_repeated(parent: type[Kernel]) -> type[Kernel]:
    """KVM does not look whether a vCPU's state is encrypted: a second finish writes to a page that is the guest's."""

    class LaunchFinishRepeated(parent):
        def sev_es_sync_vmsa(self, t: Task, vcpu: Vcpu) -> int:
            if vcpu.state_protected:
                vcpu.vm.arch.flag(t, "HOST_RMP_VIOLATION", -1)
            return 0

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

    Source: "KVM: TDX: Hold folio ref count on fatal error", proposed 2025-06-10. Seeded into 6.18; so it is in every
    kernel since (`Release.tdx_page_references`).
    """
    return _with_choices(parent, "TdxUnmapFailureFreesPage", page_references=False)


def tdx_wbinvd_failure_reuse(parent: type[Kernel]) -> type[Kernel]:
    """PAGE.REMOVE succeeds and the write-back fails: the page is freed as if nothing had been (report, 2026-04-01)."""
    return _with_choices(parent, "TdxWbinvdFailureReuse", leak_unflushed=False)


def _with_tdr_lock(parent: type[Kernel], *, all_locks: bool) -> type[Kernel]:
    """The module's lock on the TD as a whole, which the model leaves out: shared to add a page, exclusive to finalize.

    A try-lock, and KVM takes BUSY for impossible (KVM_BUG_ON).
    """

    class TdrLock(parent):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self._tdr = TryLock("tdx.tdr")

        async def launch_update_lock(self, t: Task, vm: Vm, errno: int = 0) -> int:
            if all_locks:
                ret: int = await super().launch_update_lock(t, vm, errno)
                return ret
            # KVM_TDX_INIT_MEM_REGION held slots_lock, and not kvm->lock as KVM_TDX_FINALIZE_VM does.
            if not errno:
                await vm.slots_lock.lock(t)
            return errno

        async def launch_update_unlock(self, t: Task, vm: Vm, slots_lock: bool = True) -> None:
            if all_locks:
                await super().launch_update_unlock(t, vm, slots_lock)
            else:
                await vm.slots_lock.unlock(t)
                await self.task_work_run(t)

        async def post_populate(self, t: Task, vm: Vm, gfn: int, folio: Folio, content: str | None) -> int:
            if not await self._tdr.try_lock(t, False):
                vm.arch.flag(t, "KVM_BUG", folio.pfn)
                return EIO
            ret: int = await super().post_populate(t, vm, gfn, folio, content)
            await self._tdr.unlock(t, False)
            return ret

        async def launch_finish(self, t: Task, vm: Vm) -> int:
            await vm.lock.lock(t)
            ret = EINVAL if vm.finalized else await self._finalize(t, vm)
            if ret == 0:
                vm.finalized = True
            await vm.lock.unlock(t)
            return ret

        async def _finalize(self, t: Task, vm: Vm) -> int:
            if not await self._tdr.try_lock(t, True):
                vm.arch.flag(t, "KVM_BUG", -1)
                return EIO
            ret = await vm.arch.launch_finish(t, vm)
            await self._tdr.unlock(t, True)
            return ret

    name = "SeamcallsGuarded" if all_locks else "SeamcallIoctlContention"
    TdrLock.__name__ = TdrLock.__qualname__ = name
    return TdrLock


def tdx_seamcall_ioctl_contention(parent: type[Kernel]) -> type[Kernel]:
    """The launch's ioctls hold a lock each, and not the same (before 15945e9ec195)."""
    return _with_tdr_lock(parent, all_locks=False)


def tdx_seamcalls_guarded(parent: type[Kernel]) -> type[Kernel]:
    """The same module, all locks held."""
    return _with_tdr_lock(parent, all_locks=True)


def psmash_race_not_rechecked(parent: type[Kernel]) -> type[Kernel]:
    """A PSMASH that fails is an error, also where another vCPU split the entry in between."""

    class PsmashRaceNotRechecked(parent):
        async def sev_psmash_failed(self, t: Task, vcpu: Vcpu, pfn: int, code: int) -> int:
            return code

        async def sev_after_psmash(self, t: Task, vcpu: Vcpu, gfn: int, code: int) -> int:
            ret: int = await super().sev_after_psmash(t, vcpu, gfn, code)
            return EFAULT if code else ret

    return PsmashRaceNotRechecked


def zap_drops_whole_huge_leaf(parent: type[Kernel]) -> type[Kernel]:
    """A leaf that the range cuts is not split before the zap: all of it goes, and what the guest had in the rest."""

    class ZapDropsWholeHugeLeaf(parent):
        async def kvm_split_cross_boundary_leafs(self, t: Task, vm: Vm, start: int, end: int) -> int:
            return 0

    return ZapDropsWholeHugeLeaf


_DIRECT_MAP = "needs the series that takes guest_memfd out of the host's direct map, which is not modelled"

BUGS = (
    missing(
        "launch-finish-vcpu-unlocked",
        "the registers that a launch encrypts, and their page, are not modelled",
    ),
    bug(
        "launch-finish-repeated",
        rules="I35",
        make=launch_finish_repeated,
        vm_types=("snp",),
        scenario="zoo-finish_twice",
    ),
    bug(
        "psmash-race-not-rechecked",
        rules="unexpected_outcome",
        make=psmash_race_not_rechecked,
        versions=("hugepage-mutex",),
        vm_types=("snp",),
        scenario="zoo-huge_accept",
    ),
    missing("sev-flag-toctou", "VM types are fixed at creation here; their initialisation is not modelled"),
    bug(
        "tdx-seamcall-ioctl-contention",
        # Finalized in the middle, the page is augmented and its source forgotten: what lies there is the guest's (I2).
        rules="arch:KVM_BUG I2",
        make=tdx_seamcall_ioctl_contention,
        control=tdx_seamcalls_guarded,
        vm_types=("tdx",),
        scenario="zoo-launch_apart",
    ),
    bug(
        "tdx-unmap-failure-frees-page",
        rules="I31",
        versions=("baseline",),
        make=tdx_unmap_failure_frees_page,
        vm_types=("tdx",),
        scenario="zoo-tdx_fails",
    ),
    bug(
        "tdx-wbinvd-failure-reuse",
        rules="I31",
        versions=("baseline",),
        make=tdx_wbinvd_failure_reuse,
        vm_types=("tdx",),
        scenario="zoo-tdx_fails",
    ),
    bug(
        "zap-drops-whole-huge-leaf",
        rules="unexpected_outcome",
        make=zap_drops_whole_huge_leaf,
        versions=("hugepage-mutex",),
        vm_types=("tdx",),
        scenario="zoo-huge_convert",
    ),
    missing("direct-map-flag-not-cleared", _DIRECT_MAP),
)
