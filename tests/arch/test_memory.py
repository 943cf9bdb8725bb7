"""Frames and contents, and the arch of an ordinary VM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.arch.base import Arch, GuestAccess, HookResult
from gmemsim.arch.memory import CIPHER, STALE, ZERO, PhysicalMemory, data
from gmemsim.arch.sw_protected import SwProtected

if TYPE_CHECKING:
    from gmemsim.engine.task import Task

    from .conftest import FakeVm, Runner


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
