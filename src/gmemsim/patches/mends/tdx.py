# mypy: disable-error-code="misc,valid-type,no-any-return"
"""Mends of what TDX alone has: pages that the module keeps, two roots, a loop in the exit handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...actors.errno import EIO
from .entry import Mend

if TYPE_CHECKING:
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...actors.vm import Vcpu
    from ...engine.task import Task


_ROOT: Final = ("tdx-fault-keeps-obsolete-root",)


def leak_on_failure(parent: type[Kernel]) -> type[Kernel]:
    """KVM takes a reference of the page at the moment in which its removal fails, and never drops it."""

    class LeakOnFailure(parent):
        def arch_choices(self) -> dict[str, object]:
            return {**super().arch_choices(), "page_references": True}

    return LeakOnFailure


def hole_fails(parent: type[Kernel]) -> type[Kernel]:
    """The invalidation tells guest_memfd, and PUNCH_HOLE leaves the pages where they are: -EIO."""

    class HoleFails(parent):
        def dead_user(self, t: Task, inode: GmemInode) -> bool:
            """Whether KVM gave up a VM that the file is bound in."""
            return any(file.vm.dead for file in inode.files)

        async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
            holes: dict[Task, bool] = self.__dict__.setdefault("_holes", {})
            holes[t] = False
            ret: int = await super().kvm_gmem_punch_hole(t, inode, start, end)
            return EIO if holes.pop(t) else ret

        async def truncate_inode_pages_range(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
            holes: dict[Task, bool] = self.__dict__.get("_holes", {})
            if t in holes and self.dead_user(t, inode):
                holes[t] = True
                return
            await super().truncate_inode_pages_range(t, inode, start, end)

    return HoleFails


def mapped_files_zap_both(parent: type[Kernel]) -> type[Kernel]:
    """A file whose slots are guest_memfd's alone can be mapped as either kind: invalidations zap both."""

    class MappedFilesZapBoth(parent):
        def invalidate_filter(self, inode: GmemInode) -> str:
            return "both" if "MMAP" in inode.flags else super().invalidate_filter(inode)

    return MappedFilesZapBoth


def files_zap_both(parent: type[Kernel]) -> type[Kernel]:
    """Whatever the file's flags say, an invalidation zaps both kinds."""

    class FilesZapBoth(parent):
        def invalidate_filter(self, inode: GmemInode) -> str:
            return "both"

    return FilesZapBoth


def retry_goes_back(parent: type[Kernel]) -> type[Kernel]:
    """The loop of a private fault ends if the root has become obsolete, and the next entry loads another."""

    class RetryGoesBack(parent):
        def retry_goes_back(self, t: Task, vcpu: Vcpu, gfn: int) -> bool:
            if vcpu.root_generation != vcpu.vm.root_generation:
                return True
            return super().retry_goes_back(t, vcpu, gfn)

    return RetryGoesBack


def retry_reloads(parent: type[Kernel]) -> type[Kernel]:
    """The loop of a private fault frees an obsolete root and loads a new one before each try."""

    class RetryReloads(parent):
        def retry_goes_back(self, t: Task, vcpu: Vcpu, gfn: int) -> bool:
            back: bool = super().retry_goes_back(t, vcpu, gfn)
            if not back:
                vcpu.root_generation = vcpu.vm.root_generation
            return back

    return RetryReloads


MENDS: Final = (
    Mend(
        ident="tdx-leak-on-failure",
        title="KVM takes a reference of a page whose removal failed, and leaks it",
        says="what the references of every mapped page did to 6.18, paid for only where it is needed. In place a "
        "conversion of the page answers -EAGAIN from then on",
        findings=("tdx-removal-failure",),
        make=leak_on_failure,
        blind="how the hook of the zap comes by the folio, of which it has the pfn; the model leaks the frame, so "
        "that the reference is not seen by a conversion",
        meets=("punch",),
        arches=("tdx",),
    ),
    Mend(
        ident="tdx-hole-fails",
        title="guest_memfd is told that the removal failed, and PUNCH_HOLE leaves the pages in the file (-EIO)",
        says="an error of the invalidation, which today has none",
        findings=("tdx-removal-failure",),
        make=hole_fails,
        wrong="the last close cannot fail and frees the pages all the same",
        meets=("punch",),
        arches=("tdx",),
    ),
    Mend(
        ident="mapped-files-zap-both",
        title="invalidations of a file with MMAP zap shared and private mappings",
        says="what the in-place series does where conversion in place is on. A file without MMAP is mapped as private "
        "alone, and zapped as before",
        findings=("tdx-shared-page-survives-hole",),
        make=mapped_files_zap_both,
        meets=("punch",),
        arches=("tdx",),
    ),
    Mend(
        ident="files-zap-both",
        title="invalidations of every file zap shared and private mappings",
        says="no flag decides any more what can be mapped. A hole in a file without MMAP also zaps what the guest has "
        "as shared at these gfns, which are pages of userspace and are faulted in again",
        findings=("tdx-shared-page-survives-hole",),
        make=files_zap_both,
        meets=("punch",),
        arches=("tdx",),
    ),
    Mend(
        ident="tdx-retry-goes-back",
        title="the loop of a private fault looks at the request to free obsolete roots, and goes back to the guest",
        says="one more reason in tdx_handle_ept_violation beside signals, interrupts and a dead VM; the next entry "
        "loads a new root, as after any other fault",
        findings=_ROOT,
        make=retry_goes_back,
        blind="that going back without progress counts for the module's defence against single-stepping, once for each "
        "time that roots become obsolete",
        meets=("touch",),
        arches=("tdx",),
    ),
    Mend(
        ident="tdx-retry-reloads",
        title="the loop of a private fault frees an obsolete root and loads a new one before each try",
        says="the loop calls kvm_mmu_reload, and the guest is not entered in between",
        findings=_ROOT,
        make=retry_reloads,
        blind="that a root cannot be loaded (-ENOMEM), which the exit handler would have to pass on",
        meets=("touch",),
        arches=("tdx",),
    ),
)
