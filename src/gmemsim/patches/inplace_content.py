"""Content modes: RFC v3 to v5 of in-place conversion (dropped in v6, May 2026), on top of the version as applied.

guest-memfd.md 4.14, "content modes". A conversion says what becomes of the content: ZERO, PRESERVE, or nothing. The
mode is applied to the whole range that was asked for, also where nothing converts, between make_shared and the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from ..actors.errno import EINVAL, EOPNOTSUPP
from ..actors.gmem_convert import Converted
from ..arch.memory import data
from ..audit.inplace_events import ContentMode
from .inplace import Inplace

if TYPE_CHECKING:
    from ..actors.inode import GmemFile, GmemInode
    from ..engine.task import Task

ZERO: Final = 1
PRESERVE: Final = 2


class InplaceContent(Inplace):
    """`flags` of the call holds a content mode."""

    name: ClassVar[str] = "inplace-content"

    def content_flags(self) -> int:
        """Content modes that `flags` of the call can hold."""
        return ZERO | PRESERVE

    def kvm_gmem_check_attributes(
        self, file: GmemFile, offset: int, size: int, private: bool, flags: int
    ) -> Converted:
        """Both modes at once are no mode."""
        if flags & ZERO and flags & PRESERVE:
            return Converted(EINVAL)
        return super().kvm_gmem_check_attributes(file, offset, size, private, flags)

    def content_supported(self, inode: GmemInode, private: bool, flags: int) -> bool:
        """ZERO never for to-private; hardware preserves only towards a VM that is not finalized yet."""
        vm = self.inode_vm(inode)
        if flags & ZERO:
            return not private
        if flags & PRESERVE and vm.arch.hardware_private:
            return private and not vm.finalized
        return True

    async def kvm_gmem_convert(
        self, t: Task, inode: GmemInode, start: int, end: int, private: bool, flags: int
    ) -> Converted:
        """-EOPNOTSUPP under the lock; a range that has the kind already gets the mode all the same."""
        if not self.content_supported(inode, private, flags):
            return Converted(EOPNOTSUPP, start)
        return await super().kvm_gmem_convert(t, inode, start, end, private, flags)

    async def kvm_gmem_apply_content_mode(
        self, t: Task, inode: GmemInode, start: int, end: int, flags: int
    ) -> None:
        """Every present folio, locked. A poisoned one is left alone: -EHWPOISON is only warned about.

        Without a mode a software-protected VM scrambles the page, so that nobody comes to rely on its content.
        """
        arch = self.inode_vm(inode).arch
        if flags & PRESERVE or not (flags & ZERO or arch.name == "sw-protected"):
            return
        for index in self.present(t, inode, start, end):
            folio = await self.kvm_gmem_get_folio(t, inode, index)
            if isinstance(folio, int):
                continue
            if not folio.poisoned:
                if t.rec is not None:
                    t.rec(t, ContentMode(index, "zero" if flags & ZERO else "unspecified"))
                await t.spend(self.costs.clear_4k)
                if arch.host_stage2:
                    await arch.kernel_touch(t, folio.pfn)
                if flags & ZERO:
                    arch.clear(t, folio.pfn)
                else:
                    arch.host_write(t, folio.pfn, data(f"random{index}"))
            await self.folio_unlock(t, folio)
            await self.folio_put(t, inode, folio)
