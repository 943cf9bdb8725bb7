"""What the series argues against: v3 with preparedness kept by guest_memfd, a bit per page under the invalidate lock.

Not a proposal of anybody; the straw man that "what would tracking cost instead?" needs. The bit cannot be the folio's
uptodate flag, which means "cleared" since v1, so it lives beside the page cache and the invalidate lock guards it.

* `tracked`: shared to look the bit up, exclusive to set it. A lock that guards data the plain way: readers share,
  the one who changes it is alone. The fault that finds the bit clear drops the lock and comes back exclusive,
  because an rw-semaphore has no upgrade and the folio lock is inside.
* `tracked-shared`: shared throughout, the bit set by an atomic operation. Enough, since whoever sets it holds the
  folio lock and whoever clears it holds the invalidate lock exclusively; it costs the cache line of the bitmap.

Lock order in both: invalidate lock, then folio lock, as in truncation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..actors.errno import EFAULT
from ..engine.op import Op
from .v3 import V3

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.kernel import Kernel
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..arch.base import Content
    from ..engine.task import Task


class Tracked(V3):
    """Look up under the shared lock, mark under the exclusive one."""

    name: ClassVar[str] = "tracked"

    def prepared_of(self, inode: GmemInode) -> set[int]:
        """The bitmap of an inode: indices whose folio was prepared and has not left the page cache since."""
        return _bitmaps(self).setdefault(inode, set())

    async def kvm_gmem_get_file_pfn(
        self, t: Task, vm: Vm, slot: Memslot, gfn: int, index: int
    ) -> tuple[int, Folio | None]:
        """The body of get_pfn, with the file referenced."""
        file = await self.get_file_active(t, slot.gmem_file)
        if file is None:
            return EFAULT, None
        lock = file.inode.invalidate_lock
        await lock.down_read(t)
        if await self.kvm_gmem_is_prepared(t, file.inode, index):
            # Whoever clears the bit holds the lock exclusively, so it stays; prepared implies cleared.
            found = await self.kvm_gmem_get_checked_folio(t, file, slot, index)
            if not isinstance(found, int):
                await self.folio_unlock(t, found)
            await lock.up_read(t)
        else:
            found = await self.kvm_gmem_get_unprepared(t, vm, file, slot, gfn, index)
        await self.fput_later(t, file)
        return (found, None) if isinstance(found, int) else (0, found)

    async def kvm_gmem_get_unprepared(
        self, t: Task, vm: Vm, file: GmemFile, slot: Memslot, gfn: int, index: int
    ) -> Folio | int:
        """The shared lock, which is held, is given up and taken exclusively: back without it."""
        lock = file.inode.invalidate_lock
        await lock.up_read(t)
        await lock.down_write(t)
        found = await self.kvm_gmem_get_ready_folio(t, vm, file, slot, gfn, index)
        await lock.up_write(t)
        return found

    async def kvm_gmem_get_ready_folio(
        self, t: Task, vm: Vm, file: GmemFile, slot: Memslot, gfn: int, index: int
    ) -> Folio | int:
        """The folio with a reference, cleared and prepared, or an errno; invalidate lock held in either mode."""
        folio = await self.kvm_gmem_get_checked_folio(t, file, slot, index)
        if isinstance(folio, int):
            return folio
        ret = await self.kvm_gmem_make_ready(t, vm, file.inode, folio, gfn)
        await self.folio_unlock(t, folio)
        if ret:
            await self.folio_put(t, file.inode, folio)
            return ret
        return folio

    async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
        """As in v3, but the arch is asked only about a page whose bit is clear; a failure leaves it clear.

        The bit is tested again: another fault may have set it since we looked.
        """
        if not folio.uptodate:
            await self.kvm_gmem_clear_folio(t, inode, folio, self.pages_to_clear(folio))
            await self.kvm_gmem_mark_uptodate(t, inode, folio)
        if await self.kvm_gmem_is_prepared(t, inode, folio.index):
            return 0
        ret = await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)
        if ret == 0:
            await self.kvm_gmem_mark_prepared(t, inode, folio)
        return ret

    async def kvm_gmem_is_prepared(self, t: Task, inode: GmemInode, index: int) -> bool:
        """Test the bit: one look-up, of whatever structure holds it."""
        if t.traps:
            await t.point(Op("load", f"{inode.label}.prepared", index, index + 1, "r"))
        await t.spend(self.costs.xarray_lookup)
        return index in self.prepared_of(inode)

    async def kvm_gmem_mark_prepared(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        """Set the bit, folio lock held: the word shares its cache line with the neighbours' bits."""
        await t.spend(self.costs.line)
        if t.traps:
            await t.point(Op("rmw", f"{inode.label}.prepared", folio.index, folio.index + 1))
        self.prepared_of(inode).add(folio.index)

    async def post_populate(self, t: Task, vm: Vm, gfn: int, folio: Folio, content: Content) -> int:
        """What the launch filled is prepared; invalidate lock held exclusively."""
        ret = await super().post_populate(t, vm, gfn, folio, content)
        if ret == 0 and folio.mapping is not None:
            await self.kvm_gmem_mark_prepared(t, folio.mapping, folio)
        return ret

    async def kvm_gmem_free_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        """The folio leaves the page cache, and its bit with it; before the arch takes the frame back."""
        if t.traps:
            await t.point(Op("rmw", f"{inode.label}.prepared", folio.index, folio.index + 1))
        self.prepared_of(inode).discard(folio.index)
        await super().kvm_gmem_free_folio(t, inode, folio)


class TrackedShared(Tracked):
    """As `tracked`, but under the shared lock throughout, and the bit is set atomically."""

    name: ClassVar[str] = "tracked-shared"

    async def kvm_gmem_get_unprepared(
        self, t: Task, vm: Vm, file: GmemFile, slot: Memslot, gfn: int, index: int
    ) -> Folio | int:
        """Under the shared lock, which is given back."""
        found = await self.kvm_gmem_get_ready_folio(t, vm, file, slot, gfn, index)
        await file.inode.invalidate_lock.up_read(t)
        return found


def _bitmaps(kernel: Kernel) -> dict[GmemInode, set[int]]:
    """Bitmaps by inode; on the kernel object, as the inode has no field for a patch's own state."""
    bitmaps: dict[GmemInode, set[int]] = kernel.__dict__.setdefault("_prepared", {})
    return bitmaps
