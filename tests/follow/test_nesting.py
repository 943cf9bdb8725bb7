"""Events that cannot be where they are in their thread, whatever the version."""

from __future__ import annotations

import pytest

from gmemsim.follow.ftrace import KernelEvent
from gmemsim.follow.nesting import first_flaw


def events(*names: str) -> list[KernelEvent]:
    return [KernelEvent(line, line, "t-1", name, "") for line, name in enumerate(names, 1)]


WHOLE = (
    "arch_prepare", "sev_prepare", "arch_prepare_ret", "inv_start2", "mmu_inv_start", "unmap_gfn", "unmap_gfn2",
    "inv_start2_ret", "folio_lock_slow", "io_sched", "sched_switch", "io_sched_ret", "folio_lock_slow_ret",
)  # fmt: skip


def test_a_whole_one_has_no_flaw() -> None:
    assert first_flaw(events(*WHOLE), set(WHOLE)) is None
    # It may begin inside a function, end in one, and not have all probes.
    assert first_flaw(events("io_sched_ret", *WHOLE[:5]), set(WHOLE)) is None
    assert (
        first_flaw(events("arch_prepare", "arch_prepare_ret"), {"arch_prepare", "arch_prepare_ret"}) is None
    )


@pytest.mark.parametrize(
    "name", sorted(set(WHOLE) - {"sched_switch", "inv_start2", "mmu_inv_start", "unmap_gfn2"})
)
def test_a_doubled_line_is_found(name: str) -> None:
    at = WHOLE.index(name)
    flaw = first_flaw(events(*WHOLE[: at + 1], *WHOLE[at:]), set(WHOLE))
    assert flaw is not None
    assert flaw.line == at + 2


@pytest.mark.parametrize(
    "name",
    sorted(
        set(WHOLE) - {"sched_switch", "inv_start2", "mmu_inv_start", "inv_start2_ret", "arch_prepare_ret"}
    ),
)
def test_a_dropped_line_is_found(name: str) -> None:
    twice = [*WHOLE, *WHOLE, *WHOLE]
    at = len(WHOLE) + WHOLE.index(name)
    assert first_flaw(events(*twice[:at], *twice[at + 1 :]), set(WHOLE)) is not None


def test_the_window_is_what_cannot_follow_each_other() -> None:
    names = [*WHOLE, "arch_prepare", "sev_prepare", "sev_prepare"]
    flaw = first_flaw(events(*names), set(WHOLE))
    assert flaw is not None
    assert flaw.window is not None
    assert [event for _, _, event in flaw.window.events] == ["sev_prepare: ", "sev_prepare: "]
    assert (flaw.window.first, flaw.window.last) == (len(names) - 1, len(names))
    # A return that nothing was called for: since when it was not called shows in its last return.
    names = ["folio_lock_slow", "folio_lock_slow_ret", "arch_prepare", "sev_prepare", "folio_lock_slow_ret"]
    flaw = first_flaw(events(*names), set(WHOLE))
    assert flaw is not None
    assert flaw.window is not None
    assert flaw.window.last == 5
    assert flaw.window.first > 1
