"""An error is of a frame: what memory_failure finds where it left the file before the bit is set (6.12.117, 7.2.12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.model.rig import Rig

from gmemsim.actors.errno import EBUSY, EHWPOISON
from gmemsim.patches.registry import load_patch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gmemsim.engine.task import Task


class Before:
    """`mf_mutex`, which comes after something else."""

    def __init__(self, what: Callable[[Task], Awaitable[Any]]) -> None:
        self.what = what

    async def lock(self, t: Task) -> None:
        await self.what(t)

    async def unlock(self, t: Task) -> None:
        pass


def failing(
    patch: str, pages: int, *, again: int | None = None, call: str = "memory_failure"
) -> tuple[Rig, int, int]:
    """An error of page 0, whose hole comes first; page `again` is allocated then. The rig, the frame and the errno."""
    r = Rig(load_patch(patch), "private", pages=pages)
    kernel, inode = r.kernel, r.inode
    r.call(lambda t: kernel.kvm_gmem_allocate(t, inode, 0, 1))
    frame = inode.folios[0].pfn

    async def hole(t: Task) -> None:
        await kernel.kvm_gmem_punch_hole(t, inode, 0, 1)
        if again is not None:
            await kernel.kvm_gmem_allocate(t, inode, again, again + 1)

    mutex: Any = Before(hole)
    kernel.mf_mutex = lambda: mutex  # type: ignore[method-assign]
    return r, frame, r.call(lambda t: getattr(kernel, call)(t, inode, 0))


@pytest.mark.parametrize("patch", ["baseline", "mainline-7.3"])
def test_a_free_frame_is_taken_from_the_allocator(patch: str) -> None:
    """`take_page_off_buddy`: MF_RECOVERED, which is 0; nobody gets the frame any more."""
    r, frame, ret = failing(patch, 2)
    assert ret == 0
    r.call(lambda t: r.kernel.kvm_gmem_allocate(t, r.inode, 0, 2))
    assert frame not in {folio.pfn for folio in r.inode.folios.values()}


def test_a_folio_in_an_lru_batch_is_not_free() -> None:
    """It is freed with the bit set, when the batches are drained to look at it: -EBUSY, and withheld as well."""
    r, frame, ret = failing("inplace", 2)
    assert ret == EBUSY
    r.call(lambda t: r.kernel.kvm_gmem_allocate(t, r.inode, 0, 2))
    assert frame not in {folio.pfn for folio in r.inode.folios.values()}


def test_a_frame_that_is_in_use_again_is_its_new_owners() -> None:
    """The error is of page 1 now, whatever the caller meant."""
    r, frame, ret = failing("mainline-7.3", 2, again=1)
    assert ret == EBUSY
    assert r.inode.folios[1].pfn == frame
    assert r.inode.folios[1].poisoned
    slot = r.vm.slots[0]
    assert r.call(lambda t: r.kernel.kvm_gmem_get_pfn(t, r.vm, slot, slot.base_gfn + 1))[0] == EHWPOISON


def test_a_frame_of_something_else_is_left_alone() -> None:
    r = Rig(load_patch("mainline-7.3"), "private", pages=1)
    r.call(lambda t: r.kernel.kvm_gmem_allocate(t, r.inode, 0, 1))

    async def used(t: Task) -> None:
        await r.kernel.kvm_gmem_punch_hole(t, r.inode, 0, 1)
        assert r.memory.allocate() is not None

    mutex: Any = Before(used)
    r.kernel.mf_mutex = lambda: mutex  # type: ignore[method-assign]
    assert r.call(lambda t: r.kernel.memory_failure(t, r.inode, 0)) == EBUSY


def test_soft_offline_of_a_frame_that_left_the_file() -> None:
    """Free: out of the allocator. In use again, by a clean page: that one is evicted."""
    r, frame, ret = failing("mainline-7.3", 2, call="soft_offline_page")
    assert ret == 0
    r.call(lambda t: r.kernel.kvm_gmem_allocate(t, r.inode, 0, 2))
    assert frame not in {folio.pfn for folio in r.inode.folios.values()}
    r, frame, ret = failing("mainline-7.3", 2, again=1, call="soft_offline_page")
    assert ret == 0
    assert 1 not in r.inode.folios
