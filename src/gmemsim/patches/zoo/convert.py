# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of conversion in place, on the in-place versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors.errno import ENOMEM
from ...actors.gmem_convert import Converted
from ...actors.gmem_user_fault import SIGBUS
from .entry import bug, missing

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...actors.vm import Vm
    from ...engine.task import Task

_VERSIONS = ("inplace-v8", "inplace")


def user_fault_attr_check_outside_il(parent: type[Kernel]) -> type[Kernel]:
    """The host fault asks whether the page is shared before it takes the invalidate lock."""

    class UserFaultAttrCheckOutsideIl(parent):
        async def kvm_gmem_user_fault_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | str:
            if await self.kvm_gmem_is_private(t, inode, index):
                return SIGBUS
            await inode.invalidate_lock.down_read(t)
            found: Folio | int = await self.kvm_gmem_get_folio(t, inode, index)
            await inode.invalidate_lock.up_read(t)
            if not isinstance(found, int):
                return found
            return "oom" if found == ENOMEM else SIGBUS

    return UserFaultAttrCheckOutsideIl


def user_fault_ref_after_il(parent: type[Kernel]) -> type[Kernel]:
    """The host fault takes its reference after it has given the lock up: a conversion in between sees none."""

    class UserFaultRefAfterIl(parent):
        async def kvm_gmem_user_fault_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | str:
            await inode.invalidate_lock.down_read(t)
            private = await self.kvm_gmem_is_private(t, inode, index)
            await inode.invalidate_lock.up_read(t)
            if private:
                return SIGBUS
            found: Folio | int = await self.kvm_gmem_get_folio(t, inode, index)
            if not isinstance(found, int):
                return found
            return "oom" if found == ENOMEM else SIGBUS

    return UserFaultRefAfterIl


def no_refcheck_on_conversion(parent: type[Kernel]) -> type[Kernel]:
    """To-private looks at nobody's references."""

    class NoRefcheckOnConversion(parent):
        async def kvm_gmem_outside_reference(
            self, t: Task, inode: GmemInode, start: int, end: int
        ) -> Folio | None:
            return None

    return NoRefcheckOnConversion


def drain_recheck_skips_folio(parent: type[Kernel]) -> type[Kernel]:
    """After the drain the scan goes on with the next folio instead of looking at this one again."""

    class DrainRecheckSkipsFolio(parent):
        async def kvm_gmem_outside_reference(
            self, t: Task, inode: GmemInode, start: int, end: int
        ) -> Folio | None:
            drained = False
            for index in self.present(t, inode, start, end):
                folio = inode.folios.get(index)
                if folio is None:
                    continue
                folio.ref += 1
                used = await self.folio_is_used(t, inode, folio)
                await self.folio_put(t, inode, folio)
                if used and not drained:
                    await self.lru_add_drain_all(t)
                    drained = True
                    continue
                if used:
                    return folio
            return None

    return DrainRecheckSkipsFolio


def invalidate_filter_from_creation_flag(parent: type[Kernel]) -> type[Kernel]:
    """What is zapped follows from how the file was created, not from what the range is now."""

    class InvalidateFilterFromCreationFlag(parent):
        def invalidate_filter(self, inode: GmemInode) -> str:
            return "shared" if inode.init_shared else "private"

        def convert_filter(self, inode: GmemInode, start: int, end: int, private: bool) -> str:
            return "shared" if inode.init_shared else "private"

    return InvalidateFilterFromCreationFlag


def filter_computed_after_store(parent: type[Kernel]) -> type[Kernel]:
    """The zap comes after the store, and zaps the kind that the range has by then."""

    class FilterComputedAfterStore(parent):
        def convert_filter(self, inode: GmemInode, start: int, end: int, private: bool) -> str:
            return "private" if private else "shared"

    return FilterComputedAfterStore


def prepare_on_shared_fault(parent: type[Kernel]) -> type[Kernel]:
    """make_private is called for every fault, a shared one too."""

    class PrepareOnSharedFault(parent):
        async def kvm_gmem_make_private(
            self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int, index: int
        ) -> int:
            ret: int = await self.kvm_arch_gmem_make_private(t, vm, gfn, folio.pfn, folio.pages)
            return ret

    return PrepareOnSharedFault


def make_shared_before_zap(parent: type[Kernel]) -> type[Kernel]:
    """The arch takes the pages back while the guest still maps them."""

    class MakeSharedBeforeZap(parent):
        async def kvm_gmem_invalidate_start(
            self, t: Task, inode: GmemInode, start: int, end: int, kinds: str
        ) -> None:
            if self._to_shared.pop(t, False):
                await super().kvm_gmem_make_shared(t, inode, start, end)
            await super().kvm_gmem_invalidate_start(t, inode, start, end, kinds)

        async def kvm_gmem_make_shared(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
            """Done already."""

        async def kvm_gmem_convert(
            self, t: Task, inode: GmemInode, start: int, end: int, private: bool, flags: int
        ) -> Converted:
            self._to_shared[t] = not private
            done: Converted = await super().kvm_gmem_convert(t, inode, start, end, private, flags)
            self._to_shared.pop(t, None)
            return done

        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self._to_shared: dict[Task, bool] = {}

    return MakeSharedBeforeZap


def teardown_hook_used_for_conversion(parent: type[Kernel]) -> type[Kernel]:
    """What becomes shared goes through the hook of the free path, which scrubs (as in v8); pKVM is a projection."""

    class TeardownHookUsedForConversion(parent):
        async def kvm_gmem_arch_make_shared(self, t: Task, inode: GmemInode, pfn: int, pages: int) -> None:
            await self.inode_vm(inode).arch.invalidate(t, pfn, pfn + pages)

    return TeardownHookUsedForConversion


BUGS = (
    bug(
        "user-fault-attr-check-outside-il",
        rules="I24 I25 I26",
        make=user_fault_attr_check_outside_il,
        versions=_VERSIONS,
        scenario="zoo-inplace_host",
    ),
    bug(
        "user-fault-ref-after-il",
        rules="I24 I25 I26",
        make=user_fault_ref_after_il,
        versions=_VERSIONS,
        scenario="zoo-inplace_host",
    ),
    bug(
        "no-refcheck-on-conversion",
        rules="I24 I25",
        make=no_refcheck_on_conversion,
        versions=_VERSIONS,
        scenario="zoo-inplace_host",
    ),
    bug(
        "drain-recheck-skips-folio",
        rules="I24 I25",
        make=drain_recheck_skips_folio,
        versions=_VERSIONS,
        scenario="zoo-inplace_host",
    ),
    bug(
        "invalidate-filter-from-creation-flag",
        rules="I19 I20 I30 I28",
        make=invalidate_filter_from_creation_flag,
        versions=_VERSIONS,
        vm_types=("tdx",),
        scenario="zoo-inplace_hw",
    ),
    bug(
        "filter-computed-after-store",
        rules="I19 I20 I30 I28",
        make=filter_computed_after_store,
        versions=_VERSIONS,
        vm_types=("tdx",),
        scenario="zoo-inplace_hw",
    ),
    bug(
        "prepare-on-shared-fault",
        rules="I34 I35",
        make=prepare_on_shared_fault,
        versions=_VERSIONS,
        scenario="zoo-inplace_host",
    ),
    bug(
        "make-shared-before-zap",
        rules="I31 I35 I2 I19 I20 arch:RMP_SHARED_STALE",
        make=make_shared_before_zap,
        versions=_VERSIONS,
        vm_types=("snp",),
        scenario="zoo-inplace_hw",
    ),
    bug(
        "teardown-hook-used-for-conversion",
        rules="linearizability",
        make=teardown_hook_used_for_conversion,
        versions=("inplace",),
        vm_types=("pkvm",),
        scenario="inplace_share",
    ),
    missing(
        "early-return-without-lock",
        "the early-out under the lock is one look at the map; without the lock it is linearizable as a call of its own "
        "at the moment of the look, which no oracle can tell from a call that came earlier",
    ),
)
