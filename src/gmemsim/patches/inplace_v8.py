"""In-place conversion, v8 as posted (June 2026). Private or shared is the file's matter, and changes in place.

guest-memfd.md 3, 4.7, 4.8, 4.9, 4.14. What review of it found is kept: a conversion zaps every kind that is
present in its range, which costs TDX guests the pages that were private already; the reference check looks at the
count alone; an index without an attribute counts as shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..actors.errno import EFAULT, EINVAL, ENOMEM
from ..actors.folio import LRU
from ..actors.gmem_user_fault import SIGBUS
from ..engine.observed import announces, whole
from ..engine.op import ALL
from . import gmem_arch, gmem_attributes, gmem_convert, lru_batches
from .v3 import V3

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..engine.task import Task


@announces(_lru=whole(lambda kernel: (LRU, 0, ALL)))
class InplaceV8(V3):
    """Private or shared by the file's index; faults of vCPUs and of the host take the invalidate lock shared.

    Attributes:
        lru_batch: folios that a batch on its way to an LRU list holds before it empties itself.
    """

    name: ClassVar[str] = "inplace-v8"
    default_release: ClassVar[str] = "7.3"
    in_place: ClassVar[bool] = True
    lru_batch: ClassVar[int] = 31

    def __init__(self, *args: Any, **options: Any) -> None:
        """Batches, which are kept."""
        super().__init__(*args, **options)
        #: Folios in batches on their way to an LRU list, with the inode they were made for, by the task that made them.
        self._lru: dict[Task, list[tuple[GmemInode, Folio]]] = {}

    def release_end(self, inode: GmemInode) -> int:
        """The file's size, since the filter would walk the attributes (v8 19/46); not so as applied."""
        return inode.pages

    # -- private or shared as an attribute of the file's index (`gmem_attributes`) ---------------------

    def arch_choices(self) -> dict[str, object]:
        """A page can be its own source."""
        return {**super().arch_choices(), "in_place_source": True}

    gmem_supported_flags = gmem_attributes.gmem_supported_flags
    kvm_gmem_init_inode = gmem_attributes.kvm_gmem_init_inode
    gmem_attr_label = staticmethod(gmem_attributes.gmem_attr_label)
    gmem_attr_value = gmem_attributes.gmem_attr_value
    kvm_gmem_is_private = gmem_attributes.kvm_gmem_is_private
    kvm_mem_is_private = gmem_attributes.kvm_mem_is_private
    gfn_is_private = gmem_attributes.gfn_is_private
    kvm_gmem_store_attributes = gmem_attributes.kvm_gmem_store_attributes
    kvm_vm_ioctl_set_mem_attributes = gmem_attributes.kvm_vm_ioctl_set_mem_attributes

    def gmem_attr_missing(self, inode: GmemInode) -> bool:
        """Whether an index without an entry counts as private: never, however the inode began."""
        return False

    # -- the call that converts (`gmem_convert`) -------------------------------------------------------

    kvm_gmem_set_attributes = gmem_convert.kvm_gmem_set_attributes
    kvm_gmem_check_attributes = gmem_convert.kvm_gmem_check_attributes
    content_flags = gmem_convert.content_flags
    kvm_gmem_convert = gmem_convert.kvm_gmem_convert
    kvm_gmem_apply_content_mode = gmem_convert.kvm_gmem_apply_content_mode
    unmap_mapping_pages = gmem_convert.unmap_mapping_pages
    mapped_in = gmem_convert.mapped_in
    kvm_gmem_outside_reference = gmem_convert.kvm_gmem_outside_reference
    folio_has_outside_reference = gmem_convert.folio_has_outside_reference
    present = gmem_convert.present
    invalidate_filter = gmem_convert.invalidate_filter
    kvm_gmem_make_shared = gmem_convert.kvm_gmem_make_shared
    kvm_gmem_make_folio_shared = gmem_convert.kvm_gmem_make_folio_shared
    kvm_gmem_make_pages_shared = gmem_convert.kvm_gmem_make_pages_shared

    async def folio_is_used(self, t: Task, inode: GmemInode, folio: Folio) -> str:
        """One answer for every reason: v8 looks at the reference count alone."""
        return "references" if await gmem_convert.folio_is_used(self, t, inode, folio) else ""

    def convert_filter(self, inode: GmemInode, start: int, end: int, private: bool) -> str:
        """Every kind present in the range, the one that stays included."""
        assert inode.attributes is not None
        kinds = {kind for _, _, kind in inode.attributes.ranges(start, end)}
        return "both" if len(kinds) > 1 else "private" if True in kinds else "shared"

    async def kvm_gmem_arch_make_shared(self, t: Task, inode: GmemInode, pfn: int, pages: int) -> None:
        """The hook of the free path serves."""
        await self.inode_vm(inode).arch.invalidate(t, pfn, pfn + pages)

    # -- batches of folios on their way to an LRU list, which a conversion drains (`lru_batches`) ------

    lru_references = lru_batches.lru_references
    folios_in_batches = lru_batches.folios_in_batches
    folio_in_lru_batch = lru_batches.folio_in_lru_batch
    shake_folio = lru_batches.shake_folio
    folio_add_lru = lru_batches.folio_add_lru
    lru_add_drain = lru_batches.lru_add_drain
    lru_add_drain_all = lru_batches.lru_add_drain_all
    _drain = lru_batches._drain

    # -- vCPU fault ------------------------------------------------------------------------------------

    kvm_arch_gmem_make_private = gmem_arch.kvm_arch_gmem_make_private

    async def kvm_gmem_get_file_pfn(
        self, t: Task, vm: Vm, slot: Memslot, gfn: int, index: int
    ) -> tuple[int, Folio | None]:
        """All of get_pfn under the shared lock, so that no conversion comes between look-up and make_private."""
        file = await self.get_file_active(t, slot.gmem_file)
        if file is None:
            return EFAULT, None
        lock = file.inode.invalidate_lock
        await lock.down_read(t)
        ret, folio = await self.kvm_gmem_get_locked_pfn(t, vm, file, slot, gfn, index)
        await lock.up_read(t)
        await self.fput_later(t, file)
        return ret, folio

    async def kvm_gmem_get_locked_pfn(
        self, t: Task, vm: Vm, file: GmemFile, slot: Memslot, gfn: int, index: int
    ) -> tuple[int, Folio | None]:
        """The part under the lock: 0 and the folio with a reference, or an errno."""
        folio = await self.kvm_gmem_get_checked_folio(t, file, slot, index)
        if isinstance(folio, int):
            return folio, None
        ret = await self.kvm_gmem_make_private(t, vm, file.inode, folio, gfn, index)
        await self.folio_unlock(t, folio)
        if ret:
            await self.folio_put(t, file.inode, folio)
            return ret, None
        return 0, folio

    async def kvm_gmem_get_checked_folio(
        self, t: Task, file: GmemFile, slot: Memslot, index: int
    ) -> Folio | int:
        """The common look-up clears what was never cleared, for populate too."""
        folio = await super().kvm_gmem_get_checked_folio(t, file, slot, index)
        if isinstance(folio, int):
            return folio
        await self.kvm_gmem_clear_once(t, file.inode, folio)
        return folio

    async def kvm_gmem_make_private(
        self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int, index: int
    ) -> int:
        """`kvm_arch_gmem_make_private` of a private index; a shared one is none of the arch's business."""
        if not vm.arch.has_private_memory or not await self.kvm_gmem_is_private(t, inode, index):
            return 0
        return await self.kvm_arch_gmem_make_private(t, vm, gfn, folio.pfn, folio.pages)

    # -- host fault ------------------------------------------------------------------------------

    async def kvm_gmem_user_fault_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | str:
        """Attribute and look-up under the shared lock, which is gone before the core maps the page.

        Whether conversion in place is on or off: then the file's map is what it was at creation.

        Between the two only the folio lock and the reference keep the page: a conversion sees the reference.
        """
        lock = inode.invalidate_lock
        await lock.down_read(t)
        found: Folio | int | None = None
        if not await self.kvm_gmem_is_private(t, inode, index):
            found = await self.kvm_gmem_get_folio(t, inode, index)
        await lock.up_read(t)
        if found is None:
            return SIGBUS
        if not isinstance(found, int):
            return found
        return "oom" if found == ENOMEM else SIGBUS

    # -- populate, bind --------------------------------------------------------------------------------

    async def kvm_gmem_populate_one(
        self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, content: str | None
    ) -> int:
        """As in v3, but the page is cleared before (so uptodate is set already), and the file says what is private."""
        inode = file.inode
        index = slot.index_of(gfn)
        folio = await self.kvm_gmem_get_checked_folio(t, file, slot, index)
        if isinstance(folio, int):
            return folio
        await self.folio_unlock(t, folio)
        private = await self.kvm_gmem_wants_private(t, vm, inode, gfn, index)
        ret = await self.post_populate(t, vm, gfn, folio, content) if private else EINVAL
        await self.folio_put(t, inode, folio)
        return ret

    async def kvm_gmem_wants_private(self, t: Task, vm: Vm, inode: GmemInode, gfn: int, index: int) -> bool:
        """What populate asks (`kvm_is_private_gfn`): the file's map."""
        return await self.kvm_gmem_is_private(t, inode, index)

    def tdx_premaps(self) -> bool:
        """Never: the fault would wait for the lock that populate holds."""
        return False

    async def kvm_gmem_store_binding(
        self, t: Task, file: GmemFile, slot: Memslot, start: int, end: int
    ) -> None:
        """A slot of a convertible file is served by it for both kinds, MMAP or not."""
        slot.gmem_only = True
        await super().kvm_gmem_store_binding(t, file, slot, start, end)
