"""Frames and contents, and the arch of an ordinary VM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.arch.base import Arch, GuestAccess, HookResult
from gmemsim.arch.memory import CIPHER, STALE, ZERO, PhysicalMemory, data
from gmemsim.arch.sw_protected import SwProtected

if TYPE_CHECKING:
    from tests.arch.conftest import FakeVm, Runner

    from gmemsim.engine.task import Task


def test_a_fresh_frame_is_stale_and_noise_under_any_other_key() -> None:
    memory = PhysicalMemory()
    pfn = memory.allocate()
    assert pfn == 0x1000
    assert memory.read(pfn) == STALE
    assert memory.read(pfn, 7) == CIPHER


def test_content_belongs_to_the_key_that_wrote_it() -> None:
    memory = PhysicalMemory()
    memory.write(1, data("a"), 7)
    assert memory.read(1, 7) == data("a")
    assert memory.read(1) == CIPHER
    assert memory.read(1, 8) == CIPHER
    memory.write(1, ZERO)
    assert memory.read(1) == ZERO
    assert memory.read(1, 7) == CIPHER


def test_frames_come_back_last_in_first_out_and_stale() -> None:
    memory = PhysicalMemory()
    first, second = memory.allocate(), memory.allocate()
    assert first is not None
    assert second is not None
    memory.write(first, ZERO, 3)
    memory.free(second)
    memory.free(first)
    assert memory.allocate() == first
    assert memory.read(first) == STALE


def test_a_leaked_frame_never_comes_back() -> None:
    memory = PhysicalMemory(limit=2)
    pfn = memory.allocate()
    assert pfn is not None
    memory.leak(pfn)
    memory.free(pfn)
    assert memory.allocate() != pfn


def test_memory_runs_out() -> None:
    memory = PhysicalMemory(limit=1)
    assert memory.allocate() is not None
    assert memory.allocate() is None


@pytest.mark.parametrize(("cls", "finish"), [(Arch, 0), (SwProtected, -22)])
def test_an_arch_without_hardware_does_nothing(run: Runner, vm: FakeVm, cls: type[Arch], finish: int) -> None:
    arch = cls(PhysicalMemory())

    async def body(t: Task) -> None:
        assert await arch.prepare(t, vm, 1, 2, 0) == HookResult(0, False)
        assert await arch.make_private(t, vm, 1, 2, 1) == HookResult(0, False)
        await arch.reclaim(t, 2, 1)
        await arch.make_shared(t, 2, 1)
        assert await arch.populate(t, vm, 1, 2, "data:x") == -95
        assert await arch.launch_finish(t, vm) == finish
        assert await arch.set_spte(t, vm, 1, 2, True) == 0
        await arch.remove_sptes(t, vm, [(1, 2)])
        assert await arch.guest_access(t, vm, 1, 2, False, "data:x") == GuestAccess("ok", "data:x")
        assert arch.host_read(t, 2) == "data:x"
        arch.clear(t, 2)
        assert await arch.guest_access(t, vm, 1, 2, True, None) == GuestAccess("ok", ZERO)
        assert arch.page_freed(t, 2) is None

    assert run(body).events == []
    assert arch.flags == []
    assert arch.max_level(2, True) == 0


def test_a_huge_page_is_filled_and_forgotten_as_a_range() -> None:
    """1 GiB zeroed is one run; single writes cut it; freed frames are stale, and come back aligned."""
    memory = PhysicalMemory()
    pages = 1 << 18
    pfn = memory.allocate_huge(18)
    assert pfn is not None
    assert pfn % pages == 0
    assert memory.read(pfn + 5) == STALE
    memory.fill(pfn, pages, ZERO)
    assert memory.huge.pieces == 1
    memory.write(pfn + 5, data("a"), 7)
    assert (memory.read(pfn + 5, 7), memory.read(pfn + 5), memory.content(pfn + 5)) == (
        data("a"),
        CIPHER,
        data("a"),
    )
    assert memory.read(pfn + 4) == memory.read(pfn + pages - 1) == ZERO
    assert not memory.stale(pfn, pages)
    assert memory.huge.pieces == 3
    memory.free_huge(pfn, 18)
    assert memory.huge.pieces == 0
    assert memory.in_use == 0
    assert memory.allocate_huge(18) == pfn
    assert memory.stale(pfn + 5, 1)


def test_small_huge_pages_share_a_table_and_do_not_meet() -> None:
    """Two 2 MiB pages: what is written to one stays out of the other."""
    memory = PhysicalMemory()
    first, second = memory.allocate_huge(9), memory.allocate_huge(9)
    assert first is not None
    assert second == first + 512
    memory.fill(first, 512, ZERO)
    assert memory.read(second - 1) == ZERO
    assert memory.read(second) == STALE
    memory.leak(first + 3)
    memory.free_huge(first, 9)
    assert memory.allocate_huge(9) == second + 512


def test_clear_range_asks_an_arch_that_judges_accesses(run: Runner) -> None:
    """One range where nobody judges; frame by frame where somebody does."""

    class Judge(Arch):
        asked = 0

        def host_access(self, t: Task, pfn: int, write: bool) -> str | None:
            self.asked += 1
            return None

        def page_freed(self, t: Task, pfn: int) -> str | None:
            return "FLAG" if pfn % 512 == 1 else None

    memory = PhysicalMemory()
    pfn = memory.allocate_huge(9)
    assert pfn is not None

    async def body(t: Task) -> None:
        judge = Judge(memory)
        judge.clear_range(t, pfn, 8)
        assert judge.asked == 8
        assert judge.pages_freed(t, pfn, 8) == [("FLAG", pfn + 1)]
        plain = Arch(memory)
        plain.clear_range(t, pfn, 512)
        assert plain.pages_freed(t, pfn, 512) == []

    run(body)
    assert not memory.stale(pfn, 512)
