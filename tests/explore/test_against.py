"""What a patch gets wrong that its base does not, and what it mends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from gmemsim.actors.kernel import Kernel
from gmemsim.explore.against import Compared, identity, search_against, under_the_same_choices
from gmemsim.explore.campaign import Campaign, CampaignResult
from gmemsim.explore.failure import Failure
from gmemsim.explore.past_choices import run_past_choices
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.scene import Party, Scene
from gmemsim.explore.search import Found, Limits
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.scenario import loads

_POISON = """
[scenario]
name = "poison"
summary = "a memory error and a hole"
vm_types = ["sw-protected"]

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
gfn = 0x100

[[task]]
name = "mce"
ops = [{ op = "allocate" }, { op = "memory_failure" }]

[[task]]
name = "punch"
ops = [{ op = "punch" }]
"""


class Raises(V3):
    """Its own bug, beside that of its base."""

    name = "raises"

    async def kvm_gmem_punch_hole(self, t: Any, inode: Any, start: int, end: int) -> int:
        ret: int = await super().kvm_gmem_punch_hole(t, inode, start, end)
        if not inode.folios:
            raise RuntimeError("its own")
        return ret


async def call(function: Callable[..., Any], *arguments: Any) -> None:
    await function(*arguments)


class UnlocksNothing(V3):
    """Crashes in a function of the model."""

    name = "unlocks-nothing"

    async def kvm_gmem_punch_hole(self, t: Any, inode: Any, start: int, end: int) -> int:
        ret: int = await super().kvm_gmem_punch_hole(t, inode, start, end)
        await call(self.folio_unlock, t, None)
        return ret


class PutsNothing(V3):
    """In another one, called in the same place, with the same exception."""

    name = "puts-nothing"

    async def kvm_gmem_punch_hole(self, t: Any, inode: Any, start: int, end: int) -> int:
        ret: int = await super().kvm_gmem_punch_hole(t, inode, start, end)
        await call(self.folio_put, t, inode, None)
        return ret


class UnlockedHook(V3):
    """Mends the deadlock: the error hook takes no lock."""

    name = "unlocked-hook"

    async def kvm_gmem_error_folio(self, t: Any, inode: Any, folio: Any) -> None:
        start, end = folio.index, folio.index + folio.pages
        await self.kvm_gmem_invalidate_start(t, inode, start, end, self.release_filter(inode))
        await self.kvm_gmem_invalidate_end(t, inode, start, end)


def _program(patch: type[Kernel]) -> ScenarioProgram:
    return ScenarioProgram(scenario=loads(_POISON, "poison.toml"), patch=patch, arch="sw-protected")


def compared(
    patch: type[Kernel], base: type[Kernel] = V3, strategy: str = "stateful", **limits: Any
) -> Compared:
    program = _program(patch)
    campaign = Campaign(program=program, strategy=strategy, limits=Limits(**({"schedules": None} | limits)))
    return search_against(campaign, attrs.evolve(program, patch=base))


def rules(found: tuple[Found, ...]) -> list[str]:
    return [each.failure.rule for each in found]


@pytest.mark.parametrize("strategy", ["stateful", "random"])
def test_only_what_is_the_patchs_own(strategy: str) -> None:
    done = compared(Raises, strategy=strategy, schedules=60 if strategy == "random" else None)
    assert rules(done.own) == ["crash"]
    assert done.mended == ()
    (both,) = done.both
    assert both.found is not None
    assert both.found.failure.rule == "deadlock"
    assert both.there == "fails alike"
    assert done.tried
    assert done.base.search.complete == (strategy == "stateful")


def test_a_crash_is_another_than_one_elsewhere() -> None:
    done = compared(UnlocksNothing, base=PutsNothing)
    assert (rules(done.own), rules(done.mended)) == (["crash"], ["crash"])
    assert {one.failure.kind for one in (*done.own, *done.mended)} == {"AttributeError"}
    assert [rules((both.found,)) for both in done.both if both.found] == [["deadlock"]]
    done = compared(PutsNothing, base=PutsNothing)
    assert (done.own, done.mended) == ((), ())


def test_what_a_patch_mends() -> None:
    done = compared(UnlockedHook)
    assert (rules(done.own), rules(done.mended)) == ([], ["deadlock"])
    assert done.patch is not None
    assert done.patch.search.complete


def test_the_other_way_round() -> None:
    done = compared(V3, base=UnlockedHook)
    assert (rules(done.own), rules(done.mended)) == (["deadlock"], [])


def test_a_failure_that_the_search_of_the_base_missed_is_tried_on_it() -> None:
    """One schedule of the base is not enough to meet the deadlock; under the patch's choices it does."""
    whole = compared(Raises)
    campaign = Campaign(program=_program(V3), strategy="stateful", limits=Limits(schedules=1))
    assert run_past_choices(campaign).search.found == ()
    (both,) = whole.both
    assert both.found is not None
    assert under_the_same_choices(_program(V3), both.found, 20_000) == "fails alike"
    assert under_the_same_choices(_program(UnlockedHook), both.found, 20_000) == "passes"


def test_identity_is_of_values_and_not_of_text() -> None:
    def failure(summary: str, operation: str, **details: Any) -> Failure:
        scene = Scene(parties=(Party(task="t0", operation=operation),))
        return Failure("I19", summary, "MapRet", "t0", 1, details=details, scene=scene)

    one = failure("index 0 of gmem0", "touch", pfn=1)
    assert identity(one) == identity(failure("index 7 of gmem3", "touch", pfn=9))
    assert identity(one) != identity(failure("index 0 of gmem0", "prefault", pfn=1))
    assert identity(one) != identity(failure("index 0 of gmem0", "touch", flag="RMP_LEAK"))


def test_time_that_is_up_is_said() -> None:
    program = _program(Raises)
    campaign = Campaign(program=program, strategy="stateful", limits=Limits(schedules=None))
    times = iter([None, None])
    done = search_against(campaign, _program(V3), seconds=lambda: next(times, 0.0))
    assert not done.tried
    assert rules(done.own) == ["crash"]
    assert [both.there for both in done.both] == ["not tried"]


def test_nothing_is_compared_if_the_base_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(campaign: Campaign, progress: Any = None) -> CampaignResult:
        result = run_past_choices(campaign, progress)
        return attrs.evolve(result, search=attrs.evolve(result.search, stopped="interrupted"))

    monkeypatch.setattr("gmemsim.explore.against.run_past_choices", interrupted)
    done = compared(Raises)
    assert (done.patch, done.own, done.mended, done.interrupted) == (None, (), (), True)
