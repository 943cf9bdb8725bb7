"""A memslot: which guest frames are backed by which part of which file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.observed import announces, by_key
from ..engine.op import ALL

if TYPE_CHECKING:
    from .inode import GmemFile, HostMapping


@announces(frames=by_key(lambda memory: memory.label))
class UserMemory:
    """An ordinary anonymous buffer of the VMM: the shared half of a two-source memslot.

    Frames appear at first touch and stay; `frames` maps page number in the buffer to pfn.
    """

    __slots__ = ("frames", "label")

    def __init__(self, label: str) -> None:
        self.label = label
        self.frames: dict[int, int] = {}


@announces(
    gmem_file=lambda slot: (slot.file_label, 0, ALL),
    freed=lambda slot: (slot.life_label, 0, ALL),
)
class Memslot:
    """`struct kvm_memory_slot`.

    Attributes:
        ident: slot number.
        base_gfn: first guest frame; `pages` frames follow.
        gmem_file: `slot->gmem.file`; a plain pointer, not a counted reference.
        pgoff: `slot->gmem.pgoff`, the file index of `base_gfn`.
        gmem: the slot was created with KVM_MEM_GUEST_MEMFD (stays true when the file is gone).
        gmem_only: shared faults are served by guest_memfd too (KVM_MEMSLOT_GMEM_ONLY).
        user: where shared memory comes from otherwise, or None.
        user_offset: first page of `user` that belongs to the slot.
        hva: the mapping of guest_memfd that the slot's userspace address lies in, or None.
        invalid: KVM_MEMSLOT_INVALID: being deleted or moved.
        freed: `kvm_free_memslot` has run; whoever still looks at the slot reads freed memory.
        disallow_lpage: (level, first gfn) of ranges that must not have a large leaf, because they hold private and
            shared pages (`lpage_info`, KVM_LPAGE_MIXED_FLAG); filled where folios can be huge.
    """

    __slots__ = (
        "base_gfn", "bound_end", "bound_start", "disallow_lpage", "freed", "gmem", "gmem_file", "gmem_only", "hva",
        "ident", "invalid", "pages", "pgoff", "user", "user_offset",
    )  # fmt: skip

    def __init__(
        self, ident: int, base_gfn: int, pages: int, user: UserMemory | None = None, user_offset: int = 0
    ) -> None:
        self.ident = ident
        self.base_gfn = base_gfn
        self.pages = pages
        self.user = user
        self.user_offset = user_offset
        self.gmem = False
        self.gmem_file: GmemFile | None = None
        self.pgoff = 0
        self.gmem_only = False
        self.invalid = False
        self.bound_start = 0
        self.bound_end = 0
        self.hva: HostMapping | None = None
        self.freed = False
        self.disallow_lpage: set[tuple[int, int]] = set()

    def covers(self, gfn: int) -> bool:
        return self.base_gfn <= gfn < self.base_gfn + self.pages

    def index_of(self, gfn: int) -> int:
        """`kvm_gmem_get_index`."""
        return gfn - self.base_gfn + self.pgoff

    def congruent(self, level: int) -> bool:
        """Whether gfn and file index are aligned alike for leaves of that level, so that gfn and pfn are."""
        return (self.base_gfn - self.pgoff) % (1 << 9 * (level - 1)) == 0

    @property
    def file_label(self) -> str:
        """Object of the steps that look at or change `gmem_file`."""
        return f"slot{self.ident}.file"

    @property
    def life_label(self) -> str:
        """Object of the steps that use the slot, or free it."""
        return f"slot{self.ident}.life"

    def invalid_copy(self) -> Memslot:
        """The copy that stands in while the slot is deleted; it does not carry the file (guest-memfd.md 4.3)."""
        copy = Memslot(self.ident, self.base_gfn, self.pages, self.user, self.user_offset)
        copy.gmem = self.gmem
        copy.gmem_only = self.gmem_only
        copy.hva = self.hva
        copy.invalid = True
        return copy

    def __repr__(self) -> str:
        return f"<Memslot {self.ident} gfn={self.base_gfn:#x}+{self.pages}>"
