# mypy: disable-error-code="misc,valid-type,no-any-return"
"""Mends of the huge page series (RFC v2): splits that wait, and holes smaller than a huge page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...actors.errno import EAGAIN, EINVAL
from ...actors.gmem_convert import Converted
from ...engine.locks.mutex import Mutex
from ...engine.locks.stats import LockClass
from ...engine.op import Op
from .entry import Mend

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ...actors.folio import Folio
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...engine.task import Task

_LOOK_UP: Final = ("hugepage-split-waits-for-look-up",)
_FAILURE: Final = ("hugepage-split-waits-for-memory-failure",)
_HOLE: Final = ("hugepage-hole-zeroes-private-pages",)


def huge_mutex(parent: type[Kernel]) -> type[Kernel]:
    """One mutex a huge index around look-up, insertion and split, as was announced for the series."""

    class HugeMutex(parent):
        async def kvm_gmem_get_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | int:
            cache = self.huge_cache(inode)
            if cache is None:
                return await super().kvm_gmem_get_folio(t, inode, index)
            base, _ = self.huge_range(cache, index)
            mutexes: dict[tuple[str, int], Mutex] = self.__dict__.setdefault("_huge_mutexes", {})
            cls = self.__dict__.setdefault("_huge_mutex_class", LockClass("huge_mutex"))
            key = inode.label, base
            if key not in mutexes:
                mutexes[key] = Mutex(f"{inode.label}.huge[{base}]", cls)
            await mutexes[key].lock(t)
            folio: Folio | int = await super().kvm_gmem_get_folio(t, inode, index)
            await mutexes[key].unlock(t)
            return folio

    return HugeMutex


def fresh_folio_wakes(parent: type[Kernel]) -> type[Kernel]:
    """The fresh folio's bit is cleared by `folio_unlock`, which wakes those who wait."""

    class FreshFolioWakes(parent):
        async def kvm_gmem_unlock_fresh(self, t: Task, folio: Folio) -> None:
            await folio.lock.unlock(t)

    return FreshFolioWakes


def look_up_rechecks(parent: type[Kernel]) -> type[Kernel]:
    """The bit is cleared with a wake-up, and a look-up that comes by a huge folio with a shared page tries again."""

    class LookUpRechecks(fresh_folio_wakes(parent)):
        async def filemap_get_folio(self, t: Task, inode: GmemInode, index: int, create: bool) -> Folio | int:
            while True:
                folio: Folio | int = await super().filemap_get_folio(t, inode, index, create)
                if isinstance(folio, int) or self.huge_cache(inode) is None or not folio.order:
                    return folio
                if t.traps:
                    low, high = folio.index, folio.index + folio.pages
                    await t.point(Op("load", self.gmem_attr_label(inode), low, high, "r"))
                if self.all_private(inode, folio.index, folio.pages):
                    return folio
                await self.folio_unlock(t, folio)
                await self.folio_put(t, inode, folio)
                # cond_resched until the splitter has come through.
                await self.unfrozen.turn(t, 100)

        async def split_folio(self, t: Task, inode: GmemInode, folio: Folio, sure: bool = False) -> int:
            ret: int = await super().split_folio(t, inode, folio, sure)
            self.unfrozen.changed(t)
            return ret

    return LookUpRechecks


class _InUseError(Exception):
    """Somebody else has a reference."""


def split_gives_up(parent: type[Kernel]) -> type[Kernel]:
    """A split that cannot freeze the references at its first try fails: -EAGAIN. Taking back a change still spins."""

    class SplitGivesUp(parent):
        def tries(self) -> set[Task]:
            """Tasks that try once."""
            found: set[Task] = self.__dict__.setdefault("_tries", set())
            return found

        async def folio_ref_freeze(
            self, t: Task, inode: GmemInode, folios: Sequence[Folio], low: int, high: int
        ) -> None:
            if t not in self.tries():
                await super().folio_ref_freeze(t, inode, folios, low, high)
                return
            if t.traps:
                await t.point(Op("rmw", inode.ref_label, low, high))
            if any(folio.ref != folio.pages for folio in folios):
                raise _InUseError

        async def split_folio(self, t: Task, inode: GmemInode, folio: Folio, sure: bool = False) -> int:
            if sure:
                return await super().split_folio(t, inode, folio, sure)
            self.tries().add(t)
            try:
                return await super().split_folio(t, inode, folio, sure)
            except _InUseError:
                return EAGAIN
            finally:
                self.tries().discard(t)

    return SplitGivesUp


def convert_checks_references(parent: type[Kernel]) -> type[Kernel]:
    """A conversion to shared looks at references as one to private does, before it changes anything: -EAGAIN."""

    class ConvertChecksReferences(parent):
        async def kvm_gmem_convert_should_proceed(
            self, t: Task, inode: GmemInode, work: Any, private: bool
        ) -> Converted:
            if not private:
                offender = await self.kvm_gmem_outside_reference(t, inode, work.outer_start, work.outer_end)
                if offender is not None:
                    return Converted(EAGAIN, max(work.start, offender.index))
            return await super().kvm_gmem_convert_should_proceed(t, inode, work, private)

    return ConvertChecksReferences


def hole_whole_pages(parent: type[Kernel]) -> type[Kernel]:
    """A hole is whole huge pages, or -EINVAL."""

    class HoleWholePages(parent):
        async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
            cache = self.huge_cache(inode)
            if cache is not None and (start | end) & ((1 << cache.order) - 1):
                return EINVAL
            return await super().kvm_gmem_punch_hole(t, inode, start, end)

    return HoleWholePages


def _kinds(inode: GmemInode, start: int, end: int) -> Iterable[tuple[int, int, bool]]:
    assert inode.attributes is not None
    return inode.attributes.ranges(start, end) if start < end else ()


def hole_zeroes_shared(parent: type[Kernel]) -> type[Kernel]:
    """Head and tail of a hole are zeroed where they are shared; private pages stay as they are."""

    class HoleZeroesShared(parent):
        async def zero_pages(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
            for low, high, private in _kinds(inode, start, end):
                if not private:
                    await super().zero_pages(t, inode, low, high)

    return HoleZeroesShared


def hole_takes_back(parent: type[Kernel]) -> type[Kernel]:
    """Private pages of head and tail are taken back from the guest in hardware before they are zeroed."""

    class HoleTakesBack(parent):
        async def zero_pages(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
            for low, high, private in _kinds(inode, start, end):
                if private:
                    await self.kvm_gmem_make_shared(t, inode, low, high)
                await super().zero_pages(t, inode, low, high)

    return HoleTakesBack


MENDS: Final = (
    Mend(
        ident="huge-mutex",
        title="one mutex a huge index around look-up, insertion and split",
        says="as announced in the review of RFC v2; every look-up of the file's page cache takes it",
        findings=_LOOK_UP,
        make=huge_mutex,
        blind="a table of hashed mutexes, in which two huge pages can share one",
        meets=("split",),
    ),
    Mend(
        ident="huge-look-up-rechecks",
        title="the fresh folio is unlocked with a wake-up, and a look-up of a huge folio with a shared page tries "
        "again",
        says="no lock of its own; a look-up may go round while the splitter spins for its reference",
        findings=_LOOK_UP,
        make=look_up_rechecks,
        blind="that the splitter gets to run between two rounds of a look-up, which takes a fair scheduler",
        meets=("split",),
    ),
    Mend(
        ident="huge-fresh-wakes",
        title="the fresh folio is unlocked with a wake-up",
        says="in place of __folio_clear_locked, which wakes nobody",
        findings=_LOOK_UP,
        make=fresh_folio_wakes,
        wrong="nobody sleeps for good any more, but a look-up before the freeze still gets a huge folio of which a "
        "page is shared",
        meets=("split",),
    ),
    Mend(
        ident="huge-split-gives-up",
        title="a split that cannot freeze the references fails with -EAGAIN",
        says="a conversion is taken back then and userspace tries again; for a page with a memory error that is for "
        "ever. The split of a fresh folio fails the fault that allocated it",
        findings=_FAILURE,
        make=split_gives_up,
        blind="the merge of a conversion that is taken back, which still spins",
        meets=("split",),
    ),
    Mend(
        ident="huge-convert-checks",
        title="a conversion to shared looks at references first, as one to private does (-EAGAIN)",
        says="before it changes anything, and under the same lock",
        findings=_FAILURE,
        make=convert_checks_references,
        wrong="a memory failure takes no lock before its reference: it can come between the look and the freeze",
        meets=("split",),
    ),
    Mend(
        ident="huge-hole-whole-pages",
        title="a hole that is not whole huge pages is refused (-EINVAL)",
        says="what review asked for, and what a later branch does",
        findings=_HOLE,
        make=hole_whole_pages,
        blind="VMMs that punch smaller holes",
        meets=("punch page",),
        arches=("snp", "tdx"),
    ),
    Mend(
        ident="huge-hole-zeroes-shared",
        title="a hole smaller than a huge page zeroes shared pages only",
        says="the guest keeps what it had in private pages of the hole, which userspace is not told",
        findings=_HOLE,
        make=hole_zeroes_shared,
        blind="what a VMM makes of a hole that succeeded and left data",
        meets=("punch page",),
        arches=("snp", "tdx"),
    ),
    Mend(
        ident="huge-hole-takes-back",
        title="a hole smaller than a huge page takes private pages back from the guest before it zeroes them",
        says="the hook of a conversion (RMPUPDATE to shared), with the attribute left private: the next fault "
        "prepares the page again",
        findings=_HOLE,
        make=hole_takes_back,
        blind="what the guest makes of a page whose validation is gone",
        meets=("punch page",),
        arches=("snp", "tdx"),
    ),
)
