"""The order of a conversion in a HugeTLB work in progress on top of the in-place series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmemsim.actors.errno import EAGAIN
from gmemsim.actors.gmem_convert import Converted
from gmemsim.patches.inplace import Inplace

if TYPE_CHECKING:
    from typing import Any

    from gmemsim.actors.inode import GmemInode
    from gmemsim.engine.task import Task


class WipOrder(Inplace):
    """The invalidation ends before the attributes are stored."""

    name = "wip-order"

    async def kvm_gmem_convert(
        self, t: Task, inode: GmemInode, start: int, end: int, private: bool, flags: Any
    ) -> Converted:
        assert inode.attributes is not None
        if inode.attributes.uniform(start, end, private):
            return Converted(0)
        if private:
            await self.unmap_mapping_pages(t, inode, start, end)
            if await self.kvm_gmem_outside_reference(t, inode, start, end) is not None:
                return Converted(EAGAIN, start)
        await self.kvm_gmem_invalidate_start(t, inode, start, end, "both")
        await self.kvm_gmem_invalidate_end(t, inode, start, end)
        await self.kvm_gmem_store_attributes(t, inode, start, end, private)
        return Converted(0)
