"""A memslot lives until the grace periods are over; the arch hears of its end; a bind that fails leaves nothing."""

from __future__ import annotations

import pytest
from tests.model.rig import BASE, Rig, names, only
from tests.model.test_rows import DYING, HEAD

from gmemsim.actors.release import RELEASES
from gmemsim.audit.kvm_events import ArchInvalidateRange, SlotFree, SlotPublish, Zap
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.baseline import Baseline
from gmemsim.patches.mainline_7_3 import Mainline73
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.scenario import loads


@pytest.mark.parametrize(("patch", "rules"), [("v3", {"use_after_free"}), ("mainline-7.3", set())])
def test_the_error_hook_uses_a_slot_that_was_freed(patch: str, rules: set[str]) -> None:
    """To 7.2: the slot of a dying file is unbound and freed while the hook, in the lock, is about to zap it."""
    program = ScenarioProgram(
        scenario=loads(HEAD + DYING, "row.toml"),
        patch=patch,
        arch="sw-protected",
        rules=frozenset({"use_after_free"}),
    )
    result = search(program, make_strategy("preemption:2", 0), Limits(schedules=400))
    assert {found.failure.rule for found in result.found} == rules


def test_freed_after_the_last_grace_period() -> None:
    r = Rig(V3, "private")
    r.call(r.op("delete", 0, 0))
    assert names(r.events, SlotPublish, SlotFree) == ["SlotPublish", "SlotPublish", "SlotFree", "SlotFree"]


@pytest.mark.parametrize(
    ("patch", "release", "hooks"), [(Baseline, "6.18", 0), (V3, "7.2", 1), (Mainline73, "7.3", 1)]
)
def test_the_arch_hears_of_a_deletion_before_the_zap(patch: type[Baseline], release: str, hooks: int) -> None:
    """kvm_arch_flush_shadow_memslot calls the hook since 7.2, whatever was mapped, for the whole slot."""
    r = Rig(patch, "private", release=RELEASES[release])
    r.call(r.op("delete", 0, 0))
    found = names(r.events, ArchInvalidateRange, Zap)
    assert found == ["ArchInvalidateRange"] * hooks + ["Zap"]
    assert all((event.start, event.end) == (BASE, BASE + 3) for event in only(r.events, ArchInvalidateRange))


def test_a_slot_whose_file_is_gone_is_not_told_of() -> None:
    """The hook is for slots with a file."""
    r = Rig(V3, "private")
    r.call(r.op("close", 0))
    r.call(r.op("delete", 0, 0))
    assert names(r.events, ArchInvalidateRange, Zap) == ["Zap"]
