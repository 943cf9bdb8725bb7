# mypy: disable-error-code="misc,valid-type"
"""Conversion in place: what a failed one leaves, and how far a release looks at the attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.errno import EAGAIN
from ...actors.truncate import LAST_INDEX
from .entry import BEFORE_IN_PLACE, IN_PLACE, Case, Hazard

if TYPE_CHECKING:
    from ...actors.gmem_convert import Converted
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...engine.task import Task


def eagain_after_store(parent: type[Kernel]) -> type[Kernel]:
    """A conversion that finds a page in use has stored the attributes already, and says -EAGAIN."""

    class EagainAfterStore(parent):
        async def kvm_gmem_convert(
            self, t: Task, inode: GmemInode, start: int, end: int, private: bool, flags: int
        ) -> Converted:
            done: Converted = await super().kvm_gmem_convert(t, inode, start, end, private, flags)
            if done.ret == EAGAIN:
                await self.kvm_gmem_store_attributes(t, inode, start, end, private)
            return done

    return EagainAfterStore


def eagain_drops_pages(parent: type[Kernel]) -> type[Kernel]:
    """A conversion that finds a page in use has taken those in front of it out of the page cache."""

    class EagainDropsPages(parent):
        async def kvm_gmem_convert(
            self, t: Task, inode: GmemInode, start: int, end: int, private: bool, flags: int
        ) -> Converted:
            done: Converted = await super().kvm_gmem_convert(t, inode, start, end, private, flags)
            if done.ret == EAGAIN and done.error_index > start:
                await self.kvm_gmem_invalidate_start(t, inode, start, done.error_index, "both")
                await self.truncate_inode_pages_range(t, inode, start, done.error_index)
                await self.kvm_gmem_invalidate_end(t, inode, start, done.error_index)
            return done

    return EagainDropsPages


def release_to_the_end(parent: type[Kernel]) -> type[Kernel]:
    """A release zaps up to the last index there is, the kinds taken from the attributes up to there.

    The map ends with the file; what lies behind counts as what a missing entry counts as.
    """

    class ReleaseToTheEnd(parent):
        def release_filter(self, inode: GmemInode) -> str:
            assert inode.attributes is not None
            kinds = {kind for _, _, kind in inode.attributes.ranges(0, inode.pages)}
            kinds.add(self.gmem_attr_missing(inode))
            return "both" if len(kinds) > 1 else "private" if True in kinds else "shared"

        def release_end(self, inode: GmemInode) -> int:
            return LAST_INDEX

    return ReleaseToTheEnd


SEEDS = {
    "eagain-after-store": eagain_after_store,
    "eagain-drops-pages": eagain_drops_pages,
    "release-to-the-end": release_to_the_end,
}

_NO_CALL = dict.fromkeys(BEFORE_IN_PLACE, "no conversion in place")
_NO_MAP = dict.fromkeys(BEFORE_IN_PLACE, "the filter follows from the file's flags; no map is walked")
_AS_INPLACE = "converts as `inplace` does where a file has small folios"

HAZARDS = (
    Hazard(
        name="8",
        title="A conversion that fails with -EAGAIN leaves host mappings unmapped",
        question="The unmapping is not undone when a page turns out to be in use. Is anything lost but the mapping?",
        cases=(
            Case(
                says="a device pins pages that the VMM wants private; the host reads back what it wrote",
                scenario="zoo-eagain",
                versions=IN_PLACE,
                not_for={**_NO_CALL, "*": _AS_INPLACE},
            ),
            Case(
                says="the attributes are stored all the same",
                seed="eagain-after-store",
                scenario="zoo-eagain",
                versions=IN_PLACE,
                violated={"*": "I24 I25 I27"},
                not_for={**_NO_CALL, "*": _AS_INPLACE},
            ),
            Case(
                says="pages in front of the one in use are gone",
                seed="eagain-drops-pages",
                scenario="zoo-eagain",
                versions=IN_PLACE,
                violated={"*": "I26 unexpected_outcome"},
                not_for={**_NO_CALL, "*": _AS_INPLACE},
            ),
        ),
        answer="Nothing: no attribute changes (I27), the host faults its pages back in and finds what it wrote. The "
        "two changes show that the question is asked in earnest.",
    ),
    Hazard(
        name="9",
        title="Release with the file's size in place of -1",
        question="v8 19/46: the filter of a release now walks the attributes, so the end of the range must be the "
        "file's. What did the old code do?",
        cases=(
            Case(
                says="as it is",
                scenario="zoo-lifecycle",
                versions=IN_PLACE,
                vm_types=("sw-protected", "tdx"),
                not_for={**_NO_MAP, "*": _AS_INPLACE},
            ),
            Case(
                says="up to the last index",
                seed="release-to-the-end",
                scenario="zoo-lifecycle",
                versions=IN_PLACE,
                vm_types=("sw-protected", "tdx"),
                not_for={**_NO_MAP, "*": _AS_INPLACE},
            ),
        ),
        answer="No harm: what lies behind the file counts as an index without an entry, so at worst a kind is zapped "
        'that nothing has (and the kernel warns of the entry that is missing). In v8 "as it is" '
        "is the file's size; the series as applied (`inplace`) is back at -1ul.",
    ),
)
