"""A memslot lives until the grace periods are over; the arch hears of its end; a bind that fails leaves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.model.rig import BASE, Rig, names, only
from tests.model.test_rows import DYING, HEAD

from gmemsim.actors.errno import EINVAL, ENOMEM
from gmemsim.actors.memslots import MAX_GFN
from gmemsim.actors.release import RELEASES
from gmemsim.audit.events import Lock, Unlock
from gmemsim.audit.kvm_events import ArchInvalidateRange, Bind, SlotFree, SlotPublish, Unbind, Zap
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.baseline import Baseline
from gmemsim.patches.mainline_7_3 import Mainline73
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.scenario import loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.task import Task


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


# -- a bind, or what comes after it, that fails --------------------------------------------------------------


def without_slot(patch: type[Baseline], release: str) -> Rig:
    r = Rig(patch, "private", release=RELEASES[release])
    r.call(r.op("delete", 0, 0))
    return r


def make(r: Rig, gfn: int = BASE, gmem: bool = True) -> Callable[[Task], object]:
    """Slot 0 of two pages, of the first file or of ordinary memory."""
    file = r.files[0] if gmem else None
    return lambda t: r.kernel.kvm_set_memory_region(t, r.vm, 0, gfn, 2, file, 0, gmem=gmem)


@pytest.mark.parametrize(
    ("patch", "release", "errno"),
    [
        (Baseline, "6.12", ENOMEM),
        (Baseline, "6.18", 0),
        (V3, "7.2", 0),
        (Mainline73, "7.3", ENOMEM),
    ],
)
def test_a_binding_that_cannot_be_stored(patch: type[Baseline], release: str, errno: int) -> None:
    """6.12.117 and 7.3.4 take back what was stored, under the lock, and say so; 7.2.12 does not look."""
    r = without_slot(patch, release)
    assert r.call(make(r), faults={"alloc_binding": 1}) == errno
    assert [event.ret for event in only(r.events, Bind)] == [errno]
    assert "Unbind" not in names(r.events, Unbind)
    assert len(r.files[0].bindings) == len(r.vm.slots) == (errno == 0)
    assert r.files[0].count.value == 1
    if errno:
        assert r.call(make(r)) == 0


@pytest.mark.parametrize(("gfn", "faults", "errno"), [(BASE, 1, ENOMEM), (MAX_GFN, 0, EINVAL)])
@pytest.mark.parametrize(
    ("patch", "release", "order"),
    [
        (Baseline, "6.12", ["Bind", "Unbind", "SlotFree"]),
        (V3, "7.2", ["Bind", "Unbind", "SlotFree"]),
        (Mainline73, "7.3", ["SlotFree"]),
    ],
)
def test_a_slot_that_is_refused_after_its_bind(
    patch: type[Baseline], release: str, order: list[str], gfn: int, faults: int, errno: int
) -> None:
    """`kvm_arch_prepare_memory_region` fails: to 7.2 the slot is bound by then and unbound again, not so since 7.3."""
    r = without_slot(patch, release)
    assert r.call(make(r, gfn), faults={"alloc_memslot_metadata": faults}) == errno
    assert names(r.events, Bind, Unbind, SlotFree, SlotPublish) == order
    assert r.files[0].bindings == {}
    assert r.vm.slots == ()
    assert r.files[0].count.value == 1
    assert r.call(make(r)) == 0


def test_locks_of_a_slot_that_is_refused() -> None:
    """To 7.2 both the bind and the unbind hold the invalidate lock, and neither slots_arch_lock."""
    r = without_slot(V3, "7.2")
    r.call(make(r), faults={"alloc_memslot_metadata": 1})
    taken = [event.lock.rpartition(".")[2] for event in only(r.events, Lock)]
    assert taken == ["slots_lock", "invalidate_lock", "slots_arch_lock", "invalidate_lock"]
    given = [event.lock.rpartition(".")[2] for event in only(r.events, Unlock)]
    assert given == ["invalidate_lock", "slots_arch_lock", "invalidate_lock", "slots_lock"]


def test_the_highest_slot() -> None:
    """One of ordinary memory is refused as well; the last page that there is may be had."""
    r = without_slot(V3, "7.2")
    assert r.call(make(r, MAX_GFN, gmem=False)) == EINVAL
    assert r.call(make(r, MAX_GFN - 1, gmem=False)) == 0
