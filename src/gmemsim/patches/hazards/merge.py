# mypy: disable-error-code="misc,valid-type"
"""What a merge does with parts that were cleared and parts that were not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors.huge_cache import Gap
from .entry import HUGE_PAGES, Case, Hazard

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...engine.task import Task


def merge_clears_all(parent: type[Kernel]) -> type[Kernel]:
    """A merge zeroes every part of the huge page, those in use as well."""

    class MergeClearsAll(parent):
        async def merge_folio(self, t: Task, inode: GmemInode, split: Any, *how: Any, **named: Any) -> int:
            cache = self.huge_cache(inode)
            for piece in cache.pieces(split.base, split.end):
                if (piece.split if isinstance(piece, Gap) else piece).uptodate:
                    await self.clear_piece(t, inode, piece)
            ret: int = await super().merge_folio(t, inode, split, *how, **named)
            return ret

    return MergeClearsAll


def merge_clears_none(parent: type[Kernel]) -> type[Kernel]:
    """A merge zeroes nothing, and the huge folio counts as uptodate if a part of it was."""

    class MergeClearsNone(parent):
        async def clear_piece(self, t: Task, inode: GmemInode, piece: Folio | Gap) -> None:
            """A piece keeps what it holds; it is not zeroed."""

    return MergeClearsNone


SEEDS = {"merge-clears-all": merge_clears_all, "merge-clears-none": merge_clears_none}

_NO_MERGE = "nothing is merged: folios have one page"

HAZARDS = (
    Hazard(
        name="7",
        title="The uptodate flag at split and merge",
        question="2026-06-26: a huge folio has one flag. When its pages are merged, those never written must be "
        "zeroed, and those in use must not be.",
        cases=(
            Case(
                says="a page is shared, written by the host and made private; the guest looks at it and its neighbours",
                scenario="zoo-merge",
                versions=HUGE_PAGES,
                not_for={"*": _NO_MERGE},
            ),
            Case(
                says="the merge zeroes every part",
                seed="merge-clears-all",
                scenario="zoo-merge",
                versions=HUGE_PAGES,
                violated={"*": "I5"},
                not_for={"*": _NO_MERGE},
            ),
            Case(
                says="the merge zeroes none",
                seed="merge-clears-none",
                scenario="zoo-merge",
                versions=HUGE_PAGES,
                violated={"*": "I2 I47"},
                not_for={"*": _NO_MERGE},
            ),
        ),
        answer="As modelled (zero what was never written if anything was) it holds; both other ways show at once.",
    ),
)
